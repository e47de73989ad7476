package stream

import (
	"errors"
	"io"
)

// WriteTo is io.WriterTo's: what arrives goes to w without being copied once more. It returns nil when the peer's
// direction is complete. A slow w keeps the peer within the window, as a slow reader does.
func (e *End) WriteTo(w io.Writer) (written int64, err error) {
	for {
		p, err := e.takeWhole()
		if errors.Is(err, io.EOF) {
			return written, nil
		}
		if err != nil {
			return written, err
		}
		n, err := w.Write(p)
		written += int64(n)
		e.given(n)
		if err != nil {
			return written, err
		}
	}
}

// takeWhole waits for what Read would wait for and gives all of one part of it, which given then acknowledges.
func (e *End) takeWhole() ([]byte, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(e.queue) == 0 && !e.ended && !e.over && !e.closed && !e.readDeadline.passed() {
		e.changed.Wait()
	}
	if e.closed || len(e.queue) == 0 {
		_, err := e.takeLocked(nil)
		return nil, err
	}
	p := e.queue[0]
	e.queue[0] = nil
	e.queue = e.queue[1:]
	return p, nil
}

// given notes that n bytes of takeWhole were passed on. Close has counted them already, where it came between.
func (e *End) given(n int) {
	e.mu.Lock()
	if !e.closed {
		e.passed += int64(n)
	}
	ack, f := e.ackLocked(false), e.frames
	e.changed.Broadcast()
	e.mu.Unlock()
	e.acknowledge(f, ack)
}

// ReadFrom is io.ReaderFrom's: what r says goes to the peer without being copied once more. It waits while the window
// is full, and returns nil at r's end.
func (e *End) ReadFrom(r io.Reader) (read int64, err error) {
	for {
		n, err := e.readOnce(r)
		read += int64(n)
		if errors.Is(err, io.EOF) {
			return read, nil
		}
		if err != nil {
			return read, err
		}
	}
}

func (e *End) readOnce(r io.Reader) (int, error) {
	e.writing.Lock()
	defer e.writing.Unlock()
	space, err := e.reserve()
	if err != nil {
		return 0, err
	}
	n, err := r.Read(space)
	if n > 0 {
		if err := e.commit(n); err != nil {
			return 0, err
		}
		e.Flush()
	}
	return n, err
}

var (
	_ io.WriterTo   = (*End)(nil)
	_ io.ReaderFrom = (*End)(nil)
)
