package sshgate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
	"github.com/aditdev/adit/tunnelhub"
)

// hold serves the channel of somebody whose grants want the hub to end SSH: the hub speaks for the device's server, with
// a host key of its own, and is that server's client for one login. Whoever came has proved who they are already.
func (v *visit) hold(ctx context.Context, n ssh.NewChannel, d store.Device) {
	channel, requests, err := n.Accept()
	if err != nil {
		return
	}
	conn, carry, err := newPair(channel, requests)
	if err != nil {
		v.log.Error("ssh not held", "cause", err)
		return
	}
	var carrying sync.WaitGroup
	carrying.Go(carry)
	defer carrying.Wait()
	defer conn.Close()
	v.serveHeld(ctx, conn, d)
}

// entrance is in the Permissions of a connection that the hub ends: the account that it is for.
type entrance struct{}

// serveHeld speaks SSH with the client on conn until either side ends it.
func (v *visit) serveHeld(ctx context.Context, conn net.Conn, d store.Device) {
	_ = conn.SetDeadline(time.Now().Add(handshakeTimeout))
	server, channels, requests, err := ssh.NewServerConn(conn, v.heldConfig(ctx, d))
	if err != nil {
		v.tell(slog.LevelInfo, "held ssh refused", "device", d.ID, "cause", cause(err))
		return
	}
	defer server.Close()
	_ = conn.SetDeadline(time.Time{})
	login, _ := server.Permissions.ExtraData[entrance{}].(string)
	h := &held{visit: v, device: d, login: login, open: map[*heldSession]struct{}{}, inner: &connection{gate: v.gate, ssh: server,
		address: v.address, noise: v.noise, log: v.log.With("device", d.ID, "login", login)}}
	h.serve(ctx, channels, requests)
}

// heldConfig lets the person of the outer connection in, by no further proof or by another key of theirs, to an account
// that they may enter. Its host key is for this use alone: the gate's own stands for the gate.
func (v *visit) heldConfig(ctx context.Context, d store.Device) *ssh.ServerConfig {
	enter := func(login string) (*ssh.Permissions, error) {
		if err := v.mayEnter(ctx, d, login); err != nil {
			return nil, &ssh.BannerError{Err: err, Message: fmt.Sprintf("adit: %s: %s\r\n", wire.CodeOf(err), wire.MessageOf(err))}
		}
		return &ssh.Permissions{ExtraData: map[any]any{entrance{}: login}}, nil
	}
	c := &ssh.ServerConfig{
		Config:       ssh.Config{KeyExchanges: keyExchanges, Ciphers: ciphers, MACs: macs},
		MaxAuthTries: maxTries, ServerVersion: version,
		NoClientAuth:         true,
		NoClientAuthCallback: func(meta ssh.ConnMetadata) (*ssh.Permissions, error) { return enter(meta.User()) },
		PublicKeyCallback: func(meta ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			p, _, err := v.gate.options.Accounts.BySSHKey(ctx, key, v.principal.User.Handle)
			if err != nil || p.User.ID != v.principal.User.ID {
				return nil, errors.New("the key is of nobody, or of somebody else than who came")
			}
			return enter(meta.User())
		},
		PublicKeyAuthAlgorithms: keyAlgorithms,
	}
	c.AddHostKey(v.gate.options.HeldKey)
	return c
}

func (v *visit) mayEnter(ctx context.Context, d store.Device, login string) error {
	if !wire.ValidLogin(login) {
		return wire.Errorf(wire.Invalid, "%q is no Unix account.", wire.Printable(login, 32))
	}
	return v.gate.options.Gate.Check(ctx, v.useOf(d, login))
}

func (v *visit) useOf(d store.Device, login string) access.Use {
	return access.Use{User: v.principal.User.ID, Credential: v.principal.Credential, Device: d.ID, Target: string(wire.TargetSSH),
		Login: login, Way: access.Held}
}

// held is a connection to one account of a device that the hub ends.
type held struct {
	*visit
	inner  *connection // the client's
	device store.Device
	login  string
	far    *ssh.Client // the device's server; nil until it let the hub in

	mu   sync.Mutex
	open map[*heldSession]struct{}
}

// serve logs in and serves channels, for as long as the policy lets this person be led in so.
func (h *held) serve(ctx context.Context, channels <-chan ssh.NewChannel, requests <-chan *ssh.Request) {
	defer h.inner.wg.Wait()
	defer h.inner.ssh.Close()
	h.inner.wg.Go(func() {
		for r := range requests {
			h.inner.refuseRequest(r)
		}
	})
	allowed, release, err := h.gate.options.Gate.Hold(ctx, h.useOf(h.device, h.login))
	if err == nil {
		defer release()
		err = h.logIn(allowed)
	}
	if err != nil {
		h.inner.tell(slog.LevelInfo, "held ssh failed", "cause", err)
		h.inner.each(channels, func(n ssh.NewChannel) { reject(n, err) })
		return
	}
	defer h.far.Close()
	defer context.AfterFunc(allowed, func() { h.end(context.Cause(allowed)) })()
	h.inner.log.Info("held ssh opened")
	h.inner.wg.Go(func() {
		_ = h.far.Wait()
		h.end(wire.Errorf(wire.Offline, "The connection to the device was lost."))
	})
	h.inner.each(channels, func(n ssh.NewChannel) { h.channel(allowed, n) })
}

// logIn reaches the device's SSH server as its client.
func (h *held) logIn(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, loginTimeout)
	defer cancel()
	conn, err := h.gate.options.Tunnel.Dial(context.WithoutCancel(ctx), tunnelhub.Request{Device: h.device.ID, Target: wire.TargetSSH,
		User: h.principal.User.ID, Via: tunnelhub.ViaGate, From: h.address, Login: h.login})
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	client, err := h.gate.options.LogIn(ctx, conn, h.principal.User.ID, h.device.ID, h.login)
	if !stop() && err == nil {
		_ = client.Close()
		err = wire.Errorf(wire.Offline, "The device took longer than %v to let the hub in.", loginTimeout)
	}
	if err != nil {
		_ = conn.Close()
		return err
	}
	h.far = client
	return nil
}

// loginTimeout is how long a device may take to let the hub in.
const loginTimeout = 20 * time.Second

func (h *held) channel(ctx context.Context, n ssh.NewChannel) {
	switch n.ChannelType() {
	case "session":
		h.session(n)
	case "direct-tcpip":
		h.forwardTo(ctx, n)
	default:
		h.inner.refuseChannel(n)
	}
}

// end says why in every session, and closes both connections.
func (h *held) end(why error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var saying sync.WaitGroup
	for s := range h.open {
		saying.Go(func() { s.say(why) })
	}
	said := make(chan struct{})
	go func() { saying.Wait(); close(said) }()
	select {
	case <-said:
	case <-time.After(sayTimeout): // the client reads nothing
	}
	_, _ = h.inner.ssh.Close(), h.far.Close()
}

// sayTimeout is how long the end of a connection waits for its client to be told why.
const sayTimeout = time.Second

// forwardTo serves a direct-tcpip channel within the connection: a target of the device, where a grant allows that. It
// goes by a stream of its own, since the hub's certificate forwards nothing.
func (h *held) forwardTo(ctx context.Context, n ssh.NewChannel) {
	host, port, err := forwardOf(n)
	if err == nil && !h.options.AllowsOpen(host, port) {
		err = wire.Errorf(wire.Forbidden, "this key may not forward to %s", wire.Printable(address(host, port), 100))
	}
	var target wire.Target
	if err == nil {
		target, err = wire.ParseTarget("tcp:" + address(host, port))
	}
	if err != nil {
		reject(n, err)
		return
	}
	targets := []wire.Target{target}
	if strings.EqualFold(host, "localhost") {
		targets = append(targets, wire.TCPTarget("127.0.0.1", int(port)))
	}
	h.lead(ctx, n, h.device, targets, host, port)
}
