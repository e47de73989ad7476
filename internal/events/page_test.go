package events_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"sort"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/storetest"
)

// walkPages gives every event that pages of a filter hold, and how long the slowest took.
func walkPages(t *testing.T, log *events.Log, f events.Filter, limit int) (ids []int64, pages int) {
	t.Helper()
	for before := int64(0); ; {
		list, next, err := log.Page(t.Context(), f, before, limit)
		if err != nil {
			t.Fatal(err)
		}
		pages++
		for _, e := range list {
			ids = append(ids, e.ID)
		}
		if next == 0 {
			return ids, pages
		}
		if before != 0 && next >= before || len(list) > limit {
			t.Fatalf("a page of %d leads from %d to %d", len(list), before, next)
		}
		before = next
	}
}

// random logs 6000 events of all kinds.
func random(t *testing.T, st *store.Store, log *events.Log) (all []events.Event) {
	t.Helper()
	dice, types, at := rand.New(rand.NewPCG(1, 2)), events.Types(), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	err := st.Write(t.Context(), func(q *store.Queries) error {
		for i := range 6000 {
			at = at.Add(time.Duration(dice.IntN(3)) * time.Second)
			e := events.Event{ID: int64(i + 1), At: at, Type: types[dice.IntN(len(types))].Name}
			if dice.IntN(3) > 0 {
				e.Device = fmt.Sprint("dev_", dice.IntN(20))
			}
			if dice.IntN(2) > 0 {
				e.User = fmt.Sprint("usr_", dice.IntN(10))
			}
			all = append(all, e)
			if err := log.Write(t.Context(), q, e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Pages of any filter hold what a look at each event would give: nothing lost, nothing twice, newest first.
func TestPagesAgreeWithTheFilter(t *testing.T) {
	t.Parallel()
	st, err := store.Open(t.Context(), storetest.Dir(t))
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	log := events.New(st, time.Now)
	all := random(t, st, log)
	last := all[len(all)-1].At
	own := func(e events.Event) bool { return e.User == "usr_1" || e.Device == "dev_3" || e.Device == "dev_4" }
	near := []string{"dev_3", "dev_4"}
	many := make([]string, 100)
	for i := range many {
		many[i] = fmt.Sprint("dev_x", i)
	}
	for name, f := range map[string]events.Filter{
		"all":             {},
		"one type":        {Types: []string{"device.online"}},
		"types":           {Types: []string{"device.*", "hub.started"}},
		"every type":      {Types: []string{"*"}},
		"no such type":    {Types: []string{"none"}},
		"unknown group":   {Types: []string{"none.*", "login.failed"}},
		"device":          {Device: "dev_7"},
		"device and user": {Device: "dev_7", User: "usr_2"},
		"user and types":  {User: "usr_2", Types: []string{"mqtt.*"}},
		"times":           {Since: all[1000].At, Until: all[3000].At},
		"one moment":      {Since: all[2000].At, Until: all[2000].At},
		"future":          {Since: last.Add(time.Hour)},
		"past":            {Until: all[0].At.Add(-time.Hour)},
		"restricted":      {Sees: own, Own: "usr_1", Near: near},
		"of another":      {Sees: own, Own: "usr_1", Near: near, User: "usr_2"},
		"of themselves":   {Sees: own, Own: "usr_1", Near: near, User: "usr_1", Types: []string{"device.*"}},
		"many devices":    {Sees: own, Own: "usr_1", Near: append(many, near...)},
		"sees nothing":    {Sees: func(events.Event) bool { return false }},
	} {
		var want []int64
		for _, e := range all {
			if f.Wants(e) {
				want = append(want, e.ID)
			}
		}
		slices.Reverse(want)
		got, pages := walkPages(t, log, f, 100)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %d events on %d pages, want %d", name, len(got), pages, len(want))
		}
		if !sort.SliceIsSorted(got, func(i, j int) bool { return got[i] > got[j] }) {
			t.Errorf("%s: not newest first", name)
		}
	}
}

// With 100,000 events a page takes 20 ms at most, whatever the filter, or on a slow machine not much more than one without a filter
// in the same moment. The race detector makes SQLite, which is Go here, ten times slower; under it there are fewer.
func TestPagesAreFast(t *testing.T) {
	rows := "100000"
	if underRace() {
		rows = "20000" // what is measured there says nothing of 20 ms
	}
	dir := t.TempDir()
	log := open(t, dir)
	exec(t, raw(t, dir), `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < `+rows+`)
		INSERT INTO events (id, type, at, device_id, user_id, data)
		SELECT i, json_extract('`+typesJSON(t)+`', '$[' || (i % `+fmt.Sprint(len(events.Types()))+`) || ']'), 1767225600000 + i,
			'dev_' || (i % 997), 'usr_' || (i % 89), '{"name":"kitchen","address":"192.0.2.7","status":"active"}' FROM n`,
		"UPDATE events SET device_id = 'dev_rare', user_id = 'usr_rare' WHERE id = 1000", "UPDATE event_chain SET anchor_id = "+rows+", head_id = "+rows)
	most := 20 * time.Millisecond
	filters := map[string]events.Filter{
		"all": {}, "type": {Types: []string{"device.online"}}, "group": {Types: []string{"device.*"}}, "rare device": {Device: "dev_rare"},
		"rare user": {User: "usr_rare"}, "both": {User: "usr_1", Device: "dev_1"}, "nothing": {Types: []string{"none"}},
		"nothing seen": {Sees: func(events.Event) bool { return false }}, "restricted": {Own: "usr_3", Near: []string{"dev_1", "dev_2"}},
		"user's type": {User: "usr_3", Types: []string{"mqtt.kicked"}}, "old": {Until: time.UnixMilli(1767225600000 + 5000)}, "new": {Since: time.Now()},
	}
	for _, name := range append([]string{"all"}, slices.Sorted(maps.Keys(filters))...) {
		f, best := filters[name], time.Hour
		for range 10 { // the machine may be busy with other things
			began := time.Now()
			if _, _, err := log.Page(t.Context(), f, 0, 100); err != nil {
				t.Fatal(err)
			}
			best = min(best, time.Since(began))
		}
		t.Logf("%-14s %v", name, best.Round(10*time.Microsecond))
		if name == "all" {
			most = max(most, 25*best)
		}
		if best > most {
			t.Errorf("%s: a page takes %v", name, best)
		}
	}
}

func underRace() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.ContainsFunc(info.Settings, func(s debug.BuildSetting) bool { return s.Key == "-race" && s.Value == "true" })
}

func typesJSON(t *testing.T) string {
	t.Helper()
	names := make([]string, 0, 100)
	for _, c := range events.Types() {
		names = append(names, c.Name)
	}
	text, err := json.Marshal(names)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
