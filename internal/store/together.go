package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
)

// together gathers what many goroutines want written at once. One of them leads: it waits for the writing handle, takes all
// who came in the meantime, and commits their changes as one.
type together struct {
	mu      sync.Mutex
	leading bool
	waiting []*entry
}

// entry is one caller's part of a shared transaction.
type entry struct {
	fn     func(*Queries) error
	err    error
	panics any       // what fn panicked with
	turn   chan bool // true: it leads now; false: it is written, or err says why not
}

// maxTogether bounds what shares a transaction, so that the first of them does not wait for hundreds.
const maxTogether = 256

// WriteTogether is WriteQuietly for what comes often, from many goroutines: those that wait at once share a transaction and
// its one sync of the disk. An fn that fails is undone alone. It returns when the changes of fn are on disk, or are not; what
// waits already is not taken back when ctx ends, so fn must be quick and must not use the Store itself.
func (s *Store) WriteTogether(ctx context.Context, fn func(*Queries) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	e := &entry{fn: fn, turn: make(chan bool, 1)}
	if s.together.join(e) || <-e.turn {
		s.writeGroup(context.WithoutCancel(ctx))
	}
	if e.panics != nil {
		panic(e.panics)
	}
	return e.err
}

// join reports whether nobody leads, so that e does.
func (t *together) join(e *entry) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiting = append(t.waiting, e)
	first := !t.leading
	t.leading = true
	return first
}

// take gives those that share the next transaction; the leader is the first of them.
func (t *together) take() []*entry {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := min(len(t.waiting), maxTogether)
	group := t.waiting[:n:n]
	t.waiting = t.waiting[n:]
	return group
}

// handOver has the next who waits lead.
func (t *together) handOver() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.leading = len(t.waiting) > 0
	if t.leading {
		t.waiting[0].turn <- true
	}
}

// writeGroup is the leader's: while it waits for the handle, and for the disk before it, the group grows.
func (s *Store) writeGroup(ctx context.Context) {
	tx, err := s.w.BeginTx(ctx, nil)
	group := s.together.take()
	if err == nil {
		err = writeEntries(ctx, &transaction{Tx: tx, kept: &s.statements, shared: true}, group)
	}
	s.together.handOver()
	for i, e := range group {
		if err != nil {
			e.err = fmt.Errorf("write together: %w", err)
		}
		if i > 0 {
			e.turn <- false
		}
	}
	s.statements.prepare(ctx)
}

func writeEntries(ctx context.Context, shared *transaction, group []*entry) error {
	for _, e := range group {
		if err := writeEntry(ctx, shared, e); err != nil {
			return errors.Join(err, shared.rollback())
		}
	}
	return shared.Commit()
}

// writeEntry runs one entry. Its own failure is undone and stays with it; what it returns is the transaction's.
func writeEntry(ctx context.Context, shared *transaction, e *entry) error {
	if _, err := shared.exec(ctx, "SAVEPOINT entry"); err != nil {
		return err
	}
	end := "RELEASE entry"
	if e.err = cmp.Or(e.run(shared), shared.lost); e.err != nil {
		end = "ROLLBACK TO entry"
	}
	if _, err := shared.exec(ctx, end); err != nil {
		return cmp.Or(shared.lost, err)
	}
	shared.lost = nil // the transaction is there still
	return nil
}

// run runs fn. A panic is its caller's, in whose goroutine it goes on, and not the leader's.
func (e *entry) run(shared *transaction) (err error) {
	defer func() {
		if r := recover(); r != nil {
			e.panics, err = fmt.Sprintf("%v, in a shared write:\n%s", r, debug.Stack()), errPanic
		}
	}()
	return e.fn(New(shared))
}

var errPanic = errors.New("panic in a shared write")
