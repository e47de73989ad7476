package outgoing

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

// A delivery that waits for hours is tried at once, as its next attempt and under the same id.
func TestTryNow(t *testing.T) {
	t.Parallel()
	to := newReceiver(t, status(500, "Retry-After: 86400"))
	r := newRig(t)
	r.endpoint(to.URL, func(s *Spec) { s.Topics = &[]string{"#"} })
	r.publish(message("t", "1"))
	eventually(t, "a failure", func() bool { return r.all(Filter{})[0].Attempts == 1 })
	waits := r.all(Filter{})[0]
	if waits.NextAt < store.Millis(time.Now().Add(time.Hour)) {
		t.Fatalf("due at %d", waits.NextAt)
	}
	to.setAnswer(nil)
	if _, err := r.TryNow(t.Context(), waits.ID); err != nil {
		t.Fatal(err)
	}
	d := r.settled(StateDelivered, 1)[0]
	if came := to.all(); d.ID != waits.ID || d.Attempts != 2 || came[0].id() != came[1].id() {
		t.Errorf("%+v, of %d requests", d, len(came))
	}
	refuses(t, r, d.ID, "finished")
	refuses(t, r, "del_nosuch", "no such")
}

func refuses(t *testing.T, r *rig, id, why string) {
	t.Helper()
	_, err := r.TryNow(t.Context(), id)
	if code := wire.CodeOf(err); code != wire.Conflict && code != wire.NotFound || !strings.Contains(wire.MessageOf(err), why) {
		t.Errorf("%s: %v, want %q", id, err, why)
	}
}

// Nothing overtakes by it: what waits behind another of its device is refused, and the first is not.
func TestTryNowKeepsOrder(t *testing.T) {
	t.Parallel()
	to := newReceiver(t, status(500, "Retry-After: 3600"))
	r := newRig(t)
	r.endpoint(to.URL, func(s *Spec) { s.Topics, s.Mode = &[]string{"#"}, ptr(ModeOrdered) })
	r.publish(message("t", "0"), message("t", "1"), message("t", "2"))
	eventually(t, "a failure", func() bool { return r.all(Filter{})[0].Attempts == 1 })
	to.setAnswer(nil)
	list := r.all(Filter{})
	refuses(t, r, list[1].ID, "an earlier one")
	if _, err := r.TryNow(t.Context(), list[0].ID); err != nil {
		t.Fatal(err)
	}
	r.settled(StateDelivered, 3)
	for i, g := range to.all()[1:] {
		if got := g.json(t)["data"].(map[string]any)["payload"]; got != float64(i) {
			t.Errorf("%d was %v", i, got)
		}
	}
}

// An open breaker lets just that one through, before all that are due already. When it fails the breaker stays open, and when it arrives all go on.
func TestTryNowIsTheBreakersProbe(t *testing.T) {
	t.Parallel()
	c := &clock{at: time.Now()}
	to := newReceiver(t, status(500))
	r := newRig(t, byClock(c))
	e := r.endpoint(to.URL, func(s *Spec) { s.Topics, s.Concurrency = &[]string{"#"}, ptr(1) })
	for i := range 30 {
		r.publish(message("t", strconv.Itoa(i)))
	}
	opened := func(times int64) func() bool {
		return func() bool {
			e, _ := r.Find(t.Context(), e.ID)
			return e.Health.Breaker == BreakerOpen && e.Health.Opened == times
		}
	}
	eventually(t, "breaker", opened(1))
	c.advance(10 * time.Second) // all are due, and the breaker's own time has not come
	last := r.all(Filter{})[29]
	if _, err := r.TryNow(t.Context(), last.ID); err != nil {
		t.Fatal(err)
	}
	eventually(t, "breaker again", opened(2))
	if n, d := len(to.all()), r.all(Filter{})[29]; n != breakAfter+1 || d.Attempts != 1 {
		t.Errorf("%d requests; the one that was to be tried has %d attempts", n, d.Attempts)
	}
	to.setAnswer(nil)
	if _, err := r.TryNow(t.Context(), last.ID); err != nil {
		t.Fatal(err)
	}
	c.advance(10 * time.Minute)
	if first := r.settled(StateDelivered, 30); len(first) != 30 {
		t.Errorf("%d arrived", len(first))
	}
	if came := to.all(); came[breakAfter+1].id() != last.MessageID {
		t.Errorf("first went %s, want %s", came[breakAfter+1].id(), last.MessageID)
	}
}

// Where the endpoint is paused or disabled there is no next attempt.
func TestTryNowNeedsTheEndpoint(t *testing.T) {
	t.Parallel()
	to := newReceiver(t, nil)
	r := newRig(t)
	e := r.endpoint(to.URL, func(s *Spec) { s.Topics = &[]string{"#"} })
	for _, state := range []string{StatePaused, StateDisabled} {
		_, err := r.Change(t.Context(), somebody, e.ID, Spec{State: ptr(StatePaused)})
		must(t, err)
		if len(r.all(Filter{})) == 0 {
			r.publish(message("t", "1"))
		}
		if state == StateDisabled {
			must(t, r.Store.Write(t.Context(), func(q *store.Queries) error { return r.disable(t.Context(), q, e.ID, StateActive, "for a test") }))
		}
		refuses(t, r, r.all(Filter{})[0].ID, "The endpoint is "+state)
	}
}
