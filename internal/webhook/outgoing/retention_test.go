package outgoing

import (
	"testing"
	"time"

	"github.com/aditdev/adit/internal/events"
)

// Retention of events may begin as soon as the hub does. What a hub wrote that died before it had queued it is queued by then, however
// long the hub was away.
func TestRetentionLeavesWhatIsNotQueuedYet(t *testing.T) {
	t.Parallel()
	dir, to := t.TempDir(), newReceiver(t, nil)
	dead := stillRig(t, dir)
	dead.endpoint(to.URL, func(s *Spec) { s.Events = &[]string{"hub.stopping"} })
	dead.event(events.HubStopping, nil)

	r := stillRig(t, dir, byClock(&clock{at: time.Now().Add(100 * 24 * time.Hour)}))
	r.event(events.HubStarted, nil)
	must(t, r.Events.Sweep(t.Context()))
	r.run()
	to.await(t, 1)
}

// What people set of retention holds for deliveries from the next sweep on.
func TestRetentionThatWasSet(t *testing.T) {
	t.Parallel()
	c := &clock{at: time.Now()}
	r := stillRig(t, t.TempDir(), byClock(c))
	r.Retention = r.Events.Retention
	r.endpoint("http://127.0.0.1/", func(s *Spec) { s.Topics = &[]string{"#"} })
	r.publish(message("t", "x"))
	_, err := r.Cancel(t.Context(), r.all(Filter{})[0].ID)
	must(t, err)
	c.advance(2 * 24 * time.Hour)
	must(t, r.Sweep(t.Context()))
	if n := len(r.all(Filter{})); n != 1 {
		t.Errorf("%d deliveries after two days of seven", n)
	}
	keep := events.DefaultRetention()
	keep.DeliveriesDays = 1
	must(t, r.Events.SetRetention(t.Context(), keep, "", ""))
	must(t, r.Sweep(t.Context()))
	if n := len(r.all(Filter{})); n != 0 {
		t.Errorf("%d deliveries after two days of one", n)
	}
}
