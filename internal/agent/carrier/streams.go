package carrier

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
)

// openWithin is a little less than the hub waits, so that it hears the reason.
const openWithin = wire.OpenTimeout - 500*time.Millisecond

// served is a stream that the hub opened, and its connection to the target.
type served struct {
	pool  *Pool
	open  wire.Open // the first one
	token string    // for taking it up again; empty where it cannot be
	end   *stream.End
	since time.Time

	mu     sync.Mutex
	on     *carrier // nil while detached
	stream uint64   // on it
	isOpen bool
	over   bool
	expire *time.Timer // while detached
}

// ended is a stream that ended well, for an opener that lost its carrier before it heard that.
type ended struct {
	open     wire.Open
	received int64
	at       time.Time
}

// same reports whether open takes up a stream that first began.
func same(first, open wire.Open) bool { return first.Target == open.Target && first.User == open.User }

// onOpen starts a stream on this carrier, or takes one up. It is called by the carrier's reader and does not block.
func (c *carrier) onOpen(ctx context.Context, open wire.Open) error {
	if c.current.Load() != nil {
		return wire.Errorf(wire.Invalid, "A stream was opened on a carrier that has one.")
	}
	p := c.pool
	p.mu.Lock()
	if c.left { // closed as surplus, or refused another: the hub asks elsewhere
		p.mu.Unlock()
		return nil
	}
	p.parked--
	p.want, p.wantAt = open.Want, time.Now()
	s, known := p.tokens[open.Resume]
	p.mu.Unlock()
	defer p.nudge()
	switch {
	case open.Resume == "":
		p.begin(ctx, c, open)
	case known && same(s.open, open) && s.resume(c, open), c.sayEnded(open):
	default:
		c.refuse(open, wire.Errorf(wire.NotFound, "The stream is gone: the device no longer keeps it."))
	}
	return nil
}

// sayEnded tells an opener what it did not hear: that everything arrived, and that the stream is over. It fails where
// that is not so.
func (c *carrier) sayEnded(open wire.Open) (ok bool) {
	c.pool.mu.Lock()
	over, ok := c.pool.ended[open.Resume]
	ok = ok && same(over.open, open)
	if ok {
		c.parkedAt = time.Now()
		c.pool.parked++
	}
	c.pool.mu.Unlock()
	if ok {
		_ = c.ws.WriteMessage(wire.Opened{Stream: open.Stream, Resume: open.Resume, Received: over.received})
		_ = c.ws.WriteMessage(wire.Parked{Stream: open.Stream})
	}
	return ok
}

// refuse declines a stream; the hub then closes the carrier.
func (c *carrier) refuse(open wire.Open, err error) {
	c.pool.mu.Lock()
	c.left = true
	c.pool.mu.Unlock()
	_ = c.ws.WriteMessage(wire.Refused{Stream: open.Stream, Code: wire.CodeOf(err), Message: wire.Printable(wire.MessageOf(err), 300)})
	time.AfterFunc(2*time.Second, c.ws.Abort) // where the hub does not
}

// begin runs a new stream in the background.
func (p *Pool) begin(ctx context.Context, c *carrier, open wire.Open) {
	s := &served{pool: p, open: open, end: stream.NewEnd(wire.Window), since: time.Now(), on: c, stream: open.Stream}
	if p.config.ResumeFor > 0 {
		s.token = wire.NewID()
	}
	_ = s.end.Attach(c.ws, open.Stream, 0) // nothing was sent that could disagree
	c.current.Store(s)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.streams[s] = struct{}{}
	if s.token != "" {
		p.tokens[s.token] = s
	}
	p.working.Go(func() { s.run(ctx, c) })
}

func (s *served) run(ctx context.Context, c *carrier) {
	target, err := s.connect(ctx)
	if err != nil {
		s.end.Fail(err)
		s.forget()
		c.refuse(s.open, err)
		return
	}
	s.mu.Lock()
	s.isOpen = true
	s.mu.Unlock()
	s.sayOpened(c, wire.Opened{Stream: s.open.Stream, Resume: s.token})
	err = s.end.Join(target)
	s.finish(err)
}

// sayOpened tells the hub that the stream runs on c. A write that failed may have arrived all the same, so the stream
// is then like any whose carrier was lost: kept for an opener that heard.
func (s *served) sayOpened(c *carrier, opened wire.Opened) (ok bool) {
	if c.ws.WriteMessage(opened) == nil {
		return true
	}
	c.ws.Abort() // its reader then calls lost
	return false
}

func (s *served) connect(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, openWithin)
	defer cancel()
	target, err := s.pool.config.Handler.Open(ctx, s.open)
	if err != nil {
		s.pool.config.Log.Info("stream refused", "target", s.open.Target, "user", wire.Printable(s.open.User, 64), "cause", err)
		return nil, err
	}
	s.pool.config.Log.Info("stream opened", "target", s.open.Target, "user", wire.Printable(s.open.User, 64))
	return target, nil
}

// finish parks the carrier of a stream that ended well. One that failed loses it.
func (s *served) finish(err error) {
	in, out := s.end.Bytes()
	s.pool.config.Log.Info("stream closed", "target", s.open.Target, "user", wire.Printable(s.open.User, 64),
		"bytes_in", in, "bytes_out", out, "duration", time.Since(s.since).Round(time.Millisecond), "cause", err)
	if err == nil && s.token != "" {
		s.pool.mu.Lock()
		s.pool.ended[s.token] = ended{open: s.open, received: in, at: time.Now()}
		s.pool.mu.Unlock()
	}
	s.forget()
	s.mu.Lock()
	c, number := s.on, s.stream
	s.on, s.over = nil, true
	s.mu.Unlock()
	s.end.Settle()
	if c == nil {
		return
	}
	if err != nil {
		s.drop(c)
		return
	}
	c.pool.mu.Lock()
	c.parkedAt = time.Now()
	c.pool.parked++
	c.current.Store(nil) // before the hub can open another
	c.pool.mu.Unlock()
	_ = c.ws.WriteMessage(wire.Parked{Stream: number})
	c.pool.nudge()
}

// drop ends the carrier of a stream that failed. The hub closes it when it reads the reset.
func (s *served) drop(c *carrier) {
	c.pool.mu.Lock()
	c.left = true
	c.pool.mu.Unlock()
	time.AfterFunc(2*time.Second, c.ws.Abort)
}

func (s *served) forget() {
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	delete(s.pool.streams, s)
	delete(s.pool.tokens, s.token)
	s.pool.nudge()
}

// number is the stream's number on a carrier.
func (s *served) number(c *carrier) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.on != c {
		return 0
	}
	return s.stream
}

// lost keeps the stream for a while after its carrier died.
func (s *served) lost(c *carrier) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.on != c {
		return
	}
	s.on = nil
	s.end.Detach(c.ws)
	gone := wire.Errorf(wire.Offline, "The connection to the hub was lost.")
	if !s.isOpen || s.token == "" {
		s.end.Fail(gone)
		return
	}
	s.expire = time.AfterFunc(s.pool.config.ResumeFor, func() { s.end.Fail(gone) })
}

// resume moves the stream to another carrier, unless it is over. It is called by that carrier's reader and does not
// block.
func (s *served) resume(c *carrier, open wire.Open) (ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return false
	}
	old := s.on
	s.on, s.stream = c, open.Stream
	if s.expire != nil {
		s.expire.Stop()
	}
	if old != nil { // the hub noticed its death before we did
		s.pool.mu.Lock()
		old.left = true
		s.pool.mu.Unlock()
		s.end.Detach(old.ws)
		old.ws.Abort()
	}
	c.current.Store(s)
	if !s.sayOpened(c, wire.Opened{Stream: open.Stream, Resume: s.token, Received: s.end.Received()}) {
		return true
	}
	if err := s.end.Attach(c.ws, open.Stream, open.Received); err != nil {
		s.end.Reset(err)
		return true
	}
	s.pool.working.Go(s.end.Flush)
	return true
}
