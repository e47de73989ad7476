package incoming

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/storetest"
	"github.com/aditdev/adit/internal/wire"
)

// A hub that dies with a request in hand leaves it to the next, under the same id; and what the dead one still writes is nobody's.
func TestDeadHubsRequestIsAnothers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	dead := newRig(t, dir) // never runs: what it accepts has its lease, and nothing is done
	s := dead.publishing(nil)
	a, err := dead.send(s, "x")
	if err != nil || a.Status != http.StatusAccepted {
		t.Fatal(a, err)
	}
	row, err := dead.row(t.Context(), dead.only().ID)
	if err != nil || row.Owner == "" {
		t.Fatalf("owner %q, %v", row.Owner, err)
	}
	next := newRig(t, dir)
	next.forward(lease + time.Second)
	next.run()
	m := next.message()
	if m.UserProperties[0].Value != row.ID {
		t.Errorf("published as %v, want %s", m.UserProperties, row.ID)
	}
	next.until("it is done", func() bool { return next.only().State == stateDone })
	dead.finish(t.Context(), &job{id: row.ID, owner: row.Owner, plan: &plan{}}, outcome{err: errors.New("too late")})
	if e := next.only(); e.State != stateDone || e.Attempts != 1 {
		t.Errorf("%+v", e)
	}
}

// What cannot be published is tried again until it expires; then it has failed, says why, and there is an event.
func TestPublishIsTriedUntilItExpires(t *testing.T) {
	t.Parallel()
	r := newRig(t, storetest.Dir(t))
	s := r.publishing(nil)
	r.broker.set(wire.Errorf(wire.Offline, "The broker cannot be reached."))
	r.run()
	if _, err := r.send(s, "x"); err != nil {
		t.Fatal(err)
	}
	r.until("it was tried", func() bool { e := r.only(); return e.Attempts > 1 && strings.Contains(e.Error, "cannot be reached") })
	r.forward(time.Hour)
	r.until("it has failed", func() bool { return r.only().State == stateFailed })
	if e := r.only(); !strings.Contains(e.Error, "in its time") || !strings.Contains(e.Error, "cannot be reached") {
		t.Errorf("error %q", e.Error)
	}
	rows, err := r.store.Read().EventsAfter(t.Context(), store.EventsAfterParams{AtMost: 100})
	if err != nil || rows[len(rows)-1].Type != events.HookFailed {
		t.Errorf("events %+v, %v", rows, err)
	}
	r.broker.set(nil)
	if _, err := r.Replay(t.Context(), r.only().ID); err != nil {
		t.Fatal(err)
	}
	r.message()
}

// A repeat of what failed is done again, under the first id: its sender was never told that it was done.
func TestRepeatOfFailedIsDoneAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, storetest.Dir(t))
	s := r.publishing(nil)
	r.broker.set(wire.Errorf(wire.Forbidden, "no"))
	r.run()
	if _, err := r.send(s, "x", "Idempotency-Key", "k"); err != nil {
		t.Fatal(err)
	}
	r.until("it has failed", func() bool { return r.only().State == stateFailed })
	r.broker.set(nil)
	a, err := r.send(s, "x", "Idempotency-Key", "k")
	if err != nil || a.Header[headerDuplicate] != "true" {
		t.Fatal(a, err)
	}
	if m := r.message(); m.UserProperties[0].Value != r.only().ID {
		t.Errorf("%+v", m.UserProperties)
	}
}

// Keys are forgotten behind their time, and not before.
func TestRepeatsAreForgotten(t *testing.T) {
	t.Parallel()
	r := newRig(t, storetest.Dir(t))
	s := r.publishing(func(s *Settings) {
		s.Action = Action{Kind: ActionStore}
		s.Dedupe = Dedupe{Header: "X-Id", Hours: new(2)}
	})
	for _, row := range []struct {
		after time.Duration
		same  bool
	}{{0, false}, {time.Hour, true}, {59 * time.Minute, true}, {2 * time.Minute, false}, {time.Minute, true}} {
		r.forward(row.after)
		if err := r.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		a, err := r.send(s, "x", "X-Id", "1")
		if err != nil || (a.Header[headerDuplicate] == "true") != row.same {
			t.Errorf("after %v: %v, %v", row.after, a.Header, err)
		}
	}
}

func TestSweepKeepsWhatWaits(t *testing.T) {
	t.Parallel()
	r := newRig(t, storetest.Dir(t))
	waits, kept := r.publishing(nil), r.publishing(func(s *Settings) { s.Action = Action{Kind: ActionStore} })
	for range 20 {
		if _, err := r.send(kept, "0123456789"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.send(waits, "0123456789"); err != nil {
		t.Fatal(err)
	}
	count := func() int64 {
		f, err := r.store.Read().HookRequestFigures(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return f.Count
	}
	for _, row := range []struct {
		keep string // less than the settings take
		want int64
	}{{`{"max_messages":10}`, 11}, {`{"max_bytes":60}`, 6}, {`{"requests_days":0}`, 1}} {
		r.forward(time.Second)
		r.setting("retention", row.keep)
		if err := r.Sweep(t.Context()); err != nil || count() > row.want || count() < 1 {
			t.Errorf("%+v: %d are left, want %d, %v", row.keep, count(), row.want, err)
		}
	}
	r.setting("retention", "no JSON")
	if err := r.Sweep(t.Context()); err == nil || count() != 1 {
		t.Errorf("by settings that cannot be read: %d are left, %v", count(), err)
	}
}

// What another process changes is known soon.
func TestSourcesOfAnotherProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	hub, beside := newRig(t, dir), newRig(t, dir)
	hub.run()
	s := beside.publishing(nil)
	hub.until("it is known", func() bool { return hub.lookup(s.Slug) != nil })
	if err := beside.Remove(t.Context(), "", s.ID); err != nil {
		t.Fatal(err)
	}
	hub.until("it is gone", func() bool { return hub.lookup(s.Slug) == nil })
}

// Bodies in memory are bounded in all: whoever comes too much is told to come again, and nothing stays held.
func TestBodiesInMemoryAreBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t, storetest.Dir(t))
	s := r.publishing(func(s *Settings) { s.Action = Action{Kind: ActionStore} })
	if !r.budget.TryAcquire(maxInMemory - 8<<10) {
		t.Fatal("held before")
	}
	if _, err := r.send(s, strings.Repeat("x", 4000)); err != nil {
		t.Errorf("a small one: %v", err)
	}
	if _, err := r.send(s, strings.Repeat("x", 100_000)); wire.CodeOf(err) != wire.RateLimited {
		t.Errorf("a large one: %v", err)
	}
	r.budget.Release(maxInMemory - 8<<10)
	if !r.budget.TryAcquire(maxInMemory) {
		t.Error("something stays held")
	}
}

// Senders whom nobody has verified, and who stall, take the memory of their source alone: others are served, and so are they
// when it is free again.
func TestStrangersTakeNoOtherSourcesMemory(t *testing.T) {
	t.Parallel()
	r := newRig(t, storetest.Dir(t))
	attacked := r.publishing(func(s *Settings) { s.Action = Action{Kind: ActionStore} })
	other := r.publishing(func(s *Settings) { s.Action = Action{Kind: ActionStore} })
	stalled := r.lookup(attacked.Slug)
	var holds []*hold
	for {
		h := stalled.hold(r.budget)
		if holds = append(holds, h); !h.more(1 << 20) {
			break
		}
	}
	if n := len(holds); n > maxInMemory/4>>20+1 {
		t.Errorf("one source took %d MiB", n)
	}
	if _, err := r.send(attacked, "x"); wire.CodeOf(err) != wire.RateLimited {
		t.Errorf("at the source whose memory is taken: %v", err)
	}
	if _, err := r.send(other, strings.Repeat("x", 100_000)); err != nil {
		t.Errorf("at another source: %v", err)
	}
	for _, h := range holds {
		h.release()
	}
	if _, err := r.send(attacked, "x"); err != nil {
		t.Errorf("when they are gone: %v", err)
	}
	if n := stalled.unverified.Load(); n != 0 || !r.budget.TryAcquire(maxInMemory) {
		t.Errorf("something stays held: %d", n)
	}
}

// A hub that is killed at any moment has published every request that it accepted when another goes on, under the same id.
func TestKilledHubLosesNothing(t *testing.T) {
	if dir := os.Getenv("ADIT_TEST_INCOMING"); dir != "" {
		acceptUntilKilled(t, dir)
		return
	}
	t.Parallel()
	dir := t.TempDir()
	s := newRig(t, dir).publishing(nil)
	accepted := map[string]bool{}
	for range 3 {
		child := exec.Command(os.Args[0], "-test.run", "^TestKilledHubLosesNothing$")
		child.Env = append(os.Environ(), "ADIT_TEST_INCOMING="+dir, "ADIT_TEST_SLUG="+s.Slug)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		for range 40 {
			var id string
			if _, err := fmt.Fscanln(out, &id); err != nil {
				t.Fatal(err)
			}
			accepted[id] = true
		}
		_ = child.Process.Kill()
		_ = child.Wait()
	}
	last := newRig(t, dir)
	last.forward(lease + time.Second)
	last.run()
	last.until("all is done", func() bool {
		entries, _, err := last.Requests(t.Context(), Filter{State: stateWaiting, Limit: 1})
		return err == nil && len(entries) == 0
	})
	for id := range accepted {
		if d, err := last.Request(t.Context(), id); err != nil || d.State != stateDone {
			t.Errorf("%s: %s, %v", id, d.State, err)
		}
	}
}

// acceptUntilKilled says each id when it was accepted. Its broker is slow, so that there is always something in hand.
func acceptUntilKilled(t *testing.T, dir string) {
	r := newRig(t, dir)
	r.broker.got = make(chan mqtt.Message) // each waits for the one before
	go func() {
		for range r.broker.got {
		}
	}()
	r.run()
	s := Source{Slug: os.Getenv("ADIT_TEST_SLUG")}
	for {
		a, err := r.send(s, "x")
		if err != nil {
			t.Fatal(err)
		}
		id := a.Header["Adit-Request"]
		if _, err := fmt.Println(id); err != nil {
			return
		}
	}
}
