// Package handlers are the hub's HTTP and WebSocket doors: one file for each resource of openapi.yaml, whose operations
// the type api implements, and the doors outside of it. Who may pass which route stands in routes.go and nowhere else.
package handlers

import (
	"context"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/config"
	"github.com/aditdev/adit/internal/devices"
	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/ports"
	"github.com/aditdev/adit/internal/rootpassword"
	"github.com/aditdev/adit/internal/shell"
	"github.com/aditdev/adit/internal/sshca"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/updates"
	"github.com/aditdev/adit/internal/webhook/incoming"
	"github.com/aditdev/adit/internal/webhook/outgoing"
	"github.com/aditdev/adit/internal/webhook/transform"
	"github.com/aditdev/adit/tunnelhub"
)

// Options are what the doors stand on; every field must be set.
type Options struct {
	Config   config.Config // with its URLs known
	Version  string
	Log      *slog.Logger
	Now      func() time.Time
	Store    *store.Store
	Gate     *auth.Gate
	Accounts *auth.Accounts
	Events   *events.Log
	Noted    *events.Queue // what may be thinned out; nil: not kept
	Devices  *devices.Registry
	CA       *sshca.CA
	Tunnel   *tunnelhub.Hub
	Shells   *shell.Shells
	Ports    *ports.Ports
	MQTT     *messaging.Exchange
	HooksIn  *incoming.Hooks
	Install  *Install

	Outgoing      *outgoing.Outbox
	RootPasswords *rootpassword.Vault
	Transforms    *transform.Pool
	Updates       *updates.Updates

	Site fs.FS

	// SSH serves a connection of stock OpenSSH from an address; GateKey is the host key that it shows there, HeldKey the one
	// that it shows for devices for which it ends SSH.
	SSH              func(conn net.Conn, address string)
	GateKey, HeldKey ssh.PublicKey

	// Stopping ends when the hub begins to stop: streams that would never end by themselves end then.
	Stopping context.Context
}

// api has a method for each operation of openapi.yaml and for each door outside of it.
type api struct {
	Options
	clients    clientAddresses
	unbelieved sync.Once // a proxy that is not trusted is worth one line
	origins    origins
	apiCalls   *auth.Limiter // by client address
	enrolls    *auth.Limiter // by client address
	scripts    *auth.Limiter // by client address
	hookTries  *auth.Limiter // by user
	metered    *metrics
	carriers   *tunnelDoor
	pages      *site
}

var _ StrictServerInterface = (*api)(nil)

// New makes the hub's whole HTTP handler. It fails where a route has no rule, or the site cannot be read.
func New(o Options) (http.Handler, error) {
	a, e, err := build(o)
	if err != nil {
		return nil, err
	}
	return a.outermost(e), nil
}

func build(o Options) (*api, *echo.Echo, error) {
	pages, err := newSite(o.Site)
	if err != nil {
		return nil, nil, err
	}
	a := &api{
		Options:  o,
		clients:  clientAddresses{trusted: o.Config.TrustedProxies},
		origins:  newOrigins(o.Config),
		apiCalls: auth.NewLimiter(1000, 10*time.Millisecond, o.Now),
		enrolls:  auth.NewLimiter(300, time.Second/5, o.Now),
		scripts:  auth.NewLimiter(300, time.Second/5, o.Now), // as many machines as may enrol read it before
		pages:    pages,

		hookTries: auth.NewLimiter(20, time.Second/2, o.Now),
		carriers:  newTunnelDoor(o.Tunnel, o.Stopping),
	}
	a.metered = newMetrics(a)
	a.Install.Form = a.sshForm
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.Binder = binder{}
	e.HTTPErrorHandler = a.fail
	e.IPExtractor = a.clients.of
	e.Use(a.observe, a.authorize)
	return a, e, a.register(e)
}
