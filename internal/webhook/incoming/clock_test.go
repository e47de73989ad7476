package incoming

import (
	"testing"
	"time"

	"github.com/aditdev/adit/internal/storetest"
	"github.com/aditdev/adit/internal/wire"
)

// kept is how many requests are.
func (r *rig) kept() int64 {
	r.t.Helper()
	f, err := r.store.Read().HookRequestFigures(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return f.Count
}

const years = 10 * 365 * 24 * time.Hour

// A hub whose clock was ahead when it put a request off, or was working on it, does it when the clock is right. It waited until the clock had come there.
func TestPutOffWhileTheClockWasAhead(t *testing.T) {
	t.Parallel()
	dir := storetest.Dir(t)
	wrong := newRig(t, dir)
	wrong.forward(years)
	s := wrong.publishing(nil)
	if _, err := wrong.send(s, "leased"); err != nil { // it does not run: its lease stays
		t.Fatal(err)
	}
	wrong.broker.set(wire.Errorf(wire.RateLimited, "full"))
	stop := wrong.run()
	if _, err := wrong.send(s, "put off"); err != nil {
		t.Fatal(err)
	}
	wrong.until("it was tried", func() bool {
		entries, _, err := wrong.Requests(t.Context(), Filter{Limit: 10})
		return err == nil && entries[0].Attempts > 0
	})
	stop()
	right := newRig(t, dir)
	if err := right.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, err := right.claim(t.Context()); n != 1 || err != nil {
		t.Errorf("%d are due, %v", n, err)
	}
	right.forward(lease + time.Second)
	if n, err := right.claim(t.Context()); n != 2 || err != nil {
		t.Errorf("%d are due when the lease is over, %v", n, err)
	}
}

// Requests from while the clock was ahead are among the first, and do not keep old ones behind them.
func TestAgeAfterTheClockWasAhead(t *testing.T) {
	t.Parallel()
	r := newRig(t, storetest.Dir(t))
	s := r.publishing(func(s *Settings) { s.Action = Action{Kind: ActionStore} })
	r.forward(years)
	r.fill(s, sweepAtOnce)
	r.forward(-years)
	r.fillFrom(s, sweepAtOnce, 5)
	if err := r.Sweep(t.Context()); err != nil || r.kept() != sweepAtOnce+5 {
		t.Errorf("%d are left, %v", r.kept(), err)
	}
	r.forward(30 * 24 * time.Hour)
	if err := r.Sweep(t.Context()); err != nil || r.kept() != 0 {
		t.Errorf("a month later %d are left, %v", r.kept(), err)
	}
}

// A clock that is behind, as after a start without a network, makes nothing old.
func TestClockBehindSweepsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, storetest.Dir(t))
	s := r.publishing(func(s *Settings) { s.Action = Action{Kind: ActionStore} })
	r.fill(s, 3)
	r.forward(-years)
	r.fillFrom(s, 3, 2)
	if err := r.Sweep(t.Context()); err != nil || r.kept() != 5 {
		t.Errorf("%d are left, %v", r.kept(), err)
	}
	r.forward(years)
	if err := r.Sweep(t.Context()); err != nil || r.kept() != 3 {
		t.Errorf("%d are left when it is right again, %v", r.kept(), err)
	}
}
