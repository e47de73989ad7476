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
