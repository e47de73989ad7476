package incoming

import (
	"database/sql"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"testing"

	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/storetest"
)

// Whichever query lists it, a filter lets the same requests through, in the same order, page by page.
func TestListsHaveWhatTheirFilterSays(t *testing.T) {
	t.Parallel()
	const minute = 60_000
	db, err := sql.Open("sqlite", filepath.Join(storetest.Dir(t), store.File))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	_, err = db.Exec(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
		INSERT INTO hook_requests (number, id, source_id, at, method, path, address, content_type, bytes, key, state, next_at, topic, plan, headers, body)
		SELECT i * 2, 'req_' || i, 'src_' || (i % 3), (i - (i % 50 = 0) * 10) * 60000, '', '', '', '', 1, '',
			CASE i * i / 3 % 5 WHEN 0 THEN 'waiting' WHEN 1 THEN 'failed' ELSE 'done' END, 0, '', '', '', '' FROM n`)
	if err != nil {
		t.Fatal(err)
	}
	q := store.New(db)
	all, err := rowsOf(t.Context(), q, "", "", store.Window{Before: math.MaxInt64, Until: math.MaxInt64, AtMost: 1000})
	if err != nil || len(all) != 500 {
		t.Fatal(len(all), err)
	}
	for _, state := range []string{"", stateWaiting, stateDone, stateFailed} {
		for _, source := range []string{"", "src_1", "src_9"} {
			for _, times := range [][2]int64{{0, math.MaxInt64}, {300 * minute, 345 * minute}, {490 * minute, math.MaxInt64}} {
				var got, want []string
				for _, row := range all {
					if (state == "" || state == row.State) && (source == "" || source == row.SourceID) && row.At >= times[0] && row.At < times[1] {
						want = append(want, row.ID)
					}
				}
				for before, more := int64(math.MaxInt64), true; more; {
					w := store.Window{Before: before, Since: times[0], Until: times[1], AtMost: 7}
					if err := narrow(t.Context(), q, &w); err != nil {
						t.Fatal(err)
					}
					rows, err := rowsOf(t.Context(), q, source, state, w)
					if err != nil {
						t.Fatal(err)
					}
					for _, row := range rows {
						got, before = append(got, row.ID), row.Number
					}
					more = len(rows) == 7
				}
				if !slices.Equal(got, want) || source != "src_9" && len(want) == 0 {
					t.Errorf("%s", fmt.Sprint(state, source, times, got, want))
				}
			}
		}
	}
}
