package outgoing

import (
	"testing"
	"time"

	"github.com/aditdev/adit/internal/storetest"
)

const tenYears = 10 * 365 * 24 * time.Hour

// What was queued and tried while the clock was behind is no older for that when it is put right, also in the eyes of the next hub. It is given up after its days all
// the same.
func TestClockWasBehind(t *testing.T) {
	t.Parallel()
	c, dir := &clock{at: time.Now().Add(-tenYears)}, storetest.Dir(t)
	to := newReceiver(t, status(503))
	r := openRig(t, dir, byClock(c), seldom)
	e := r.endpoint(to.URL, func(s *Spec) { s.Topics, s.Mode = &[]string{"#"}, ptr(ModeOrdered) })
	r.publish(message("t", "1"), message("t", "2"), message("t", "3"))
	eventually(t, "an attempt", func() bool { return r.all(Filter{})[0].Attempts == 1 })
	_, err := r.Change(t.Context(), somebody, e.ID, Spec{State: ptr(StatePaused)}) // so that nothing is under way
	must(t, err)
	c.set(tenYears)
	next := stillRig(t, dir, byClock(c))
	for _, o := range []*rig{r, next} {
		must(t, o.Sweep(t.Context()))
		if n := len(r.all(Filter{State: stateDead})); n > 0 {
			t.Fatalf("%d that came a second ago are dead", n)
		}
	}
	c.advance(6 * 24 * time.Hour)
	r.publish(message("t", "4"))
	c.advance(2 * 24 * time.Hour)
	must(t, next.Sweep(t.Context()))
	if n := len(r.all(Filter{State: stateDead})); n != 3 {
		t.Errorf("%d of 3 that waited for 8 days are dead", n)
	}
}

// A clock that was put forward by mistake, and back, keeps nothing for the years that it had skipped.
func TestClockIsPutBack(t *testing.T) {
	t.Parallel()
	c := &clock{at: time.Now()}
	r := stillRig(t, storetest.Dir(t), byClock(c))
	r.endpoint("http://127.0.0.1:1/", func(s *Spec) { s.Topics = &[]string{"#"} })
	r.publish(message("t", "1"))
	for _, step := range []time.Duration{tenYears, -tenYears} {
		c.set(step)
		must(t, r.Sweep(t.Context()))
	}
	if n := len(r.all(Filter{State: stateDead})); n != 0 {
		t.Error("given up at once")
	}
	c.advance(8 * 24 * time.Hour)
	must(t, r.Sweep(t.Context()))
	if n := len(r.all(Filter{State: stateDead})); n != 1 {
		t.Error("not given up after 8 days")
	}
}

// What a clock ahead has set for years from now, in order, behind a breaker or by itself, is due when the clock is right.
func TestClockWasAhead(t *testing.T) {
	t.Parallel()
	c := &clock{at: time.Now().Add(tenYears)}
	to := newReceiver(t, status(500))
	r := newRig(t, byClock(c))
	r.endpoint(to.URL, func(s *Spec) { s.Topics, s.Mode = &[]string{"order"}, ptr(ModeOrdered) })
	e := r.endpoint(to.URL, func(s *Spec) { s.Topics, s.Name = &[]string{"t"}, ptr("broken") })
	r.publish(message("order", "1"), message("order", "2"), message("order", "3"))
	for range breakAfter {
		r.publish(message("t", "x"))
	}
	eventually(t, "attempts", func() bool {
		e, err := r.Find(t.Context(), e.ID)
		must(t, err)
		return r.all(Filter{})[0].Attempts == 1 && e.Health.Breaker == BreakerOpen && len(r.all(Filter{State: StateSending})) == 0
	})
	to.setAnswer(nil)
	c.set(-tenYears)
	must(t, r.Sweep(t.Context()))
	r.settled(StateDelivered, 3+breakAfter)
}
