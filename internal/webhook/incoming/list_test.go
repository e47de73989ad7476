package incoming

import (
	"math"
	"strings"
	"testing"

	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/storetest"
)

// Whatever is asked for, an index leads to it, in the order in which it is shown.
func TestListsHaveIndexes(t *testing.T) {
	t.Parallel()
	for _, state := range []string{"", stateWaiting, stateDone, stateFailed} {
		for _, source := range []string{"", "src_1"} {
			t.Run(state+" "+source, func(t *testing.T) {
				t.Parallel()
				p := store.ListHookRequestsOfParams{State: state, SourceID: source, Before: math.MaxInt64, Until: math.MaxInt64, AtMost: 50}
				ask := func(q *store.Queries) error { _, err := rowsOf(t.Context(), q, p); return err }
				storetest.Explain(t, ask)
				plan := strings.Join(storetest.Plan(t, ask), "\n")
				if (state == stateWaiting || state == stateFailed) && !strings.Contains(plan, "hook_requests_"+state) {
					t.Error(plan)
				}
			})
		}
	}
}

// The sweep counts each minute what there is, in an index: the table has the bodies in it.
func TestFiguresReadNoBodies(t *testing.T) {
	t.Parallel()
	plan := storetest.Plan(t, func(q *store.Queries) error { _, err := q.HookRequestFigures(t.Context()); return err })
	scans := 0
	for _, step := range plan {
		if strings.HasPrefix(step, "SCAN") && strings.Contains(step, "COVERING INDEX") {
			scans++
		} else if strings.HasPrefix(step, "SCAN") {
			t.Error(step)
		}
	}
	if scans != 2 {
		t.Errorf("%q", plan)
	}
}
