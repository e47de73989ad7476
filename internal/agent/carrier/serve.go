package carrier

import (
	"context"
	"encoding/json"
	"io"
	"sync/atomic"
	"time"

	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
)

// carrier is one WebSocket to the hub.
type carrier struct {
	pool       *Pool
	ws         *stream.FrameConn
	nonce      string // the hub's: names the carrier
	agentNonce string
	born       time.Time
	told       time.Time // the origin of the clock that its auth told
	deadAfter  time.Duration

	ready    bool // the handshake is over; this and the next two are guarded by the pool's mu
	left     bool // closed as surplus, or used up by a refusal: its end says nothing about the hub
	parkedAt time.Time

	current atomic.Pointer[served] // the stream on it; nil while parked
}

// serve reads frames until the WebSocket ends, and says why: nil for a close in good order.
func (c *carrier) serve(ctx context.Context) error {
	err := c.read(ctx)
	if s := c.current.Load(); s != nil {
		s.lost(c)
	}
	return err
}

// read keeps contexts out of its reads: one that ends would take the WebSocket along.
func (c *carrier) read(ctx context.Context) error {
	var buf []byte // while a stream runs
	for {
		data, payload, err := c.ws.Next(context.Background())
		if err != nil {
			return stream.CloseCause(err)
		}
		if c.current.Load() == nil {
			buf = nil
		} else if buf == nil {
			buf = make([]byte, wire.MaxFrame)
		}
		if data {
			err = c.onData(payload, buf)
		} else {
			err = c.onMessage(ctx, payload)
		}
		if err != nil {
			c.pool.config.Log.Warn("carrier ended", "cause", err)
			return err
		}
	}
}

func (c *carrier) onData(payload io.Reader, buf []byte) error {
	p, err := c.ws.Payload(payload, buf)
	if err != nil {
		return err
	}
	s := c.current.Load()
	if s == nil {
		return wire.Errorf(wire.Invalid, "Data came on a carrier without a stream.")
	}
	return s.end.Receive(c.ws, p)
}

func (c *carrier) onMessage(ctx context.Context, payload io.Reader) error {
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
		c.pool.calls.Deliver(m)
		return nil
	case wire.Open:
		return c.onOpen(ctx, m)
	}
	number, ok := wire.StreamOf(m)
	if !ok {
		return nil
	}
	s := c.current.Load()
	if s == nil || s.number(c) != number {
		return wire.Errorf(wire.Invalid, "A message came about a stream that this carrier does not carry.")
	}
	return s.end.Handle(c.ws, m)
}

// onCall runs a call in the background; one without the hub's signature ends the carrier.
func (c *carrier) onCall(ctx context.Context, call wire.Call) error {
	config := &c.pool.config
	if !wire.VerifyCall(c.pool.pinned(), config.Device, c.nonce, c.agentNonce, call) {
		return wire.Errorf(wire.Unauthenticated, "A call came that the hub did not sign.")
	}
	c.pool.working.Go(func() {
		result := c.pool.answers.Answer(ctx, call.ID, func() wire.Result { return c.pool.perform(ctx, call) })
		_ = c.ws.WriteMessage(result) // where the carrier died, the call will be repeated
	})
	return nil
}

// perform answers a call from what an earlier life of this agent answered, or by the handler.
func (p *Pool) perform(ctx context.Context, call wire.Call) wire.Result {
	store := p.config.Answers
	if changes := p.config.Changes; changes != nil && !changes(call.Method) {
		store = nil
	}
	if store != nil {
		if raw, ok := store.Load(call.ID); ok {
			var known wire.Result
			if json.Unmarshal(raw, &known) == nil {
				return known
			}
		}
	}
	value, err := p.config.Handler.Call(ctx, call.Method, call.Params)
	if err != nil {
		p.config.Log.Info("call failed", "method", call.Method, "cause", err)
	}
	result := stream.ResultOf(call.ID, value, err)
	if store == nil {
		return result
	}
	raw, err := json.Marshal(result)
	if err == nil {
		err = store.Save(call.ID, raw)
	}
	if err != nil {
		p.config.Log.Warn("the answer of a call was not kept", "method", call.Method, "cause", err)
	}
	return result
}

// prove pings the hub, and drops the carrier where no answer comes: the network under it may be another.
func (c *carrier) prove() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if c.ws.Ping(ctx) != nil {
		c.ws.CloseNow()
	}
	c.pool.mu.Lock()
	c.pool.proving--
	c.pool.mu.Unlock()
	c.pool.nudge()
}

// Call asks the hub for something and stores its answer in result, a pointer or nil. It waits for a carrier until ctx
// ends and repeats the call where a carrier died. Errors are *wire.Error as the hub answered.
func (p *Pool) Call(ctx context.Context, method string, params, result any) error {
	raw, err := json.Marshal(params)
	if err != nil {
		return wire.Wrap(err, wire.Internal, "The call %s cannot be written.", method)
	}
	call := wire.Call{ID: wire.NewID(), Method: method, Params: raw}
	answer, forget := p.calls.Expect(call.ID)
	defer forget()
	var on *carrier
	for {
		p.mu.Lock()
		changed := p.gone
		if on == nil || p.carriers[on.nonce] != on {
			on = p.anyLocked()
		} else {
			on = nil // still alive: it has the call
		}
		p.mu.Unlock()
		if on != nil {
			if err := on.ws.WriteMessage(call); wire.CodeOf(err) == wire.TooLarge {
				return err
			}
		}
		select {
		case r := <-answer:
			return stream.ReadResult(r, result)
		case <-changed:
		case <-ctx.Done():
			return wire.Wrap(context.Cause(ctx), wire.Offline, "The hub did not answer %s in time.", method)
		}
	}
}

// anyLocked is a carrier that is ready, the one heard most recently; nil for none.
func (p *Pool) anyLocked() (best *carrier) {
	for _, c := range p.carriers {
		if c.ready && (best == nil || c.ws.Heard().After(best.ws.Heard())) {
			best = c
		}
	}
	return best
}
