package main

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/handlers"
	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/command"
	"github.com/aditdev/adit/internal/config"
	"github.com/aditdev/adit/internal/devices"
	"github.com/aditdev/adit/internal/dist"
	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/hubkeys"
	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/ports"
	"github.com/aditdev/adit/internal/rootpassword"
	"github.com/aditdev/adit/internal/seal"
	"github.com/aditdev/adit/internal/shell"
	"github.com/aditdev/adit/internal/sshca"
	"github.com/aditdev/adit/internal/sshgate"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/updates"
	"github.com/aditdev/adit/internal/webhook/incoming"
	"github.com/aditdev/adit/internal/webhook/outgoing"
	"github.com/aditdev/adit/internal/webhook/transform"
	"github.com/aditdev/adit/internal/wire"
	"github.com/aditdev/adit/static"
	"github.com/aditdev/adit/tunnelhub"
)

// hub is every part of the server, wired.
type hub struct {
	config   config.Config
	log      *slog.Logger
	store    *store.Store
	gate     *auth.Gate
	accounts *auth.Accounts
	events   *events.Log
	noted    *events.Queue
	devices  *devices.Registry
	ca       *sshca.CA
	tunnel   *tunnelhub.Hub
	hubKeys  *hubkeys.Keys

	rootPasswords *rootpassword.Vault
	dist          *dist.Dist
	updates       *updates.Updates
	updateWithin  time.Duration
	shells        *shell.Shells
	gateKey       ssh.Signer // the host key of sshGate
	heldKey       ssh.Signer // and of devices for which it ends SSH
	sshGate       *sshgate.Gate
	ports         *ports.Ports
	mqtt          *messaging.Exchange
	outgoing      *outgoing.Outbox
	transforms    *transform.Pool
	hooksIn       *incoming.Hooks
}

func newHub(ctx context.Context, c config.Config, log *slog.Logger, p program) (*hub, error) {
	st, err := store.Open(ctx, c.Data)
	if err != nil {
		return nil, err
	}
	h := &hub{config: c, log: log, store: st, dist: dist.New(), updateWithin: cmp.Or(p.updateWithin, updates.Within)}
	if p.programs != nil {
		h.dist = dist.From(p.programs)
	}
	if err := h.wire(ctx); err != nil {
		return nil, errors.Join(err, st.Close())
	}
	return h, nil
}

func (h *hub) wire(ctx context.Context) (err error) {
	sealer, err := seal.New(h.config.Secret)
	if err != nil {
		return err
	}
	keys, err := h.keys(ctx, sealer)
	if err != nil {
		return err
	}
	if h.ca, err = sshca.New(keys.userCA); err != nil {
		return err
	}
	if err := h.hostKeys(keys); err != nil {
		return err
	}
	if h.gate, err = auth.NewGate(ctx, h.store, time.Now); err != nil {
		return err
	}
	if h.accounts, err = auth.NewAccounts(h.store, h.gate); err != nil {
		return err
	}
	h.events = events.New(h.store, time.Now)
	h.noted = events.NewQueue(h.events, h.log)
	if h.hubKeys, err = hubkeys.Open(ctx, h.store, sealer, h.events, time.Now); err != nil {
		return err
	}
	h.devices = devices.New(devices.Options{Store: h.store, Gate: h.gate, Events: h.events, Now: time.Now, Log: h.log,
		Keys: h.hubKeys.Ring, UserCA: h.ca.AuthorizedKey(), GateKey: wire.SSHKey(keys.gate.Public().(ed25519.PublicKey)), URLs: h.config.URLs,
		Drop: func(device string, cause error) { h.tunnel.Drop(device, cause) }})
	name, err := h.devices.HubName(ctx)
	if err != nil {
		return err
	}
	h.tunnel = tunnelhub.New(tunnelhub.Options{Log: h.log, Hosts: h.hosts(), Name: name,
		Version: command.Version(), Device: h.device, Cloned: h.cloned, Handle: h.handle, Opened: h.streamOpened,
		MQTT: func(ctx context.Context, device string, conn net.Conn) error {
			return h.mqtt.Carrier(ctx, device, conn)
		}})
	h.rootPasswords, err = rootpassword.New(ctx, rootpassword.Options{Store: h.store, Sealer: sealer, Events: h.events, Now: time.Now,
		Log: h.log, Online: h.online, Call: h.tunnel.Call})
	if err != nil {
		return err
	}
	h.updates = updates.New(updates.Options{Events: h.events, Log: h.log, Now: time.Now, Version: command.Version(),
		Programs: h.dist.Programs, Within: h.updateWithin, AgentVersion: h.agentVersion, Call: h.tunnel.Call})
	h.shells = h.newShells()
	h.sshGate = sshgate.New(sshgate.Options{Log: h.log, Now: time.Now, HostKey: h.gateKey, HeldKey: h.heldKey, UserCA: h.ca.PublicKey(), LogIn: h.logIn,
		URL: h.config.URLs[0].String(), Gate: h.gate, Accounts: h.accounts, Devices: h.devices, Tunnel: h.tunnel, Events: h.noted})
	h.ports = ports.New(ports.Options{Log: h.log, Range: h.config.TCPPorts, Store: h.store, Gate: h.gate, Events: h.events,
		Now: time.Now, Dial: h.tunnel.Dial})
	h.transforms = transform.NewPool(transform.Options{Log: h.log})
	if h.outgoing, err = h.newOutgoing(ctx, sealer, name); err != nil {
		return err
	}
	if h.mqtt, err = h.newMQTT(ctx, keys); err != nil {
		return err
	}
	h.hooksIn, err = h.newHooksIn(ctx, sealer)
	return err
}

// hostKeys makes signers of the keys that the hub shows as an SSH server.
func (h *hub) hostKeys(k keys) (err error) {
	if h.gateKey, err = ssh.NewSignerFromKey(k.gate); err != nil {
		return fmt.Errorf("ssh gate key: %w", err)
	}
	if h.heldKey, err = ssh.NewSignerFromKey(k.held); err != nil {
		return fmt.Errorf("held ssh key: %w", err)
	}
	return nil
}

// gateKeySecret names the SSH gate's host key among the sealed secrets.
const gateKeySecret = "ssh_gate_key"

// keys are the hub's own, each of one use.
type keys struct {
	userCA, gate, held ed25519.PrivateKey
	mqttTokens         []byte
}

// keys opens the hub's keys but that of the tunnel, and makes them at the first start.
func (h *hub) keys(ctx context.Context, sealer *seal.Sealer) (k keys, err error) {
	seed := func() []byte {
		raw := make([]byte, ed25519.SeedSize)
		_, _ = rand.Read(raw) // never fails
		return raw
	}
	for name, key := range map[string]*ed25519.PrivateKey{"user_ca_key": &k.userCA, gateKeySecret: &k.gate, "ssh_held_key": &k.held} {
		kept, err := h.store.Secret(ctx, sealer, name, seed)
		if err != nil {
			return k, err
		}
		*key = ed25519.NewKeyFromSeed(kept)
	}
	k.mqttTokens, err = h.store.Secret(ctx, sealer, "mqtt_token_key", seed)
	return k, err
}

func (h *hub) hosts() []string {
	hosts := make([]string, 0, len(h.config.URLs))
	for _, u := range h.config.URLs {
		hosts = append(hosts, u.Host)
		if h.config.Dev && u.Hostname() == "localhost" {
			hosts = append(hosts, net.JoinHostPort("127.0.0.1", u.Port()))
		}
	}
	return hosts
}

// device is what the tunnel must know of one.
func (h *hub) device(ctx context.Context, id string) (tunnelhub.Device, error) {
	d, err := h.store.Read().GetDevice(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return tunnelhub.Device{}, wire.Errorf(wire.NotFound, "This hub knows no such device.")
	}
	if err != nil {
		return tunnelhub.Device{}, fmt.Errorf("find device: %w", err)
	}
	key, err := wire.DecodeKey(d.PublicKey)
	return tunnelhub.Device{ID: d.ID, Key: key, Status: d.Status, Stock: d.Via == devices.ViaOpenSSH,
		HubKey: h.hubKeys.Ring().Signer(d.HubKeys), Ping: time.Duration(d.PingSeconds) * time.Second}, err
}

func (h *hub) online(device string) bool { return h.tunnel.Presence(device).Online }

func (h *hub) agentVersion(device string) (version string, online bool) {
	p := h.tunnel.Presence(device)
	return p.AgentVersion, p.Online
}

func (h *hub) cloned(device string, _, _ wire.Instance) {
	h.devices.Cloned(context.Background(), device)
}

// handle answers the calls of devices.
func (h *hub) handle(ctx context.Context, device, method string, params json.RawMessage) (any, error) {
	switch method {
	case wire.MethodFacts:
		return struct{}{}, h.devices.Report(ctx, device, params)
	case wire.MethodUpdateResult:
		return struct{}{}, h.updates.Result(device, params)
	}
	return nil, wire.Errorf(wire.NotFound, "This hub knows no call %q.", wire.Printable(method, 64))
}

func (h *hub) handler(stopping context.Context) (http.Handler, error) {
	install := &handlers.Install{Dist: h.dist, Steps: h.devices, Key: h.devices.FingerprintFor,
		Hub: dist.Hub{URL: h.config.URLs[0].String()}}
	return handlers.New(handlers.Options{Config: h.config, Version: command.Version(), Log: h.log, Now: time.Now, Store: h.store,
		Gate: h.gate, Accounts: h.accounts, Events: h.events, Noted: h.noted, Devices: h.devices, CA: h.ca, Tunnel: h.tunnel, Shells: h.shells,
		Ports: h.ports, MQTT: h.mqtt, Install: install, RootPasswords: h.rootPasswords, Transforms: h.transforms, Updates: h.updates,
		HooksIn: h.hooksIn, Outgoing: h.outgoing,
		Site: static.Files(), SSH: h.sshGate.Serve, GateKey: h.gateKey.PublicKey(), HeldKey: h.heldKey.PublicKey(), Stopping: stopping})
}

// devOwner is who the sign-in link of --dev belongs to.
const devOwner = "owner@localhost"

func (h *hub) devLink(ctx context.Context, needed bool) (string, error) {
	if needed {
		if _, err := h.accounts.CreateUser(ctx, auth.NewUser{Email: devOwner, Handle: "owner", Role: access.Owner}); err != nil {
			return "", err
		}
	}
	id, err := h.store.Read().AnyOwner(ctx)
	if err != nil {
		return "", fmt.Errorf("find owner: %w", err)
	}
	return h.accounts.NewLoginLink(ctx, id)
}

// urlSetting keeps the hub's canonical URL for commands that have another environment.
const urlSetting = "url"

// begin forgets who was online when an earlier hub ended, however it ended.
func (h *hub) begin(ctx context.Context) error {
	return h.store.Write(ctx, func(q *store.Queries) error {
		return errors.Join(q.ForgetOnline(ctx), h.events.Write(ctx, q, hubEvent(events.HubStarted)),
			q.PutSetting(ctx, store.PutSettingParams{Name: urlSetting, Value: h.config.URLs[0].String()}))
	})
}

// How long the hub keeps what nobody needs any more.
const (
	sweepEvery = 10 * time.Minute
	keepEnded  = 30 * 24 * time.Hour
)

// sweep removes what has expired, now and then.
func (h *hub) sweep(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		if err := h.store.Write(ctx, func(q *store.Queries) error { return sweepOnce(ctx, q, time.Now()) }); err != nil && ctx.Err() == nil {
			h.log.Error("sweep failed", "cause", err)
		}
		if err := h.events.Sweep(ctx); err != nil && ctx.Err() == nil {
			h.log.Error("sweep of events failed", "cause", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func sweepOnce(ctx context.Context, q *store.Queries, now time.Time) error {
	at, ended := store.Millis(now), store.Millis(now.Add(-keepEnded))
	return errors.Join(
		q.SweepLoginSessions(ctx, at), q.SweepLoginLinks(ctx, at), q.SweepCLILogins(ctx, at),
		q.SweepTokens(ctx, ended), q.SweepInstallCodes(ctx, ended), q.SweepShells(ctx, ended),
		q.SweepMQTTCredentials(ctx, &ended), q.SweepMQTTRules(ctx),
	)
}
