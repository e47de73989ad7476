package tunnelhub

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
)

// Link is a live connection to a device: one carrier of its agent (Handshake gives one), or a StockLink.
type Link interface {
	serve(ctx context.Context, h *Hub) error
}

// Serve registers a link and blocks until it ended, or ctx did and closed it. It returns why.
func (h *Hub) Serve(ctx context.Context, l Link) error { return l.serve(ctx, h) }

// Carrier is an authenticated WebSocket of a device's agent.
type Carrier struct {
	hub        *Hub
	ws         *stream.FrameConn
	id         string // of the device
	nonce      string // the hub's: names the carrier
	agentNonce string
	remote     string
	purpose    wire.Purpose
	ping       time.Duration
	helloAt    time.Time
	readyAt    time.Time
	drops      int // of the device, before it was verified,
	renewals   int // likewise
	device     *device
	serving    bool // guarded by the hub's mu

	current atomic.Pointer[holder]
	gone    chan struct{} // closed when Serve is over
}

// holder is who uses a carrier at the moment, and for which stream.
type holder struct {
	stream uint64
	user   user
}

// user gets what arrives on a carrier that it holds, from the carrier's reader, which it must not keep waiting. An
// error of the first two ends the carrier.
type user interface {
	message(c *Carrier, m wire.Message) error
	data(c *Carrier, p []byte) error
	lost(c *Carrier, err error)
}

func (c *Carrier) serve(ctx context.Context, h *Hub) error {
	if !h.begin() {
		c.ws.Close(stream.Restarting)
		h.leave(c, stream.Restarting)
		return stream.Restarting
	}
	defer h.serving.Done()
	stop := context.AfterFunc(ctx, func() { c.ws.Close(stream.Restarting) })
	defer stop()
	switch c.purpose {
	case wire.PurposeProbe:
		c.ws.Close(nil)
		return nil
	case wire.PurposeMQTT:
		defer c.ws.CloseNow()
		defer h.KeepAlive(c.ws, c.ping)()
		return h.options.MQTT(ctx, c.id, c.ws.NetConn(ctx))
	}
	h.enter(c)
	err := c.read(ctx)
	h.leave(c, err)
	if errors.Is(err, errDone) {
		err = nil
	}
	c.ws.Close(err)
	return err
}

// enter starts a carrier's pings and parks it.
func (h *Hub) enter(c *Carrier) {
	h.mu.Lock()
	c.serving = true
	h.mu.Unlock()
	h.pings.add(c.ws, c.ping)
	h.park(c)
}

// leave forgets a carrier, and tells who held it.
func (h *Hub) leave(c *Carrier, err error) {
	h.mu.Lock()
	if c.device != nil {
		c.serving = false
		c.device.removeLocked(c)
	}
	h.mu.Unlock()
	h.pings.remove(c.ws)
	close(c.gone)
	if held := c.current.Swap(nil); held != nil {
		held.user.lost(c, err)
	}
}

// read serves frames until the WebSocket ends. Contexts stay out of it: one that ends would take the WebSocket along.
func (c *Carrier) read(ctx context.Context) error {
	var buf []byte // while a stream runs
	for {
		data, payload, err := c.ws.Next(context.Background())
		if err != nil {
			return stream.CloseCause(err)
		}
		if data {
			if buf == nil {
				buf = make([]byte, wire.MaxFrame)
			}
			err = c.onData(payload, buf)
		} else {
			err = c.onMessage(ctx, payload)
		}
		if err != nil {
			return err
		}
		if buf != nil && c.current.Load() == nil {
			buf = nil
		}
	}
}

func (c *Carrier) onData(payload io.Reader, buf []byte) error {
	p, err := c.ws.Payload(payload, buf)
	if err != nil {
		return err
	}
	held := c.current.Load()
	if held == nil {
		return wire.Errorf(wire.Invalid, "Data came on a carrier without a stream.")
	}
	return held.user.data(c, p)
}

func (c *Carrier) onMessage(ctx context.Context, payload io.Reader) error {
	raw, err := io.ReadAll(payload)
	if err != nil {
		return err
	}
	m, err := wire.Decode(raw)
	if err != nil {
		return err
	}
	switch m := m.(type) {
	case wire.Call:
		return c.onCall(ctx, m)
	case wire.Result:
		c.device.calls.Deliver(m)
		return nil
	}
	number, ok := wire.StreamOf(m)
	if !ok {
		return nil
	}
	held := c.current.Load()
	if held == nil || held.stream != number {
		return wire.Errorf(wire.Invalid, "A message came about a stream that this carrier does not carry.")
	}
	return held.user.message(c, m)
}

// hold gives the carrier to a user for a stream; fail means that it ended meanwhile.
func (c *Carrier) hold(number uint64, u user) (ok bool) {
	c.current.Store(&holder{stream: number, user: u})
	select {
	case <-c.gone:
		return c.current.Swap(nil) == nil // lost was or will be told
	default:
		return true
	}
}

// release parks the carrier again: its agent said so.
func (c *Carrier) release() {
	c.current.Store(nil)
	c.hub.park(c)
}
