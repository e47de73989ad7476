package events_test

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/storetest"
)

// raw opens the database beside the hub, as whoever tampers does.
func raw(t *testing.T, dir string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, store.File)+"?_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func exec(t *testing.T, db *sql.DB, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// fill logs events 1 to n.
func fill(t *testing.T, log *events.Log, n int) {
	t.Helper()
	for i := range n {
		e := events.Event{Type: events.DeviceChanged, Device: "dev_a", User: "usr_a", Data: events.Data{"name": fmt.Sprint("n", i)}}
		if err := log.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
}

func verify(t *testing.T, log *events.Log, known *events.Head) events.Verdict {
	t.Helper()
	v, err := log.Verify(t.Context(), known)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Every way to change the log behind the hub's back is found, at its place.
func TestTampering(t *testing.T) {
	t.Parallel()
	const copied = "INSERT INTO events SELECT %s, type, at, device_id, user_id, %s, %s FROM events WHERE id = 4"
	for name, c := range map[string]struct {
		do   []string
		id   int64
		kind string
	}{
		"type":             {[]string{"UPDATE events SET type = 'device.online' WHERE id = 4"}, 4, events.Changed},
		"at":               {[]string{"UPDATE events SET at = at + 1 WHERE id = 4"}, 4, events.Changed},
		"device":           {[]string{"UPDATE events SET device_id = 'dev_b' WHERE id = 4"}, 4, events.Changed},
		"no device":        {[]string{"UPDATE events SET device_id = NULL WHERE id = 4"}, 4, events.Changed},
		"user":             {[]string{"UPDATE events SET user_id = 'usr_b' WHERE id = 4"}, 4, events.Changed},
		"empty user":       {[]string{"UPDATE events SET user_id = '' WHERE id = 4"}, 4, events.Changed},
		"data":             {[]string{`UPDATE events SET data = '{"name":"x"}' WHERE id = 4`}, 4, events.Changed},
		"moved between":    {[]string{"UPDATE events SET device_id = 'dev_au', user_id = 'sr_a' WHERE id = 4"}, 4, events.Changed},
		"hash":             {[]string{"UPDATE events SET hash = randomblob(32) WHERE id = 4"}, 4, events.Changed},
		"id":               {[]string{"UPDATE events SET id = 99 WHERE id = 4"}, 4, events.Missing},
		"swapped":          {[]string{"UPDATE events SET id = -1 WHERE id = 4", "UPDATE events SET id = 4 WHERE id = 5", "UPDATE events SET id = 5 WHERE id = -1"}, 4, events.Changed},
		"deleted":          {[]string{"DELETE FROM events WHERE id = 4"}, 4, events.Missing},
		"deleted several":  {[]string{"DELETE FROM events WHERE id BETWEEN 3 AND 5"}, 3, events.Missing},
		"deleted first":    {[]string{"DELETE FROM events WHERE id = 1"}, 1, events.Missing},
		"deleted last":     {[]string{"DELETE FROM events WHERE id = 9"}, 9, events.Missing},
		"deleted all":      {[]string{"DELETE FROM events"}, 1, events.Missing},
		"put in, no hash":  {[]string{"DELETE FROM events WHERE id = 5", fmt.Sprintf(copied, "5", "data", "NULL")}, 5, events.Inserted},
		"put in, its hash": {[]string{"DELETE FROM events WHERE id = 5", fmt.Sprintf(copied, "5", "data", "hash")}, 5, events.Changed},
		"renumbered": {[]string{"UPDATE events SET id = -id WHERE id > 4", "UPDATE events SET id = 1 - id WHERE id < 0",
			fmt.Sprintf(copied, "5", "'{}'", "randomblob(32)")}, 5, events.Changed},
		"put in at the end":    {[]string{fmt.Sprintf(copied, "10", "data", "randomblob(32)")}, 10, events.Inserted},
		"put in before":        {[]string{fmt.Sprintf(copied, "0", "data", "NULL"), "UPDATE event_chain SET anchor_hash = X'01'"}, 0, events.Inserted},
		"the anchor":           {[]string{"UPDATE event_chain SET anchor_hash = X'01'"}, 1, events.Changed},
		"the beginning moved":  {[]string{"UPDATE event_chain SET anchor_id = 5"}, 5, events.Changed},
		"everything disavowed": {[]string{"UPDATE event_chain SET anchor_id = 9"}, 9, events.Changed},
		"the head":             {[]string{"UPDATE event_chain SET head_hash = randomblob(32)"}, 9, events.Changed},
		"cut, head too":        {[]string{"DELETE FROM events WHERE id = 9", "UPDATE event_chain SET head_id = 8"}, 8, events.Changed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			log := open(t, dir)
			fill(t, log, 9)
			if v := verify(t, log, nil); v.Broken != nil || v.Checked != 9 || v.First != 1 || v.Last != 9 {
				t.Fatalf("untouched: %+v %v", v, v.Broken)
			}
			exec(t, raw(t, dir), c.do...)
			v := verify(t, log, nil)
			if v.Broken == nil || v.Broken.ID != c.id || v.Broken.Kind != c.kind {
				t.Errorf("found %+v, want %s at %d", v.Broken, c.kind, c.id)
			}
			fill(t, log, 1) // a log that was tampered with goes on, and goes on to say so
			if v := verify(t, log, nil); v.Broken == nil {
				t.Error("the next event covers it up")
			}
		})
	}
}

// A head that was kept elsewhere finds a chain that somebody computed anew from one end to the other.
func TestKnownHead(t *testing.T) {
	t.Parallel()
	log, other := open(t, storetest.Dir(t)), open(t, storetest.Dir(t))
	fill(t, log, 5)
	head := verify(t, log, nil).Head
	fill(t, log, 3)
	if v := verify(t, log, &head); v.Broken != nil {
		t.Errorf("%v", v.Broken)
	}
	if err := other.Append(t.Context(), events.Event{Type: events.DeviceChanged}); err != nil {
		t.Fatal(err)
	}
	if v := verify(t, other, &head); v.Broken == nil || v.Broken.Kind != events.Missing {
		t.Errorf("a shorter log: %v", v.Broken)
	}
	fill(t, other, 8)
	if v := verify(t, other, &head); v.Broken == nil || v.Broken.Kind != events.Changed || v.Broken.ID != 5 {
		t.Errorf("another log: %v", v.Broken)
	}
}

// A hub that had events before the chain begins it behind them.
func TestEventsFromBeforeTheChain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	log := open(t, dir)
	exec(t, raw(t, dir), "INSERT INTO events (id, type, at) VALUES (1, 'device.online', 5), (2, 'device.offline', 6)",
		"UPDATE event_chain SET anchor_id = 2, head_id = 2")
	fill(t, log, 3)
	if v := verify(t, log, nil); v.Broken != nil || v.Before != 2 || v.First != 3 || v.Checked != 3 {
		t.Errorf("%+v %v", v, v.Broken)
	}
	if err := log.Sweep(t.Context()); err != nil { // of 1970
		t.Fatal(err)
	}
	if v := verify(t, log, nil); v.Broken != nil || v.Before != 0 || v.Checked != 3 {
		t.Errorf("swept: %+v %v", v, v.Broken)
	}
}

// clock is one that tests move.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

// Retention removes the oldest and leaves an anchor: the rest verifies, and what lay before cannot come back.
func TestRetention(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	st, err := store.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	c := &clock{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	log := events.New(st, c.now)
	fill(t, log, 10)
	c.at = c.at.AddDate(0, 0, 80)
	fill(t, log, 5)
	c.at = c.at.AddDate(50, 0, 0) // the clock is wrong for a moment
	fill(t, log, 1)
	c.at = c.at.AddDate(-50, 0, 5)
	for _, step := range []struct {
		days        int
		first, left int64
	}{{90, 1, 16}, {84, 11, 6}, {4, 16, 1}, {1, 16, 1}} {
		r := events.DefaultRetention()
		r.EventsDays = step.days
		if err := log.SetRetention(t.Context(), r, "usr_a", "owner"); err != nil {
			t.Fatal(err)
		}
		exec(t, raw(t, dir), "DELETE FROM events WHERE type = 'hub.retention_changed'") // would be the newest, which stays
		exec(t, raw(t, dir), "UPDATE event_chain SET head_id = 16, head_hash = (SELECT hash FROM events WHERE id = 16)")
		if err := log.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if v := verify(t, log, nil); v.Broken != nil || v.First != step.first || v.Checked != step.left {
			t.Errorf("%d days: %+v %v, want %d from %d", step.days, v, v.Broken, step.left, step.first)
		}
	}
	exec(t, raw(t, dir), "INSERT INTO events (id, type, at) VALUES (3, 'device.online', 5)")
	if v := verify(t, log, nil); v.Broken == nil || v.Broken.Kind != events.Inserted || v.Broken.ID != 3 {
		t.Errorf("one came back: %v", v.Broken)
	}
	err = log.SetRetention(t.Context(), events.Retention{EventsDays: 0}, "usr_a", "owner")
	if err == nil || !strings.Contains(err.Error(), "out of bounds") {
		t.Errorf("no days: %v", err)
	}
}

// A hub without a battery for its clock begins years behind: what it logged before is from the future then, and stays. What a clock ahead has dated
// goes once something behind it is old.
func TestRetentionByAWrongClock(t *testing.T) {
	t.Parallel()
	st, err := store.Open(t.Context(), storetest.Dir(t))
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	c := &clock{}
	log := events.New(st, c.now)
	year := func(y int) time.Time { return time.Date(y, 1, 1, 0, 0, 0, 0, time.UTC) }
	for _, step := range []struct {
		at    time.Time
		first int64
	}{{year(2026), 1}, {year(1970), 1}, {year(2026).AddDate(0, 0, 1), 1}, {year(2036), 4}, {year(2026).AddDate(0, 0, 2), 4}, {year(2027), 6}} {
		c.at = step.at
		fill(t, log, 1)
		if err := log.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if v := verify(t, log, nil); v.Broken != nil || v.First != step.first {
			t.Errorf("in %v: from %d, want %d; %v", step.at, v.First, step.first, v.Broken)
		}
	}
}

// More than one transaction's worth goes in one sweep.
func TestSweepOfMany(t *testing.T) {
	t.Parallel()
	st, err := store.Open(t.Context(), storetest.Dir(t))
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	c := &clock{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	log := events.New(st, c.now)
	many(t, st, log, 5000)
	c.at = c.at.AddDate(1, 0, 0)
	fill(t, log, 3)
	if err := log.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if v := verify(t, log, nil); v.Broken != nil || v.First != 5001 || v.Checked != 3 {
		t.Errorf("%+v %v", v, v.Broken)
	}
}

// many logs n events in one transaction, of changing types, devices and users.
func many(t testing.TB, st *store.Store, log *events.Log, n int) {
	t.Helper()
	types := events.Types()
	err := st.Write(t.Context(), func(q *store.Queries) error {
		for i := range n {
			e := events.Event{Type: types[i%len(types)].Name, Device: fmt.Sprint("dev_", i%997), User: fmt.Sprint("usr_", i%89)}
			if i == n/100 {
				e.User, e.Device = "usr_rare", "dev_rare"
			}
			if err := log.Write(t.Context(), q, e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
