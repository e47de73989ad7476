package stream

import (
	"net"
	"os"
	"time"

	"github.com/aditdev/adit/internal/wire"
)

// Write is net.Conn's. It returns when p is kept for the peer, and waits while the window is full.
func (e *End) Write(p []byte) (int, error) {
	e.writing.Lock()
	defer e.writing.Unlock()
	written := 0
	for written < len(p) {
		space, err := e.reserve()
		if err != nil {
			return written, err
		}
		n := copy(space, p[written:])
		if err := e.commit(n); err != nil {
			return written, err
		}
		written += n
		e.Flush()
	}
	return written, nil
}

// reserve waits for the window to open and gives room for the next bytes, at most as many as fit in it.
func (e *End) reserve() ([]byte, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for e.out.end-e.acked >= e.window && !e.over && !e.finished && !e.writeDeadline.passed() {
		e.changed.Wait()
	}
	switch {
	case e.err != nil:
		return nil, e.err
	case e.over, e.finished:
		return nil, net.ErrClosed
	case e.writeDeadline.passed():
		return nil, os.ErrDeadlineExceeded
	}
	space := e.out.space()
	return space[:min(int64(len(space)), e.window-(e.out.end-e.acked))], nil
}

// commit keeps n bytes of what reserve gave. It fails where this direction was ended meanwhile: nothing follows an eof.
func (e *End) commit(n int) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.finished || e.over {
		return net.ErrClosed
	}
	e.out.commit(n)
	e.lastByte = time.Now()
	return nil
}

// Flush gives the carrier what it has not had, and blocks while the network does. What a dying carrier did not take
// stays for the next.
func (e *End) Flush() {
	e.sending.Lock()
	defer e.sending.Unlock()
	for {
		f, m, p := e.due()
		var err error
		switch {
		case f == nil:
			return
		case m != nil:
			err = f.WriteMessage(m)
		default:
			err = f.WriteData(p)
		}
		if err != nil {
			f.Abort()
			e.Detach(f)
		} else if m != nil {
			e.saidEOF(f)
		}
	}
}

func (e *End) saidEOF(f Frames) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.frames == f {
		e.eofDue = false
		e.changed.Broadcast()
	}
}

// due is what frames is to be given next: data, else the eof; f is nil for nothing.
func (e *End) due() (f Frames, m wire.Message, p []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pinned = e.next
	e.out.release(min(e.acked, e.pinned))
	if e.frames == nil || e.over {
		return nil, nil, nil
	}
	if p = e.out.from(e.next); len(p) > 0 {
		e.next += int64(len(p))
		return e.frames, nil, p
	}
	if e.eofDue {
		return e.frames, wire.EOF{Stream: e.stream}, nil
	}
	return nil, nil, nil
}

// CloseWrite ends this direction after what was written; the other goes on.
func (e *End) CloseWrite() error {
	e.mu.Lock()
	if e.finished || e.over {
		e.mu.Unlock()
		return nil
	}
	e.finished, e.eofDue = true, true
	e.watchHalfClosedLocked()
	e.changed.Broadcast()
	e.mu.Unlock()
	e.Flush()
	return nil
}

// Close ends both directions. What was written still arrives, if the peer takes some of it every lingerFor; what the
// peer still sends is dropped.
func (e *End) Close() error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil
	}
	e.closed = true
	e.queue, e.passed = nil, e.received
	if e.frames == nil {
		e.endLocked(errClosed)
	}
	if !e.over {
		e.lingerLocked()
	}
	ack, f := e.ackLocked(false), e.frames
	e.changed.Broadcast()
	e.mu.Unlock()
	e.acknowledge(f, ack)
	return e.CloseWrite()
}

// lingerLocked resets the stream when the peer took nothing for lingerFor, and has not finished either.
func (e *End) lingerLocked() {
	before := e.acked
	e.linger = time.AfterFunc(lingerFor, func() {
		e.mu.Lock()
		progress := e.acked > before && !e.over
		if progress {
			e.lingerLocked()
		}
		e.mu.Unlock()
		if !progress {
			e.Reset(errClosed)
		}
	})
}
