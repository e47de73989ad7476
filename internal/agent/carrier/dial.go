package carrier

import (
	"context"
	"crypto/ed25519"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
)

// dial opens a WebSocket for a purpose and does the handshake. Errors are *stream.DialError.
func (p *Pool) dial(ctx context.Context, purpose wire.Purpose) (*carrier, error) {
	ws, err := p.config.Dialer.Dial(ctx, strings.TrimSuffix(p.config.URL, "/")+wire.PathTunnel, nil, wire.SubprotocolTunnel)
	if err != nil {
		return nil, err
	}
	c := &carrier{pool: p, ws: ws, agentNonce: wire.NewID(), born: time.Now()}
	ctx, cancel := context.WithTimeout(ctx, wire.HandshakeTimeout)
	defer cancel()
	if err := c.handshake(ctx, purpose); err != nil {
		p.mu.Lock()
		if p.carriers[c.nonce] == c {
			delete(p.carriers, c.nonce)
		}
		p.mu.Unlock()
		ws.CloseNow()
		return nil, err
	}
	return c, nil
}

// handshake proves the device to the hub and the hub to the device. From its hello on, the carrier is in the list that
// the agent believes alive.
func (c *carrier) handshake(ctx context.Context, purpose wire.Purpose) error {
	m, hello, err := c.ws.ReadMessage(ctx)
	if err != nil {
		return handshakeError(err)
	}
	h, ok := m.(wire.Hello)
	if !ok {
		return handshakeError(wire.Errorf(wire.Invalid, "The hub's first message must be hello."))
	}
	c.nonce = h.Nonce
	auth, err := wire.Encode(c.pool.auth(c, purpose))
	if err != nil {
		return handshakeError(err)
	}
	signature := ed25519.Sign(c.pool.config.Key, wire.AgentTranscript(hello, auth, c.pool.host))
	if err := c.ws.WriteRaw(wire.AppendSignature(auth, signature)); err != nil {
		return handshakeError(err)
	}
	m, signed, err := c.ws.ReadMessage(ctx)
	if err != nil {
		return handshakeError(err)
	}
	ready, ok := m.(wire.Ready)
	if !ok {
		return handshakeError(wire.Errorf(wire.Invalid, "The hub must answer auth with ready."))
	}
	return c.conclude(ready, hello, auth, signed)
}

// auth lists this carrier among those alive, and says who asks.
func (p *Pool) auth(c *carrier, purpose wire.Purpose) wire.Auth {
	p.mu.Lock()
	defer p.mu.Unlock()
	if purpose == wire.PurposeCarrier {
		p.carriers[c.nonce] = c
	}
	c.told = p.clock.origin()
	alive := make([]string, 0, len(p.carriers))
	for nonce := range p.carriers {
		alive = append(alive, nonce)
	}
	return wire.Auth{
		Purpose: purpose, Device: p.config.Device, Host: p.host, Instance: p.config.Instance, Nonce: c.agentNonce,
		Carriers: alive, Clock: p.clock.wall().UnixMilli(), AgentVersion: p.config.AgentVersion, Cap: p.cap,
	}
}

// conclude checks that the hub is the one that was pinned. One with a valid certificate and another key gets nothing.
func (c *carrier) conclude(ready wire.Ready, hello, auth, signed []byte) error {
	unsigned, signature, err := wire.CutSignature(signed)
	if err == nil && !wire.VerifyAny(c.pool.pinned(), wire.HubTranscript(hello, auth, unsigned, c.pool.host), signature) {
		err = wire.Errorf(wire.Unauthenticated, "Whoever answers as %s does not hold the key that this device pinned when it was enrolled.", c.pool.host)
	}
	if err != nil {
		return &stream.DialError{Cause: stream.CauseHubKey, Err: err}
	}
	ping := time.Duration(ready.PingSeconds) * time.Second
	c.deadAfter = max(wire.DeadAfter, ping*5/2)
	c.pool.mu.Lock()
	defer c.pool.mu.Unlock()
	c.pool.status.HubTime = time.UnixMilli(ready.Now)
	return nil
}

// handshakeError finds the cause of a handshake that broke.
func handshakeError(err error) error {
	cause := stream.CloseCause(err)
	if cause == nil || wire.CodeOf(err) == wire.Invalid {
		cause = err
	}
	return &stream.DialError{Cause: refusedCause(cause), Err: cause}
}

// Probe proves the path to the hub once: name, connection, proxy, certificate, upgrade, both keys. It replaces no
// carrier. stream.CauseOf gives the cause of its error.
func Probe(ctx context.Context, c Config) (hubTime time.Time, err error) {
	p, err := idle(c)
	if err != nil {
		return time.Time{}, err
	}
	probe, err := p.dial(ctx, wire.PurposeProbe)
	if err != nil {
		return time.Time{}, err
	}
	probe.ws.Close(nil)
	return p.status.HubTime, nil
}

// idle is a pool for one dial.
func idle(c Config) (*Pool, error) {
	p := New(c)
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" {
		return nil, wire.Errorf(wire.Invalid, "%q is no URL of a hub.", c.URL)
	}
	p.host = u.Host
	return p, nil
}

// MQTT opens a connection to the hub's broker that speaks raw MQTT as this device. It ends with ctx; the caller closes
// it. Errors are *stream.DialError.
func (p *Pool) MQTT(ctx context.Context) (net.Conn, error) {
	config := p.config
	config.HubKeys = p.pinned()
	fresh, err := idle(config)
	if err != nil {
		return nil, err
	}
	c, err := fresh.dial(ctx, wire.PurposeMQTT)
	if err != nil {
		return nil, err
	}
	return c.ws.NetConn(ctx), nil
}
