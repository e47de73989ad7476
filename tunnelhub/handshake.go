package tunnelhub

import (
	"context"
	"crypto/ed25519"
	"errors"
	"slices"
	"time"

	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
)

// Handshake authenticates a fresh WebSocket within wire.HandshakeTimeout. remote is the peer's address for logs and
// pages. On an error it has closed the WebSocket with the right code. The caller then calls Serve, from a goroutine of
// its own: the one that verified signatures has grown a stack that an idle carrier should not keep.
//
// admitted is called with the device's id between the auth frame and its verification, and may refuse: it is where a
// door counts its slots. nil admits everybody.
func (h *Hub) Handshake(ctx context.Context, ws *stream.FrameConn, remote string, admitted Admission) (*Carrier, error) {
	c := &Carrier{hub: h, ws: ws, nonce: wire.NewID(), remote: remote, helloAt: time.Now(), gone: make(chan struct{})}
	err := within(ctx, ws, wire.HandshakeTimeout, func(ctx context.Context) error { return h.handshake(ctx, c, admitted) })
	if err == nil {
		return c, nil
	}
	h.options.Log.Info("carrier refused", "device", c.id, "address", remote, "cause", err)
	ws.Close(err)
	return nil, err
}

// Admission bounds how many handshakes are verified at once. It waits for a slot, which release gives back.
type Admission func(ctx context.Context, device string) (release func(), err error)

// within runs a step of the handshake and drops the WebSocket when it takes longer.
func within(ctx context.Context, ws *stream.FrameConn, limit time.Duration, step func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := step(ctx)
	if err != nil && ctx.Err() != nil && !errors.Is(err, stream.Restarting) {
		return wire.Wrap(err, wire.Unauthenticated, "The handshake took longer than %v.", limit)
	}
	return err
}

func (h *Hub) handshake(ctx context.Context, c *Carrier, admitted Admission) error {
	hello, err := wire.Encode(wire.Hello{Nonce: c.nonce, Hub: h.options.Name, Version: h.options.Version})
	if err != nil {
		return err
	}
	if err := c.ws.WriteRaw(hello); err != nil {
		return err
	}
	var auth wire.Auth
	var signed []byte
	err = within(ctx, c.ws, wire.AuthTimeout, func(ctx context.Context) (err error) {
		auth, signed, err = readAuth(ctx, c.ws)
		return err
	})
	if err != nil {
		return err
	}
	if admitted != nil {
		release, err := admitted(ctx, auth.Device)
		if err != nil {
			return err
		}
		defer release()
	}
	return h.conclude(ctx, c, hello, auth, signed)
}

// conclude verifies the auth and answers it.
func (h *Hub) conclude(ctx context.Context, c *Carrier, hello []byte, auth wire.Auth, signed []byte) error {
	c.drops, c.renewals = h.counts(auth.Device)
	unsigned, device, err := h.verify(ctx, hello, auth, signed)
	if err != nil {
		return err
	}
	c.id, c.agentNonce, c.purpose, c.ping = device.ID, auth.Nonce, auth.Purpose, device.Ping
	if c.ping <= 0 {
		c.ping = wire.PingEvery
	}
	c.readyAt = time.Now()
	switch auth.Purpose {
	case wire.PurposeCarrier:
		if err := h.admit(c, auth); err != nil {
			return err
		}
	case wire.PurposeMQTT:
		if h.options.MQTT == nil {
			return wire.Errorf(wire.NotFound, "This hub has no MQTT broker.")
		}
	case wire.PurposeProbe:
	default:
		return wire.Errorf(wire.Invalid, "This hub knows no carriers for %q.", auth.Purpose)
	}
	if err := h.sendReady(c, h.keyFor(device), hello, unsigned, auth.Host); err != nil {
		h.leave(c, err)
		return err
	}
	return nil
}

// keyFor is the hub's key that a device pins.
func (h *Hub) keyFor(d Device) ed25519.PrivateKey {
	if d.HubKey != nil {
		return d.HubKey
	}
	return h.options.Key
}

func (h *Hub) sendReady(c *Carrier, key ed25519.PrivateKey, hello, auth []byte, host string) error {
	ready, err := wire.Encode(wire.Ready{PingSeconds: int(c.ping.Seconds()), Now: h.options.Now().UnixMilli()})
	if err != nil {
		return err
	}
	signature := ed25519.Sign(key, wire.HubTranscript(hello, auth, ready, host))
	return c.ws.WriteRaw(wire.AppendSignature(ready, signature))
}

func readAuth(ctx context.Context, ws *stream.FrameConn) (wire.Auth, []byte, error) {
	m, raw, err := ws.ReadMessage(ctx)
	if err != nil {
		return wire.Auth{}, nil, err
	}
	auth, ok := m.(wire.Auth)
	if !ok {
		return wire.Auth{}, nil, wire.Errorf(wire.Unauthenticated, "The first message of an agent must be auth.")
	}
	return auth, raw, nil
}

var errUnauthenticated = wire.Errorf(wire.Unauthenticated, "The hub knows no device with this id and key.")

// verify finds the device and checks its signature. Who is not a device learns nothing about which ids exist.
func (h *Hub) verify(ctx context.Context, hello []byte, auth wire.Auth, signed []byte) (unsigned []byte, d Device, err error) {
	unsigned, signature, err := wire.CutSignature(signed)
	if err != nil {
		return nil, Device{}, err
	}
	d, err = h.options.Device(ctx, auth.Device)
	switch {
	case err != nil && wire.CodeOf(err) == wire.NotFound:
		return nil, Device{}, errUnauthenticated
	case err != nil:
		return nil, Device{}, err
	case d.Stock:
		return nil, Device{}, errUnauthenticated
	case !wire.VerifyAny([]ed25519.PublicKey{d.Key}, wire.AgentTranscript(hello, unsigned, auth.Host), signature):
		return nil, Device{}, errUnauthenticated
	case !slices.Contains(h.options.Hosts, auth.Host):
		return nil, Device{}, wire.Errorf(wire.Unauthenticated, "This hub does not answer to the host %s.", wire.Printable(auth.Host, 64))
	case d.Status == StatusPending:
		return nil, Device{}, wire.Errorf(wire.Forbidden, "pending: a person has to approve this device on the hub.")
	case d.Status != StatusActive:
		return nil, Device{}, wire.Errorf(wire.Forbidden, "This device is blocked on the hub.")
	}
	return unsigned, d, nil
}
