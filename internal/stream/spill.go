package stream

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// straightFor is how long a write may wait for the kernel before the rest of it is queued. Renewing a deadline costs
// a few hundred nanoseconds, so it is set for between one and two of these.
const straightFor = 5 * time.Millisecond

// ErrSpillFull is returned by a Spill's Write when the queue would exceed its limit: the peer broke its window.
var ErrSpillFull = errors.New("more is queued than a window allows")

// Spill is a net.Conn whose Write does not wait for a slow peer: bytes go straight through while the kernel takes
// them, and what would block spills into a queue that a goroutine drains. That goroutine lives only while there is a
// queue. So the reader of a carrier can write acknowledgements, pongs and a stream's bytes from its own loop.
//
// Reads and everything else are the wrapped conn's.
type Spill struct {
	net.Conn
	limit   int
	drained drained // may be nil

	mu         sync.Mutex
	empty      sync.Cond // the queue drained, or err was set
	deadline   time.Time // that the conn has now; zero for none
	queue      [][]byte
	queued     int
	corked     int
	held       []byte // small writes since Cork
	draining   bool
	closeWrite bool // once drained
	err        error
	drainer    sync.WaitGroup
}

// drained is told what became of the queue, without a lock held.
type drained interface {
	pass(n int) // bytes of the queue that went out; those that went straight through are not told
	breakSink() // the conn failed
}

// NewSpill wraps conn with a queue of at most limit bytes. The caller closes the Spill instead of conn.
func NewSpill(conn net.Conn, limit int, d drained) *Spill {
	s := &Spill{Conn: conn, limit: limit, drained: d}
	s.empty.L = &s.mu
	return s
}

// Write passes p on or queues what would block. It fails with ErrSpillFull, or with what an earlier write met.
func (s *Spill) Write(p []byte) (int, error) {
	_, err := s.write(p)
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// write is Write that says how many bytes went straight through.
func (s *Spill) write(p []byte) (straight int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.corked == 0 {
		return s.push(p, nil)
	}
	if len(s.held)+len(p) < holdMost {
		s.held = append(s.held, p...)
		return 0, s.err
	}
	held := s.held
	s.held = s.held[:0]
	return s.push(held, p)
}

// holdMost is a little more than one frame: a WebSocket library writes a frame in several pieces, and each system call
// saved counts.
const holdMost = 40 << 10

// Cork holds small writes together until the matching Uncork.
func (s *Spill) Cork() {
	s.mu.Lock()
	s.corked++
	s.mu.Unlock()
}

// Uncork writes what was held.
func (s *Spill) Uncork() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.corked--; s.corked > 0 || len(s.held) == 0 {
		return s.err
	}
	held := s.held
	s.held = s.held[:0]
	_, err := s.push(held, nil)
	return err
}

// push writes a and then b, queueing copies of what the conn does not take in time. It holds mu meanwhile.
func (s *Spill) push(a, b []byte) (straight int, err error) {
	if s.err != nil {
		return 0, s.err
	}
	if !s.draining {
		straight, err = s.straight(a, b)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return straight, s.fail(err)
		}
		cut := min(straight, len(a))
		a, b = a[cut:], b[straight-cut:]
	}
	if len(a)+len(b) == 0 {
		return straight, nil
	}
	if s.queued+len(a)+len(b) > s.limit {
		return straight, s.fail(ErrSpillFull)
	}
	s.queued += len(a) + len(b)
	being := 0 // the first of the queue is being written
	if s.draining {
		being = 1
	}
	s.queue = appendQueue(appendQueue(s.queue, a, being), b, being)
	if !s.draining {
		s.draining = true
		s.drainer.Go(s.drain)
	}
	return straight, nil
}

// leastQueued is the room that is made for bytes to be queued, so that many small frames cost little more than their
// bytes.
const leastQueued = 1 << 10

// appendQueue adds a copy of p to queue, where it fits to its last part. The first kept parts are not touched.
func appendQueue(queue [][]byte, p []byte, kept int) [][]byte {
	if len(p) == 0 {
		return queue
	}
	if last := len(queue) - 1; last >= kept && cap(queue[last])-len(queue[last]) >= len(p) {
		queue[last] = append(queue[last], p...)
		return queue
	}
	return append(queue, append(make([]byte, 0, max(len(p), leastQueued)), p...))
}

// straight gives the kernel what it takes within the deadline.
func (s *Spill) straight(a, b []byte) (int, error) {
	if now := time.Now(); s.deadline.Sub(now) < straightFor {
		s.deadline = now.Add(2 * straightFor)
		if err := s.Conn.SetWriteDeadline(s.deadline); err != nil {
			return 0, err
		}
	}
	if len(b) == 0 {
		return s.Conn.Write(a)
	}
	both := net.Buffers{a, b}
	if len(a) == 0 {
		both = both[1:]
	}
	n, err := both.WriteTo(s.Conn)
	return int(n), err
}

func (s *Spill) drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deadline = time.Time{}
	err := s.Conn.SetWriteDeadline(time.Time{})
	for err == nil && len(s.queue) > 0 {
		next := s.queue[0]
		s.mu.Unlock()
		var n int
		n, err = s.Conn.Write(next)
		if s.drained != nil {
			s.drained.pass(n)
		}
		s.mu.Lock()
		s.queue, s.queued = s.queue[1:], s.queued-len(next)
	}
	s.draining = false
	s.queue = nil
	s.empty.Broadcast()
	switch {
	case err == nil && s.closeWrite:
		s.shutdown()
	case err != nil:
		s.fail(err)
		s.mu.Unlock()
		if s.drained != nil {
			s.drained.breakSink()
		}
		s.mu.Lock()
	}
}

// fail remembers the first error; mu is held.
func (s *Spill) fail(err error) error {
	if s.err == nil {
		s.err = err
		s.empty.Broadcast()
	}
	return s.err
}

// Wait blocks until nothing is queued. It fails as Write would.
func (s *Spill) Wait() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.draining && s.err == nil {
		s.empty.Wait()
	}
	return s.err
}

// CloseWrite half-closes the conn after the last queued byte. A conn that cannot is left open.
func (s *Spill) CloseWrite() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closeWrite {
		return nil
	}
	s.closeWrite = true
	if !s.draining && s.err == nil {
		s.shutdown()
	}
	return s.err
}

// shutdown ends the writing side; mu is held.
func (s *Spill) shutdown() {
	if half, ok := s.Conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // a conn that is gone already says so at its next read
	}
}

// Close closes the conn and drops what is queued.
func (s *Spill) Close() error {
	err := s.Conn.Close()
	s.mu.Lock()
	s.fail(net.ErrClosed)
	s.mu.Unlock()
	return err
}

// Join waits for the draining goroutine, after Close.
func (s *Spill) Join() { s.drainer.Wait() }
