package outgoing

import (
	"database/sql"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/storetest"
)

// minute is one of the times below, in milliseconds.
const minute = 60_000

// mixed is a database with deliveries of every kind, one a minute; every 50th waited ten minutes to be written.
func mixed(t *testing.T) (*store.Queries, []store.HookDelivery) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(storetest.Dir(t), store.File))
	must(t, err)
	t.Cleanup(func() { _ = db.Close() })
	tx, err := db.Begin()
	must(t, err)
	exec := func(text string, args ...any) { t.Helper(); _, err := tx.Exec(text, args...); must(t, err) }
	for _, e := range []string{"ep_0", "ep_1", "ep_2"} {
		exec(`INSERT INTO hook_endpoints VALUES (?, ?, '', '[]', '[]', '[]', 'raw', '', '', '', 'v1', 'parallel', 1, 1, 1, 'active', '', 0)`, e, e)
		exec(`INSERT INTO hook_endpoint_health (endpoint_id) VALUES (?)`, e)
	}
	states := []string{StateDelivered, StateDelivered, StateWaiting, stateBehind, StateSending, stateDead, stateCancelled}
	kinds := []string{"device.online", "device.offline", "mqtt.message", "hook.test"}
	for i := range 700 {
		d := store.HookDelivery{ID: fmt.Sprint("del_", i), State: states[i*i/3%7], EndpointID: fmt.Sprint("ep_", i%3), Type: kinds[i/5%4], CreatedAt: int64(i) * minute}
		if i%50 == 49 {
			d.CreatedAt -= 10 * minute
		}
		var device, finished, lease any
		switch d.State {
		case StateSending:
			lease = 1
		case StateDelivered, stateDead, stateCancelled:
			finished = d.CreatedAt + 1
		}
		if i%4 == 0 {
			device = fmt.Sprint("dev_", i%8)
		}
		exec(`INSERT INTO hook_deliveries (id, position, message_id, endpoint_id, type, device_id, state, next_at, lease_until, bytes, created_at, finished_at)
			VALUES (?, ?, '', ?, ?, ?, ?, 0, ?, 1, ?, ?)`, d.ID, i+1, d.EndpointID, d.Type, device, d.State, lease, d.CreatedAt, finished)
	}
	must(t, tx.Commit())
	q := store.New(db)
	rows, err := rowsOf(t.Context(), q, resolved{}, store.Window{Before: math.MaxInt64, Until: math.MaxInt64, AtMost: 1000})
	must(t, err)
	all := make([]store.HookDelivery, 0, len(rows))
	for _, row := range rows {
		all = append(all, row.HookDelivery)
	}
	if len(all) != 700 {
		t.Fatal(len(all))
	}
	return q, all
}

// pages is the whole of a list, by pages of seven.
func pages(t *testing.T, q *store.Queries, r resolved, since, until int64) (ids []string) {
	t.Helper()
	for before := int64(math.MaxInt64); ; {
		w := store.Window{Before: before, Since: since, Until: until, AtMost: 7}
		must(t, narrow(t.Context(), q, &w))
		rows, err := rowsOf(t.Context(), q, r, w)
		must(t, err)
		for _, row := range rows {
			ids = append(ids, row.HookDelivery.ID)
		}
		if len(rows) < 7 {
			return ids
		}
		before = rows[6].HookDelivery.Position
	}
}

// Whichever query lists it, a filter lets the same deliveries through, in the same order, page by page.
func TestListsHaveWhatTheirFilterSays(t *testing.T) {
	t.Parallel()
	q, all := mixed(t)
	listed := 0
	for _, state := range []string{"", StateWaiting, StateSending, StateDelivered, stateDead, stateCancelled} {
		for _, endpoint := range []string{"", "ep_1", "ep_9"} {
			for _, kind := range []string{"", "*", "mqtt.message", "device.*", "none.*"} {
				for _, device := range []string{"", "dev_4"} {
					for _, times := range [][2]int64{{0, math.MaxInt64}, {300 * minute, 345 * minute}, {690 * minute, math.MaxInt64}} {
						r, err := (&Outbox{}).resolve(t.Context(), Filter{State: state, Type: kind, Device: device})
						must(t, err)
						r.endpoint = endpoint
						var want []string
						for _, d := range all {
							if (state == "" || state == d.State || state == StateWaiting && d.State == stateBehind) && (endpoint == "" || endpoint == d.EndpointID) &&
								(kind == d.Type || strings.HasPrefix(d.Type, strings.TrimSuffix(kind, "*")) && kind != "mqtt.message") &&
								(device == "" || d.DeviceID != nil && *d.DeviceID == device) && d.CreatedAt >= times[0] && d.CreatedAt < times[1] {
								want = append(want, d.ID)
							}
						}
						if got := pages(t, q, r, times[0], times[1]); !slices.Equal(got, want) {
							t.Errorf("%+v, %v: %v, want %v", r, times, got, want)
						}
						listed += len(want)
					}
				}
			}
		}
	}
	if listed < 5000 {
		t.Errorf("%d listed: does this test look at anything?", listed)
	}
}
