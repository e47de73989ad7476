package tunnelhub

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
)

var (
	errRevoked = wire.Errorf(wire.Forbidden, "Access to this device was withdrawn.")
	errDone    = errors.New("the stream ended, and its carrier with it") // not a failure
)

// carrierError is a failure of the carrier, not of the target: another carrier may do.
type carrierError struct{ err error }

func (e *carrierError) Error() string { return "carrier: " + e.err.Error() }
func (e *carrierError) Unwrap() error { return e.err }

// Dial opens a stream and is its end. The stream outlives its carrier for wire.ResumeFor, and is the caller's to close.
// ctx bounds the opening only. It waits up to 10 s for a carrier. Errors are *wire.Error: offline where no carrier
// came, else what the device answered. A stream through a stock link ends with that link.
func (h *Hub) Dial(ctx context.Context, r Request) (stream.Conn, error) {
	if l := h.stockOf(r.Device); l != nil {
		return h.dialStock(ctx, l, r)
	}
	c, want, err := h.acquire(ctx, r.Device)
	if errors.Is(err, errStock) { // it came while we waited
		return h.Dial(ctx, r)
	}
	if err != nil {
		return nil, err
	}
	life, cancel := context.WithCancelCause(context.Background())
	d := &dialed{
		hub: h, request: r, number: h.ids.Add(1), life: life, cancel: cancel,
		End: stream.NewEnd(wire.MaxPipelined), opened: make(chan error, 1), detached: make(chan struct{}, 1),
	}
	if !h.start(func() { d.supervise(c, want) }) {
		cancel(nil)
		return nil, errStopping
	}
	if r.Early {
		return d, nil
	}
	select {
	case err = <-d.opened:
	case <-ctx.Done():
		err = wire.Wrap(context.Cause(ctx), wire.Offline, "The opening of the stream was given up.")
	}
	if err != nil {
		d.fail(err)
		return nil, err
	}
	return d, nil
}

// dialed is a stream whose one end is the hub.
type dialed struct {
	*stream.End
	hub     *Hub
	request Request
	number  uint64 // in the hub's list; the first carrier's stream has it too

	life     context.Context // ends with the stream
	cancel   context.CancelCauseFunc
	opened   chan error    // the first opening's outcome
	detached chan struct{} // an opened stream lost its carrier

	// The supervisor's own.
	token   string
	carrier *Carrier
}

// Close is net.Conn's.
func (d *dialed) Close() error {
	err := d.End.Close()
	select {
	case <-d.Done(): // nothing is left to flush
		d.cancel(net.ErrClosed)
	default:
	}
	return err
}

// Join is stream.Conn's.
func (d *dialed) Join(conn net.Conn) error {
	err := d.End.Join(conn)
	_ = d.Close()
	return err
}

// fail ends the stream at both ends.
func (d *dialed) fail(cause error) {
	d.Reset(cause)
	d.cancel(cause)
}

// supervise opens the stream, takes it up again when its carrier dies, and cleans up after it.
func (d *dialed) supervise(c *Carrier, want int) {
	unregister := d.hub.register(d.request, d.number, d.Bytes, d.fail)
	err := d.open(c, want)
	if err != nil {
		d.Fail(err)
	}
	d.opened <- err
	for d.Err() == nil {
		select {
		case <-d.Done():
		case <-d.detached:
			if err := d.resume(); err != nil {
				d.Fail(err)
			}
			continue
		}
		break
	}
	d.cancel(d.Err())
	unregister(d.Err())
	if held := d.carrier; held != nil && d.Err() != nil {
		held.ws.Close(nil)
	}
}

// open tries one carrier, and a second one where the first was at fault.
func (d *dialed) open(c *Carrier, want int) error {
	err := d.try(c, wire.Open{Stream: d.number, Want: want})
	if _, carriers := errors.AsType[*carrierError](err); !carriers {
		return err
	}
	c, want, again := d.hub.acquire(d.life, d.request.Device)
	if again != nil {
		return again
	}
	err = d.try(c, wire.Open{Stream: d.hub.ids.Add(1), Want: want})
	if failed, ok := errors.AsType[*carrierError](err); ok {
		return wire.Wrap(failed.err, wire.Offline, "The device did not answer on two connections.")
	}
	return err
}

// resume takes the stream up on other carriers until one works, for wire.ResumeFor.
func (d *dialed) resume() error {
	ctx, cancel := context.WithTimeout(d.life, wire.ResumeFor)
	defer cancel()
	err := error(wire.Errorf(wire.Offline, "The device's connection was lost."))
	for d.token != "" && ctx.Err() == nil {
		c, want, missing := d.hub.acquire(ctx, d.request.Device)
		switch {
		case errors.Is(missing, errStopping):
			return stream.Restarting
		case errors.Is(missing, errStock): // the device comes without our agent now: nobody keeps the stream
			return missing
		case missing != nil:
			continue
		}
		open := wire.Open{Stream: d.hub.ids.Add(1), Want: want, Resume: d.token, Received: d.Received()}
		if err = d.try(c, open); err == nil {
			d.Flush()
			return nil
		}
		if _, carriers := errors.AsType[*carrierError](err); !carriers {
			return err
		}
	}
	return err
}

// try opens or resumes the stream on a carrier. A *carrierError means that another one may do better.
func (d *dialed) try(c *Carrier, open wire.Open) error {
	open.Target, open.User = d.request.Target, d.request.User
	d.carrier = c
	a := &attempt{dialed: d, open: open, answered: make(chan error, 1)}
	if !c.hold(open.Stream, a) {
		return &carrierError{errors.New("lost before the open")}
	}
	if err := d.ask(c, open); err != nil {
		c.ws.CloseNow()
		return &carrierError{err}
	}
	timer := time.NewTimer(wire.OpenTimeout)
	defer timer.Stop()
	select {
	case err := <-a.answered:
		return err
	case <-d.life.Done(): // the device was told; supervise closes the carrier
		return context.Cause(d.life)
	case <-timer.C:
		if !a.giveUp() {
			return <-a.answered
		}
		c.ws.CloseNow()
		return &carrierError{errors.New("no answer to the open in time")}
	}
}

// ask sends the open. One that resumes is attached when the device has said what it received.
func (d *dialed) ask(c *Carrier, open wire.Open) error {
	if open.Resume != "" {
		return c.ws.WriteMessage(open)
	}
	if err := d.Open(c.ws, open); err != nil {
		return err
	}
	d.Flush()
	return nil
}

// attempt is a dialed stream on one carrier.
type attempt struct {
	*dialed
	open     wire.Open
	answered chan error // the opening's outcome, once

	mu     sync.Mutex
	isOpen bool
	late   bool // another carrier has taken its place
}

func (a *attempt) message(c *Carrier, m wire.Message) error {
	switch m := m.(type) {
	case wire.Opened:
		return a.onOpened(c, m)
	case wire.Refused:
		a.Detach(c.ws)
		a.answer(wire.Errorf(m.Code, "%s", wire.Printable(m.Message, 300)))
		return errDone
	case wire.Reset:
		_ = a.Handle(c.ws, m)
		return errDone
	case wire.Parked:
		_ = a.Handle(c.ws, m)
		if a.Err() != nil {
			return errDone // it was reset at the same moment
		}
		c.release()
		return nil
	case wire.Open:
		return wire.Errorf(wire.Invalid, "An agent opens no streams.")
	}
	return a.Handle(c.ws, m)
}

func (a *attempt) onOpened(c *Carrier, m wire.Opened) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.late:
		return errDone
	case a.isOpen:
		return wire.Errorf(wire.Invalid, "The stream was opened twice.")
	}
	a.isOpen = true
	a.token = m.Resume
	a.Opened()
	if a.open.Resume != "" {
		if err := a.Attach(c.ws, a.open.Stream, m.Received); err != nil {
			a.answer(err)
			return err
		}
	}
	a.answer(nil)
	return nil
}

// giveUp makes an answer that comes from now on too late; it fails where the device has opened the stream.
func (a *attempt) giveUp() (ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.late = !a.isOpen
	return a.late
}

func (a *attempt) wasOpened() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.isOpen
}

func (a *attempt) data(c *Carrier, p []byte) error { return a.Receive(c.ws, p) }

func (a *attempt) lost(c *Carrier, err error) {
	a.Detach(c.ws)
	if !a.wasOpened() {
		a.answer(&carrierError{errors.Join(errors.New("lost during the open"), err)})
		return
	}
	select {
	case a.detached <- struct{}{}:
	default:
	}
}

func (a *attempt) answer(err error) {
	select {
	case a.answered <- err:
	default:
	}
}
