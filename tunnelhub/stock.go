package tunnelhub

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
)

// StockLink is the link of a device without our agent: one connection of a stock client, through which the hub reaches
// what that client forwards. There are no frames on it, so its streams end with it. All fields must be set.
type StockLink struct {
	Device  string
	Key     ed25519.PublicKey // that the client proved to have
	Remote  string            // where it comes from
	Version string            // what it calls itself

	// Open connects to a target. The conn half-closes (CloseWrite). Errors are *wire.Error.
	Open   func(ctx context.Context, target wire.Target) (net.Conn, error)
	Offers func() []wire.Target // what Open can reach
	Heard  func() time.Time     // when the client was last heard
	Close  func(cause error)    // ends the connection; may be called repeatedly
	Done   <-chan struct{}      // closed when it has ended
}

// serve implements Link: the newest link of a device wins.
func (l *StockLink) serve(ctx context.Context, h *Hub) error {
	if !h.begin() {
		l.Close(stream.Restarting)
		return stream.Restarting
	}
	defer h.serving.Done()
	if err := h.checkStock(ctx, l); err != nil { // before it puts out the link that is there
		l.Close(err)
		return err
	}
	h.enterStock(l)
	defer h.leaveStock(l)
	if err := h.checkStock(ctx, l); err != nil {
		l.Close(err)
		return err
	}
	defer context.AfterFunc(ctx, func() { l.Close(stream.Restarting) })()
	<-l.Done
	return nil
}

func (h *Hub) enterStock(l *StockLink) {
	h.mu.Lock()
	defer h.mu.Unlock()
	d := h.deviceLocked(l.Device)
	if old := d.stock; old != nil && !h.stopping {
		h.serving.Go(func() { old.Close(wire.Errorf(wire.Conflict, "This device has logged in anew.")) })
	}
	d.stock = l
	d.presence.Address, d.presence.AgentVersion, d.presence.ClockOffset = l.Remote, wire.Printable(l.Version, 64), 0
	d.changedLocked()
	d.wakeLocked()
}

func (h *Hub) leaveStock(l *StockLink) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if d := h.devices[l.Device]; d != nil && d.stock == l {
		d.stock = nil
		d.changedLocked()
	}
}

// checkStock asks whether the device may be here. It is asked again with the link in its place: a Drop meets the link
// there, or this does after.
func (h *Hub) checkStock(ctx context.Context, l *StockLink) error {
	known, err := h.options.Device(ctx, l.Device)
	switch {
	case err != nil:
		return err
	case !known.Stock || !bytes.Equal(known.Key, l.Key):
		return wire.Errorf(wire.Unauthenticated, "Another machine has taken this device's place.")
	case known.Status == StatusPending:
		return wire.Errorf(wire.Offline, "This device waits for approval on its page.")
	case known.Status != StatusActive:
		return wire.Errorf(wire.Forbidden, "This device is blocked.")
	}
	return nil
}

// stockOf is the stock link of a device; nil where it has none.
func (h *Hub) stockOf(device string) *StockLink {
	h.mu.Lock()
	defer h.mu.Unlock()
	if d := h.devices[device]; d != nil {
		return d.stock
	}
	return nil
}

// errStock says that a stock link came while a carrier was waited for.
var errStock = wire.Errorf(wire.Offline, "The device has just connected. Try again.")

// dialStock opens a stream through a stock link.
func (h *Hub) dialStock(ctx context.Context, l *StockLink, r Request) (stream.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialWait)
	defer cancel()
	conn, err := l.Open(ctx, r.Target)
	if err != nil {
		return nil, err
	}
	s := &stockStream{Conn: conn, link: l, done: make(chan struct{})}
	s.unregister = h.register(r, h.ids.Add(1), s.bytes, s.Reset)
	return s, nil
}

// stockStream is a stream through a stock link.
type stockStream struct {
	net.Conn
	link       *StockLink
	in, out    atomic.Int64
	once       sync.Once
	done       chan struct{}
	cause      error // why it ended, behind done
	unregister func(cause error)
}

func (s *stockStream) bytes() (in, out int64) { return s.in.Load(), s.out.Load() }

// Read is net.Conn's. The end of the link is no regular end of the stream, and a reset says why.
func (s *stockStream) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	s.in.Add(int64(n))
	if err == nil {
		return n, nil
	}
	select {
	case <-s.done:
		if s.cause != nil {
			return n, s.cause
		}
	case <-s.link.Done:
		return n, wire.Errorf(wire.Offline, "The device's connection was lost.")
	default:
	}
	return n, err
}

func (s *stockStream) Write(p []byte) (int, error) {
	n, err := s.Conn.Write(p)
	s.out.Add(int64(n))
	return n, err
}

// CloseWrite is stream.Conn's.
func (s *stockStream) CloseWrite() error {
	if half, ok := s.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

func (s *stockStream) Close() error      { return s.end(nil) }
func (s *stockStream) Reset(cause error) { _ = s.end(cause) }

func (s *stockStream) end(cause error) error {
	s.once.Do(func() {
		s.unregister(cause)
		s.cause = cause
		close(s.done)
	})
	return s.Conn.Close()
}

// Done is stream.Conn's.
func (s *stockStream) Done() <-chan struct{} { return s.done }

// Join is stream.Conn's.
func (s *stockStream) Join(conn net.Conn) error {
	err := stream.Copy(s, conn)
	s.Reset(err)
	return err
}

// relayStock is Relay for a device whose link knows no frames: the hub is the end of the door's stream.
func (h *Hub) relayStock(ctx context.Context, r Request, door *stream.FrameConn, open wire.Open) error {
	h.pings.add(door, wire.PingEvery)
	defer h.pings.remove(door)
	conn, err := h.openStock(ctx, r, open)
	if err != nil {
		_ = door.WriteMessage(wire.Refused{Stream: open.Stream, Code: wire.CodeOf(err), Message: wire.MessageOf(err)})
		door.Close(err)
		return err
	}
	defer context.AfterFunc(ctx, func() { conn.Reset(context.Cause(ctx)) })()
	end := stream.NewEnd(wire.Window)
	_ = end.Attach(door, open.Stream, 0) // nothing was sent that could disagree
	_ = door.WriteMessage(wire.Opened{Stream: open.Stream})
	var reading sync.WaitGroup
	reading.Go(func() { end.Fail(readFrames(door, end)) })
	err = end.Join(conn)
	_ = conn.Close()
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
		_ = door.WriteMessage(wire.Reset{Stream: open.Stream, Message: wire.MessageOf(err)})
	case err == nil:
		_ = door.WriteMessage(wire.Parked{Stream: open.Stream})
	}
	door.Close(err)
	reading.Wait()
	return err
}

func (h *Hub) openStock(ctx context.Context, r Request, open wire.Open) (stream.Conn, error) {
	if open.Resume != "" {
		return nil, wire.Errorf(wire.NotFound, "The stream is gone: it ended with the connection of this device, which has no agent.")
	}
	return h.Dial(ctx, r)
}

// readFrames gives what a door's peer says to end, until the WebSocket ends.
func readFrames(door *stream.FrameConn, end *stream.End) error {
	buf := make([]byte, wire.MaxFrame)
	for {
		data, payload, err := door.Next(context.Background())
		if err != nil {
			return wire.Wrap(err, wire.Offline, "The connection was lost.")
		}
		if data {
			var p []byte
			if p, err = door.Payload(payload, buf); err == nil {
				err = end.Receive(door, p)
			}
		} else {
			err = readFrame(door, end, payload)
		}
		if err != nil {
			return err
		}
	}
}

func readFrame(door *stream.FrameConn, end *stream.End, payload io.Reader) error {
	raw, err := io.ReadAll(payload)
	if err != nil {
		return err
	}
	m, err := wire.Decode(raw)
	if err != nil {
		return err
	}
	if _, again := m.(wire.Open); again {
		return wire.Errorf(wire.Invalid, "A door opens one stream.")
	}
	return end.Handle(door, m)
}
