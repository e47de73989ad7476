package stream

import (
	"errors"
	"io"
	"net"
	"sync"

	"github.com/aditdev/adit/internal/wire"
)

// Conn is a stream as its opener holds it.
type Conn interface {
	net.Conn
	CloseWrite() error     // ends this direction; the other goes on
	Reset(cause error)     // ends both at once, and tells the other side why
	Done() <-chan struct{} // closed when the stream is over

	// Join carries bytes between the stream and conn in both directions until the stream is over, keeping
	// half-closes, and closes both. It is faster than copying: what arrives goes straight through. The error is why
	// the stream failed.
	Join(conn net.Conn) error
}

// Join carries bytes between the stream and conn in both directions, keeping half-closes, until both are flushed or the
// stream failed; then it closes conn and returns the failure, if any. What arrives goes straight through to conn from
// the carrier's reader. A conn whose side fails resets the stream.
func (e *End) Join(conn net.Conn) error {
	sink := NewSpill(conn, 2*wire.Window, e)
	e.enterJoin(sink)
	e.pass(0) // acknowledges what went straight through just now
	var pump sync.WaitGroup
	pump.Go(func() { e.pump(sink) })
	err := e.waitFlushed()
	_ = sink.Close()
	pump.Wait()
	sink.Join()
	return err
}

// enterJoin gives the sink what came so far, and everything from here on.
func (e *End) enterJoin(sink *Spill) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, p := range e.queue {
		n, err := sink.write(p) // at most a window: the rest of it queues in the sink
		e.passed += int64(n)
		if err != nil {
			e.broken, e.passed = true, e.received
			break
		}
	}
	e.queue, e.sink = nil, sink
	if e.ended {
		_ = sink.CloseWrite()
	}
	if e.err != nil {
		_ = sink.Close()
	}
}

// pump sends what conn says until its end.
func (e *End) pump(conn *Spill) {
	for {
		space, err := e.reserve()
		if err != nil {
			return
		}
		n, err := conn.Read(space)
		if n > 0 {
			if e.commit(n) != nil {
				return
			}
			e.Flush()
		}
		switch {
		case errors.Is(err, io.EOF):
			_ = e.CloseWrite()
			return
		case err != nil:
			e.Reset(wire.Wrap(err, wire.Offline, "The target's connection broke."))
			return
		}
	}
}

// waitFlushed blocks until both directions are complete and acknowledged, or the stream is over.
func (e *End) waitFlushed() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for !e.over && !e.flushedLocked() {
		e.changed.Wait()
	}
	return e.err
}
