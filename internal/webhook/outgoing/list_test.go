package outgoing

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/storetest"
)

var everything = store.Window{Before: math.MaxInt64, Until: math.MaxInt64, AtMost: 50}

// Whatever is asked for, an index leads to it, in the order in which it is shown.
func TestListsHaveIndexes(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	for _, state := range []string{"", StateWaiting, StateDelivered, stateDead, stateCancelled} {
		for _, by := range []resolved{{}, {endpoint: "ep_1"}, {endpoint: "ep_1", device: "dev_1"}, {endpoint: "ep_1", typeFrom: "hook.test", kinds: []string{"hook.test"}}} {
			t.Run(fmt.Sprint(state, by), func(t *testing.T) {
				t.Parallel()
				r := by
				r.state, r.until = state, math.MaxInt64
				storetest.Explain(t, func(q *store.Queries) error { _, err := rowsOf(ctx, q, r, everything); return err })
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
	for _, c := range []struct {
		want string
		r    resolved
	}{
		{"hook_deliveries_open", resolved{state: StateWaiting, endpoint: "ep_1"}},
		{"hook_deliveries_leases", resolved{state: StateSending}},
		{"hook_deliveries_ended", resolved{state: stateDead, endpoint: "ep_1", device: "dev_1", typeFrom: "hook.test", kinds: []string{"hook.test"}}},
		{"hook_deliveries_endpoint", resolved{endpoint: "ep_1"}},
		{"hook_deliveries_device", resolved{device: "dev_1", endpoint: "ep_1", state: StateDelivered}},
		{"hook_deliveries_type", resolved{typeFrom: "hook.test", kinds: []string{"hook.test"}, endpoint: "ep_1", state: StateDelivered}},
	} {
		want, r := c.want, c.r
		plan := storetest.Plan(t, func(q *store.Queries) error { _, err := rowsOf(ctx, q, r, everything); return err })
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
		"due": func(q *store.Queries) error { _, err := q.NextHookDue(ctx, "ep_1"); return err },
		"claim": func(q *store.Queries) error {
			_, err := q.ClaimHookDelivery(ctx, store.ClaimHookDeliveryParams{})
			return err
		},
		"delivered": func(q *store.Queries) error { _, err := q.LastDeliveredHook(ctx, "ep_1"); return err },
		"times":     func(q *store.Queries) error { _, err := q.HookDeliveryTime(ctx, 1); return err },
		"ends":      func(q *store.Queries) error { _, err := q.HookPositions(ctx); return err },
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
