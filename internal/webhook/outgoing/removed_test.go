package outgoing

import (
	"testing"

	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/storetest"
)

// An attempt that was under way while its endpoint was removed, and all of it swept, is nobody's: its worker gives up. It tried for ever to write it.
func TestAttemptOfRemovedEndpointEnds(t *testing.T) {
	t.Parallel()
	r, to := stillRig(t, storetest.Dir(t)), newReceiver(t, nil)
	e := r.endpoint(to.URL, func(s *Spec) { s.Topics = &[]string{"#"} })
	r.publish(message("t", "1"))
	var j *job
	must(t, r.Store.WriteTogether(t.Context(), func(q *store.Queries) (err error) {
		j, err = r.claim(t.Context(), q, e.ID)
		return err
	}))
	got := r.attempt(t.Context(), j)
	must(t, r.Remove(t.Context(), somebody, e.ID))
	must(t, r.Sweep(t.Context()))
	for _, verdict := range []verdict{arrived, tryAgain, giveUp, unfinished} {
		got.verdict = verdict
		must(t, r.Store.WriteTogether(t.Context(), func(q *store.Queries) error {
			ours, err := r.finish(t.Context(), q, j, &got)
			if ours {
				t.Errorf("verdict %d: ours", verdict)
			}
			return err
		}))
	}
	r.client.CloseIdleConnections()
}
