package incoming

import (
	"errors"
	"io"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

var (
	errTooLong = errors.New("body too long")
	errBusy    = errors.New("no memory left for bodies")
)

// hold is a share of the memory for bodies. It grows with what really comes: a sender that says much and sends nothing holds
// nothing.
//
// Until the sender is verified it counts as the source's too, whose part of the memory is bounded, so that knowing one
// address does not use up the memory of others.
type hold struct {
	budget *semaphore.Weighted
	bytes  int64

	unverified *atomic.Int64 // of the source; nil once verified
	most       int64         // of it
	counted    int64         // in it
}

// more takes more, or nothing: whoever waited for it would keep what they have from others that wait.
func (h *hold) more(n int64) bool {
	if h.unverified != nil {
		if h.unverified.Add(n) > h.most {
			h.unverified.Add(-n)
			return false
		}
		h.counted += n
	}
	if !h.budget.TryAcquire(n) {
		return false
	}
	h.bytes += n
	return true
}

// verified gives back what counted as the source's.
func (h *hold) verified() {
	if h.unverified != nil {
		h.unverified.Add(-h.counted)
		h.unverified, h.counted = nil, 0
	}
}

func (h *hold) release() {
	h.verified()
	if h.bytes > 0 {
		h.budget.Release(h.bytes)
		h.bytes = 0
	}
}

const firstRead = 4 << 10

// readAll reads a body of at most max bytes. Errors: errTooLong, errBusy, and the reader's.
func (h *hold) readAll(r io.Reader, max int64) ([]byte, error) {
	limit := max + 1 // one byte too many tells
	size := min(limit, firstRead)
	if !h.more(size) {
		return nil, errBusy
	}
	body := make([]byte, 0, size)
	for {
		n, err := r.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		switch {
		case int64(len(body)) > max:
			return nil, errTooLong
		case errors.Is(err, io.EOF):
			return body, nil
		case err != nil:
			return nil, err
		case len(body) < cap(body):
			continue
		}
		grown := min(4*size, limit)
		if !h.more(grown - size) {
			return nil, errBusy
		}
		size = grown
		body = append(make([]byte, 0, size), body...)
	}
}
