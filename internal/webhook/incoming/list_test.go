package incoming

import (
	"errors"
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
				w := store.Window{Before: math.MaxInt64, Until: math.MaxInt64, AtMost: 50}
				ask := func(q *store.Queries) error { _, err := rowsOf(t.Context(), q, source, state, w); return err }
				storetest.Explain(t, ask)
				plan := strings.Join(storetest.Plan(t, ask), "\n")
				if (state == stateWaiting || state == stateFailed) && !strings.Contains(plan, "hook_requests_"+state) {
					t.Error(plan)
				}
			})
		}
	}
}

// A list of a time begins there, and does not look through all that is newer or older.
func TestTimesHaveIndexes(t *testing.T) {
	t.Parallel()
	storetest.Explain(t, func(q *store.Queries) error { _, err := q.HookRequestTime(t.Context(), 1); return err })
	plan := storetest.Plan(t, func(q *store.Queries) error { _, err := q.HookRequestNumbers(t.Context()); return err })
	for _, step := range plan {
		if strings.HasPrefix(step, "SCAN") && step != "SCAN CONSTANT ROW" {
			t.Error(step)
		}
	}
}

// The sweep counts each minute what there is, and looks for what is old, in an index: the table has the bodies in it.
func TestFiguresReadNoBodies(t *testing.T) {
	t.Parallel()
	plan := storetest.Plan(t, func(q *store.Queries) error {
		_, err := q.HookRequestFigures(t.Context())
		_, other := q.LastHookRequestBefore(t.Context(), 1)
		return errors.Join(err, other)
	})
	reads := 0
	for _, step := range plan {
		if strings.Contains(step, "COVERING INDEX") {
			reads++
		} else if !strings.HasPrefix(step, "SCALAR SUBQUERY") {
			t.Error(step)
		}
	}
	if reads != 4 { // all twice, and those that wait, whose number and bytes are two
		t.Errorf("%q", plan)
	}
}
