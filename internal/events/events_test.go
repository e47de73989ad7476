package events_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/leaktest"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/storetest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func open(t testing.TB, dir string) *events.Log {
	t.Helper()
	st, err := store.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	return events.New(st, time.Now)
}

// Two processes write while one listens: every event comes, in order, once.
func TestStreamMissesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	hub, beside := open(t, dir), open(t, dir)
	ctx, cancel := context.WithCancel(t.Context())
	var working sync.WaitGroup
	working.Go(func() {
		if err := hub.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	const each = 150
	for name, log := range map[string]*events.Log{"hub": hub, "beside": beside} {
		working.Go(func() {
			for i := range each {
				if err := log.Append(t.Context(), events.Event{Type: name, Data: events.Data{"n": i}}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	last, next := int64(0), map[string]int{}
	for e, err := range hub.Stream(ctx, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if e.ID != last+1 || fmt.Sprint(e.Data["n"]) != fmt.Sprint(next[e.Type]) {
			t.Fatalf("after %d came %d: %s %v, want %d", last, e.ID, e.Type, e.Data, next[e.Type])
		}
		last = e.ID
		next[e.Type]++
		if last == 2*each {
			break
		}
	}
	cancel()
	working.Wait()
}

func TestStreamEndsWithItsContext(t *testing.T) {
	t.Parallel()
	log := open(t, storetest.Dir(t))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for e, err := range log.Stream(ctx, 0) {
		t.Errorf("%+v, %v", e, err)
	}
}
