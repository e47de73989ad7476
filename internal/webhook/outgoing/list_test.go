package outgoing

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/storetest"
)

// Whatever is asked for, an index leads to it, in the order in which it is shown.
func TestListsHaveIndexes(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	for _, state := range []string{"", StateWaiting, StateDelivered, stateDead, stateCancelled} {
		for _, endpoint := range []string{"", "ep_1"} {
			t.Run(state+" "+endpoint, func(t *testing.T) {
				t.Parallel()
				r := resolved{state: state, endpoint: endpoint, until: math.MaxInt64}
				storetest.Explain(t, func(q *store.Queries) error { _, err := rowsOf(ctx, q, r, math.MaxInt64, 50); return err })
				replay := func(q *store.Queries) error { _, err := toReplay(ctx, q, r, 0, math.MaxInt64); return err }
				storetest.Explain(t, replay)
				if plan := strings.Join(storetest.Plan(t, replay), "\n"); !strings.Contains(plan, "x USING INDEX hook_deliveries_message") {
					t.Error("for each, all of its endpoint are read:", plan)
				}
			})
		}
	}
}

// TestListIndex tells which index it is that leads there: SQLite knows worse ones.
func TestListIndex(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	for want, r := range map[string]resolved{
		"hook_deliveries_open":     {state: StateWaiting, endpoint: "ep_1"},
		"hook_deliveries_leases":   {state: StateSending},
		"hook_deliveries_ended":    {state: stateDead, endpoint: "ep_1"},
		"hook_deliveries_endpoint": {endpoint: "ep_1"},
	} {
		plan := storetest.Plan(t, func(q *store.Queries) error { _, err := rowsOf(ctx, q, r, math.MaxInt64, 50); return err })
		if !slices.ContainsFunc(plan, func(step string) bool { return strings.HasPrefix(step, "SEARCH d USING INDEX "+want+" ") }) {
			t.Errorf("%+v: %q, not by %s", r, plan, want)
		}
	}
}

// What a hub asks all the time, and for each delivery.
func TestQueueHasIndexes(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	for name, ask := range map[string]func(q *store.Queries) error{
		"due": func(q *store.Queries) error { _, err := q.NextHookDue(ctx, "ep_1"); return ignoreNone(err) },
		"claim": func(q *store.Queries) error {
			_, err := q.ClaimHookDelivery(ctx, store.ClaimHookDeliveryParams{})
			return ignoreNone(err)
		},
		"delivered": func(q *store.Queries) error { _, err := q.LastDeliveredHook(ctx, "ep_1"); return ignoreNone(err) },
		"oldest":    func(q *store.Queries) error { _, err := q.OldestOpenHook(ctx); return err },
		"finished": func(q *store.Queries) error {
			_, err := q.FinishedHookDeliveries(ctx, store.FinishedHookDeliveriesParams{Before: new(int64)})
			return err
		},
		"removed": func(q *store.Queries) error {
			_, err := q.HookDeliveriesOf(ctx, store.HookDeliveriesOfParams{AtMost: 1})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			plan := storetest.Plan(t, ask)
			for _, step := range plan {
				if strings.Contains(step, "TEMP B-TREE") || strings.HasPrefix(step, "SCAN") && !strings.Contains(step, "hook_deliveries_open") && step != "SCAN CONSTANT ROW" {
					t.Errorf("%s", strings.Join(plan, "\n"))
				}
			}
		})
	}
}

func ignoreNone(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}
