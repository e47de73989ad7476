// Package sshgate is the SSH server that stock OpenSSH speaks to, behind the hub's one port. It speaks on connections
// that it is handed, and on a TCP listener where the platform gives one.
//
// People come in by an SSH key of their profile or a certificate of the user CA, under their handle. They get
// direct-tcpip to devices (ssh -J, -L, -D, -W), each opening checked against the live policy, and a page of text; no
// command, no -R. Where a grant is strict, the gate ends SSH for the device: held.go. Devices without our agent come in by their key, under their id, and get tcpip-forward (ssh -R): the
// forwarded ports are their targets. Everything else of the protocol is refused and logged.
package sshgate

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/time/rate"

	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/devices"
	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/wire"
	"github.com/aditdev/adit/tunnelhub"
)

const (
	handshakeTimeout = 10 * time.Second
	maxTries         = 3
	version          = "SSH-2.0-Adit"
)

// Caps on connections that have yet to prove who they are.
const (
	waitingPerAddress = 256 // a person's Ansible opens many at once
	waitingInAll      = 2000
)

// Options make a Gate. Every field must be set.
type Options struct {
	Log      *slog.Logger
	Now      func() time.Time
	HostKey  ssh.Signer
	HeldKey  ssh.Signer // the host key of devices for which the hub ends SSH
	UserCA   ssh.PublicKey
	URL      string // of the site, for what people are told
	Gate     *auth.Gate
	Accounts *auth.Accounts
	Devices  *devices.Registry
	Tunnel   *tunnelhub.Hub
	// LogIn makes the hub the SSH client of a device, over conn, for a login of somebody's.
	LogIn  func(ctx context.Context, conn net.Conn, user, device, login string) (*ssh.Client, error)
	Events *events.Queue // nil: refusals are only in the hub's own log
}

// Gate serves SSH connections until Run ends. Its methods may be called concurrently.
type Gate struct {
	options Options
	tries   *auth.Limiter // logins refused, by network

	mu        sync.Mutex
	stopping  bool
	conns     map[net.Conn]struct{}
	waiting   int // connections that have yet to prove who they are
	waitingBy map[string]int
	serving   sync.WaitGroup
}

// New makes a Gate.
func New(o Options) *Gate {
	return &Gate{options: o, tries: auth.NewLimiter(300, time.Second/5, o.Now),
		conns: map[net.Conn]struct{}{}, waitingBy: map[string]int{}}
}

// Run waits until ctx ends, then closes every connection and returns when they are gone.
func (g *Gate) Run(ctx context.Context) error {
	<-ctx.Done()
	g.mu.Lock()
	g.stopping = true
	for conn := range g.conns {
		_ = conn.Close()
	}
	g.mu.Unlock()
	g.serving.Wait()
	return context.Cause(ctx)
}

// Listen accepts connections on l until ctx ends. It outlives running out of file descriptors.
func (g *Gate) Listen(ctx context.Context, l net.Listener) error {
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			g.options.Log.Warn("ssh connection not accepted", "cause", err)
			pause(ctx, 100*time.Millisecond)
			continue
		}
		address := conn.RemoteAddr().String()
		if host, _, err := net.SplitHostPort(address); err == nil {
			address = host
		}
		go g.Serve(conn, address)
	}
}

// Serve speaks SSH on conn until either side ends it, and closes conn. address is where it comes from, as the door saw
// it.
func (g *Gate) Serve(conn net.Conn, address string) {
	defer conn.Close()
	heard := newHeardConn(conn, "This is the SSH gate of "+g.options.URL+". It speaks SSH only; people look there.")
	proven, err := g.enter(heard, address)
	if err != nil {
		heard.say(wire.MessageOf(err))
		g.options.Log.Warn("ssh refused", "address", address, "cause", err)
		return
	}
	defer g.leave(heard)
	server, channels, requests, who, claimed, err := g.handshake(heard, address)
	proven()
	if err != nil {
		g.refused(address, claimed, err)
		return
	}
	c := &connection{gate: g, ssh: server, conn: heard, address: address, noise: rate.NewLimiter(noiseRate, noiseBurst),
		log: g.options.Log.With("address", address, "client", wire.Printable(string(server.ClientVersion()), 60))}
	c.serve(channels, requests, who)
}

// enter counts a connection as one that has yet to prove who it is, until proven is called.
func (g *Gate) enter(conn net.Conn, address string) (proven func(), err error) {
	network := auth.Network(address)
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.stopping:
		return nil, wire.Errorf(wire.Offline, "The hub is restarting. Try again in a few seconds.")
	case g.waiting >= waitingInAll || g.waitingBy[network] >= waitingPerAddress:
		return nil, wire.Errorf(wire.RateLimited, "Too many connections wait to be authenticated. Try again in a few seconds.")
	}
	g.serving.Add(1)
	g.conns[conn] = struct{}{}
	g.waiting++
	g.waitingBy[network]++
	return sync.OnceFunc(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.waiting--
		if g.waitingBy[network]--; g.waitingBy[network] == 0 {
			delete(g.waitingBy, network)
		}
	}), nil
}

func (g *Gate) leave(conn net.Conn) {
	g.mu.Lock()
	delete(g.conns, conn)
	g.mu.Unlock()
	g.serving.Done()
}

// handshake exchanges keys and finds out who comes, within handshakeTimeout in all: the library sets no deadline. claimed is the
// user name that came with a key which was refused; for the log, nothing else.
func (g *Gate) handshake(conn *heardConn, address string) (
	server *ssh.ServerConn, channels <-chan ssh.NewChannel, requests <-chan *ssh.Request, who any, claimed string, err error,
) {
	_ = conn.SetDeadline(time.Now().Add(handshakeTimeout))
	server, channels, requests, err = ssh.NewServerConn(conn, g.serverConfig(address, &claimed))
	if err != nil {
		return nil, nil, nil, nil, claimed, err
	}
	_ = conn.SetDeadline(time.Time{})
	conn.proven.Store(true)
	return server, channels, requests, identityOf(server.Permissions), claimed, nil
}

// refused logs a handshake that came to nothing. Where a key was refused, it is an event too.
func (g *Gate) refused(address, claimed string, err error) {
	if claimed != "" {
		g.options.Events.Refused(auth.Network(address), events.Event{Type: events.SSHRefused, Data: events.Data{
			"name": wire.Printable(claimed, 80), "address": address, "reason": "No profile and no device has this key under this name."}})
	}
	level := slog.LevelInfo
	if !g.tries.Allow(auth.Network(address)) {
		level = slog.LevelDebug // a flood fills no log
	}
	g.options.Log.Log(context.Background(), level, "ssh refused", "address", address, "cause", cause(err))
}

// cause is an error of the library without what it joins to it: of each of its tries the reason, and what many have in common once.
func cause(err error) error {
	failed, ok := errors.AsType[*ssh.ServerAuthError](err)
	if !ok {
		return err
	}
	var reasons []error
	for _, e := range failed.Errors {
		if !slices.ContainsFunc(reasons, func(said error) bool { return said.Error() == e.Error() }) {
			reasons = append(reasons, e)
		}
	}
	return errors.Join(reasons...)
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
