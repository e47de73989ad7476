package outgoing

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

// Two replays that run at the same time have both found the same deliveries: what the one has queued the other leaves, also where it was delivered
// meanwhile. Both queued everything.
func TestReplaysAtOnceDoubleNothing(t *testing.T) {
	t.Parallel()
	const n = 3
	r, to := newRig(t), newReceiver(t, nil)
	e := r.endpoint(to.URL, func(s *Spec) { s.Topics = &[]string{"#"} })
	for range n {
		r.publish(message("t", "x"))
	}
	r.settled(StateDelivered, n)
	f, err := r.resolve(t.Context(), Filter{})
	must(t, err)
	last, err := r.Store.Read().LastHookPosition(t.Context())
	must(t, err)
	rows, err := r.Store.Read().HookDeliveriesToReplay(t.Context(), store.HookDeliveriesToReplayParams{UpTo: last, Until: f.until, DeviceID: &f.device, AtMost: replayStep})
	must(t, err)
	for turn, want := range []int64{n, 0} {
		got, err := r.replayStep(t.Context(), rows, last, map[[2]string]bool{}, false)
		if got != want || err != nil {
			t.Errorf("replay %d: %d, %v", turn+1, got, err)
		}
		r.settled(StateDelivered, 2*n)
	}
	if all := r.all(Filter{}); len(all) != 2*n {
		t.Errorf("%d deliveries", len(all))
	}

	_, err = r.Change(t.Context(), somebody, e.ID, Spec{State: ptr(StatePaused)})
	must(t, err)
	var replays sync.WaitGroup
	var sum atomic.Int64
	for range 4 {
		replays.Go(func() {
			count, err := r.ReplayAll(t.Context(), Filter{Endpoint: e.ID}, false)
			if sum.Add(count); err != nil {
				t.Error(err)
			}
		})
	}
	replays.Wait()
	if waits := r.all(Filter{State: StateWaiting}); sum.Load() != n || len(waits) != n {
		t.Errorf("%d were replayed, and %d wait", sum.Load(), len(waits))
	}
	if _, err := r.Replay(t.Context(), r.all(Filter{State: StateDelivered})[0].ID); wire.CodeOf(err) != wire.Conflict {
		t.Errorf("one whose message waits: %v", err)
	}
}

// A replay has passed as many hubs as the first delivery had.
func TestReplayedDeliveryKeepsHops(t *testing.T) {
	t.Parallel()
	r, to := newRig(t), newReceiver(t, nil)
	r.endpoint(to.URL, func(s *Spec) { s.Topics = &[]string{"#"} })
	m := message("t", "x")
	m.UserProperties = []mqtt.UserProperty{{Name: "adit-hops", Value: "3"}}
	r.publish(m)
	_, err := r.Replay(t.Context(), r.settled(StateDelivered, 1)[0].ID)
	must(t, err)
	for _, got := range to.await(t, 2) {
		if hops := got.header.Get("adit-hops"); hops != "4" {
			t.Errorf("%q hops", hops)
		}
	}
}

// A test goes past the order of its endpoint when it is replayed too, and holds nothing back.
func TestReplayedTestHasNoOrder(t *testing.T) {
	t.Parallel()
	to := newReceiver(t, nil)
	r := newRig(t)
	e := r.endpoint(to.URL, func(s *Spec) { s.Topics, s.Mode = &[]string{"#"}, ptr(ModeOrdered) })
	d, err := r.Test(t.Context(), somebody, e.ID)
	must(t, err)
	r.settled(StateDelivered, 1)
	to.setAnswer(status(500, "Retry-After: 3600"))
	r.publish(message("t", "0"))
	eventually(t, "a failure", func() bool { return r.all(Filter{Type: TypeMQTT})[0].Attempts == 1 })
	to.setAnswer(nil)
	again, err := r.Replay(t.Context(), d.ID)
	must(t, err)
	if again.HeldBy == "order" || again.OrderKey != nil {
		t.Errorf("%+v", again)
	}
}

// What is replayed to an endpoint that the hub disabled waits, and says that it is that: somebody must set it active.
func TestReplayToDisabled(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	to := newReceiver(t, status(http.StatusGone))
	e := r.endpoint(to.URL, func(s *Spec) { s.Topics = &[]string{"a"} })
	r.publish(message("a", "1"))
	dead := r.settled(stateDead, 1)[0]
	eventually(t, "it is disabled", func() bool { e, err := r.Find(t.Context(), e.ID); must(t, err); return e.State == StateDisabled })
	d, err := r.Replay(t.Context(), dead.ID)
	must(t, err)
	if d.State != StateWaiting || d.HeldBy != "disabled" {
		t.Errorf("%s, held by %q", d.State, d.HeldBy)
	}
}
