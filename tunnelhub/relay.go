package tunnelhub

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
)

// Relay passes the frames of one stream between a door's WebSocket of subprotocol adit.stream.v1 and a device, until
// the stream, either side or ctx ended; ctx's cause is then what both are told. Windows and resume are between those two: the hub holds only what a slow
// network has not taken yet. It closes door. Errors are *wire.Error, of which the door's peer has been told.
func (h *Hub) Relay(ctx context.Context, r Request, door *stream.FrameConn) error {
	open, err := readOpen(ctx, door, r.Target)
	if err != nil {
		door.Close(err)
		return err
	}
	if h.stockOf(r.Device) != nil {
		return h.relayStock(ctx, r, door, open)
	}
	y := &relay{hub: h, request: r, door: door, open: open, over: make(chan error, 1)}
	unregister := h.register(r, h.ids.Add(1), y.bytes, y.revoke)
	h.pings.add(door, wire.PingEvery)
	defer h.pings.remove(door)
	err = y.run(ctx)
	unregister(err)
	return err
}

// readOpen reads a door's first message. Its target must be that of the door, for which access was checked.
func readOpen(ctx context.Context, door *stream.FrameConn, target wire.Target) (wire.Open, error) {
	ctx, cancel := context.WithTimeout(ctx, wire.HandshakeTimeout)
	defer cancel()
	m, _, err := door.ReadMessage(ctx)
	if err != nil {
		return wire.Open{}, err
	}
	open, ok := m.(wire.Open)
	if !ok || open.Target != target {
		return wire.Open{}, wire.Errorf(wire.Invalid, "The first message must open the target that the URL names.")
	}
	return open, nil
}

// relay is one stream between a door and a device.
type relay struct {
	hub     *Hub
	request Request
	door    *stream.FrameConn
	open    wire.Open  // as the door sent it
	over    chan error // why the relay ends; the first word counts

	mu       sync.Mutex // keeps frames to the device in order
	current  *leg       // nil before the first attempt and after the last
	opened   bool
	told     bool    // the device was sent a reset
	early    []frame // to be repeated on another carrier until opened
	earlyLen int
}

// leg is a relay's use of one carrier.
type leg struct {
	*relay
	carrier  *Carrier
	stream   uint64
	answered chan error // the opening's outcome, once
}

// frame is a data frame, or with message set a control frame.
type frame struct {
	message wire.Message
	data    []byte
}

func (y *relay) bytes() (in, out int64) {
	out, in = y.door.Bytes()
	return in, out
}

func (y *relay) run(ctx context.Context) error {
	var door sync.WaitGroup
	door.Go(func() { y.end(y.readDoor()) })
	err := y.connect(ctx)
	if err == nil {
		select {
		case err = <-y.over:
		case <-ctx.Done():
			err = context.Cause(ctx)
			y.revoke(err)
		}
	}
	y.close(err)
	door.Wait()
	if errors.Is(err, errDone) {
		return nil
	}
	return err
}

// end says why the relay is over.
func (y *relay) end(err error) {
	select {
	case y.over <- err:
	default:
	}
}

// close ends the door with a word of why, and the carrier where it is still held.
func (y *relay) close(err error) {
	y.mu.Lock()
	l, told := y.current, y.told
	y.current = nil
	y.mu.Unlock()
	switch {
	case l == nil || !l.held():
	case errors.Is(err, stream.Restarting):
		l.carrier.ws.Close(err)
	case told && y.hub.start(func() { l.carrier.ws.Close(nil) }): // in good order, so that the reset arrives
	default:
		l.carrier.ws.CloseNow() // the agent keeps the stream for a while: the door's peer may come back
	}
	if errors.Is(err, errDone) {
		err = nil
	}
	y.door.Close(err)
}

// held reports whether the carrier is still this leg's.
func (l *leg) held() bool {
	held := l.carrier.current.Load()
	return held != nil && held.user == user(l)
}

// connect opens the stream on a carrier, and on a second one where the first was at fault.
func (y *relay) connect(ctx context.Context) error {
	err := y.try(ctx)
	if _, carriers := errors.AsType[*carrierError](err); carriers {
		err = y.try(ctx)
	}
	if err == nil || errors.Is(err, errDone) {
		return err
	}
	if failed, ok := errors.AsType[*carrierError](err); ok {
		err = wire.Wrap(failed.err, wire.Offline, "The device did not answer on two connections.")
	}
	_ = y.door.WriteMessage(wire.Refused{Stream: y.open.Stream, Code: wire.CodeOf(err), Message: wire.MessageOf(err)})
	return err
}

// try opens the stream on one carrier and waits for the answer.
func (y *relay) try(ctx context.Context) error {
	c, want, err := y.hub.acquire(ctx, y.request.Device)
	if err != nil {
		return err
	}
	l := &leg{relay: y, carrier: c, stream: y.hub.ids.Add(1), answered: make(chan error, 1)}
	if !c.hold(l.stream, l) {
		return &carrierError{errors.New("lost before the open")}
	}
	if err := l.start(want); err != nil {
		c.ws.CloseNow()
		return &carrierError{err}
	}
	timer := time.NewTimer(wire.OpenTimeout)
	defer timer.Stop()
	select {
	case err = <-l.answered:
		return err
	case err = <-y.over:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		if !l.giveUp() {
			return <-l.answered
		}
		c.ws.CloseNow()
		return &carrierError{errors.New("no answer to the open in time")}
	}
}

// giveUp makes an answer that comes from now on too late; it fails where the device has opened the stream.
func (l *leg) giveUp() (ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.opened {
		return false
	}
	l.current = nil
	return true
}

// start sends the open, and behind it what the door has sent already.
func (l *leg) start(want int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.current = l
	open := l.open
	open.Stream, open.User, open.Want = l.stream, l.request.User, want
	if err := l.carrier.ws.WriteMessage(open); err != nil {
		return err
	}
	for _, f := range l.early {
		if err := l.pass(f); err != nil {
			return err
		}
	}
	return nil
}

// pass sends a frame to the device; mu is held.
func (l *leg) pass(f frame) error {
	if f.message != nil {
		return l.carrier.ws.WriteMessage(wire.WithStream(f.message, l.stream))
	}
	return l.carrier.ws.PassData(f.data)
}

// readDoor passes on what the door's peer says, until its WebSocket ends.
func (y *relay) readDoor() error {
	buf := make([]byte, wire.MaxFrame)
	for {
		data, payload, err := y.door.Next(context.Background())
		if err != nil {
			return y.doorEnded(err)
		}
		var f frame
		if data {
			f.data, err = y.door.Payload(payload, buf)
		} else {
			f.message, err = y.doorMessage(payload)
		}
		if err == nil && (data || f.message != nil) {
			err = y.toDevice(f)
		}
		if err != nil {
			return err
		}
	}
}

// doorEnded makes sure that a peer which closed in good order leaves nothing open: it has given the stream up.
func (y *relay) doorEnded(err error) error {
	cause := stream.CloseCause(err)
	if cause == nil {
		y.reset(wire.Errorf(wire.Offline, "The stream was closed."))
		return errDone
	}
	return cause
}

func (y *relay) doorMessage(payload io.Reader) (wire.Message, error) {
	raw, err := io.ReadAll(payload)
	if err != nil {
		return nil, err
	}
	m, err := wire.Decode(raw)
	if err != nil {
		return nil, err
	}
	switch m.(type) {
	case wire.Ack, wire.EOF, wire.Reset:
		if number, _ := wire.StreamOf(m); number != y.open.Stream {
			return nil, wire.Errorf(wire.Invalid, "A message came about another stream.")
		}
		return m, nil
	case wire.Unknown:
		return nil, nil
	}
	return nil, wire.Errorf(wire.Invalid, "A message came that has no place on a stream's door.")
}

// toDevice passes a frame on, and keeps it until the device has opened the stream.
func (y *relay) toDevice(f frame) error {
	y.mu.Lock()
	defer y.mu.Unlock()
	if !y.opened {
		if y.earlyLen += len(f.data) + 1; y.earlyLen > wire.MaxPipelined+64 {
			return wire.Errorf(wire.TooLarge, "More than %d bytes came before the stream was open.", wire.MaxPipelined)
		}
		y.early = append(y.early, frame{message: f.message, data: append([]byte(nil), f.data...)})
	}
	if y.current == nil {
		return nil
	}
	if err := y.current.pass(f); err != nil && y.opened {
		return wire.Wrap(err, wire.Offline, "The device's connection was lost.")
	}
	return nil
}

// message is user's: what the device says goes to the door.
func (l *leg) message(c *Carrier, m wire.Message) error {
	if !l.isCurrent(m) {
		return errDone // an answer that came too late
	}
	err := l.door.WriteMessage(wire.WithStream(m, l.open.Stream))
	switch m.(type) {
	case wire.Open:
		return wire.Errorf(wire.Invalid, "An agent opens no streams.")
	case wire.Opened:
		l.answer(nil)
	case wire.Parked:
		l.letGo()
		c.release()
		l.end(errDone)
	case wire.Refused:
		l.answer(errDone)
		return errDone
	case wire.Reset:
		l.end(errDone)
		return errDone
	}
	return l.doorFailed(err)
}

// isCurrent reports whether the relay still uses this leg, and notes that the device opened the stream.
func (l *leg) isCurrent(m wire.Message) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.current != l {
		return false
	}
	if _, ok := m.(wire.Opened); ok {
		l.opened, l.early = true, nil
	}
	return true
}

// letGo makes sure that nothing which the door's peer still says reaches the carrier: its next stream may be another
// person's.
func (l *leg) letGo() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.current == l {
		l.current = nil
	}
}

func (l *leg) answer(err error) {
	select {
	case l.answered <- err:
	default:
	}
}

// data is user's.
func (l *leg) data(_ *Carrier, p []byte) error { return l.doorFailed(l.door.PassData(p)) }

func (y *relay) doorFailed(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, stream.ErrSpillFull) {
		err = wire.Wrap(err, wire.TooLarge, "A side of the stream sent more than its window.")
	}
	y.end(err)
	return err
}

// lost is user's.
func (l *leg) lost(_ *Carrier, err error) {
	l.mu.Lock()
	opened := l.opened && l.current == l
	l.mu.Unlock()
	if opened {
		l.end(wire.Wrap(err, wire.Offline, "The device's connection was lost."))
	}
	l.answer(&carrierError{errors.Join(errors.New("lost during the open"), err)})
}

// revoke ends the stream at both ends.
func (y *relay) revoke(cause error) {
	if !errors.Is(cause, stream.Restarting) {
		y.reset(cause)
		_ = y.door.WriteMessage(wire.Reset{Stream: y.open.Stream, Message: wire.MessageOf(cause)})
	}
	y.end(cause)
}

// reset tells the device that the stream is over.
func (y *relay) reset(cause error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if l := y.current; l != nil && l.held() {
		y.told = true
		_ = l.carrier.ws.WriteMessage(wire.Reset{Stream: l.stream, Message: wire.MessageOf(cause)})
	}
}
