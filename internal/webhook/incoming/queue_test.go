package incoming

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/seal"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/storetest"
	"github.com/aditdev/adit/internal/webhook/transform"
	"github.com/aditdev/adit/internal/wire"
)

// broker is one that fails when it is told to.
type broker struct {
	mu     sync.Mutex
	fail   error
	got    chan mqtt.Message
	answer func(messaging.Received) // of what was asked last
}

func (b *broker) Send(ctx context.Context, m mqtt.Message, _ string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail != nil {
		return b.fail
	}
	select {
	case b.got <- m:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (b *broker) set(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fail = err
}

func (b *broker) Ask(ctx context.Context, m mqtt.Message, from string, answer func(messaging.Received)) (func(), error) {
	b.mu.Lock()
	b.answer = answer
	b.mu.Unlock()
	return func() {}, b.Send(ctx, m, from)
}

func (b *broker) answers(payload string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answer(messaging.Received{Message: mqtt.Message{Payload: []byte(payload)}})
}
func (b *broker) Listens(string, func(messaging.Principal) bool) bool { return true }
func (b *broker) ReplyTopic(id string) string                         { return "replies/h/" + id }

// noDevices is a register without any.
type noDevices struct{}

func (noDevices) Find(context.Context, string) (string, string, error) {
	return "", "", wire.Errorf(wire.NotFound, "none")
}
func (noDevices) Online(string) bool { return false }
func (noDevices) Run(context.Context, string, wire.Run) (wire.RunResult, error) {
	return wire.RunResult{}, wire.Errorf(wire.Offline, "none")
}
func (noDevices) Commands(context.Context, string) (Commands, error) { return Commands{}, nil }
func (noDevices) Arrivals(ctx context.Context, _ func(string))       { <-ctx.Done() }

// bench is Hooks on a database, with a clock that can be set.
type bench struct {
	*Hooks
	t      testing.TB
	store  *store.Store
	broker *broker

	mu    sync.Mutex
	ahead time.Duration
}

func (b *bench) now() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Now().Add(b.ahead)
}

func (b *bench) forward(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ahead += d
}

const testSecret = "0123456789abcdef0123456789abcdef"

func newBench(t testing.TB, dir string) *bench {
	t.Helper()
	st, err := store.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := seal.New(testSecret)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, store: st, broker: &broker{got: make(chan mqtt.Message, 10_000)}}
	b.Hooks, err = New(t.Context(), Options{Log: slog.New(slog.DiscardHandler), Now: b.now, Store: st, Sealer: sealer, Events: events.New(st, b.now), URL: "http://hub",
		Broker: b.broker, Transforms: transform.NewPool(transform.Options{}), Devices: noDevices{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	return b
}

// run runs until the returned function is called.
func (b *bench) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- b.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-ran; err != nil && !errors.Is(err, context.Canceled) {
				b.t.Error(err)
			}
		})
	}
	b.t.Cleanup(stop)
	b.until("it runs", func() bool { b.Hooks.mu.Lock(); defer b.Hooks.mu.Unlock(); return b.life != nil })
	return stop
}

func (b *bench) until(what string, is func() bool) {
	b.t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-deadline:
			b.t.Fatalf("it is never so that %s", what)
		}
	}
}

func (b *bench) publishing(change func(*Settings)) Source {
	b.t.Helper()
	s, _, err := b.Create(b.t.Context(), "", Change{Settings: func(s *Settings) {
		*s = Settings{Verify: Verification{Kind: VerifyNone}, Rate: 10_000, Burst: 10_000, ExpiresSeconds: 3600,
			Action: Action{Kind: ActionPublish, Topic: "hooks/a"}}
		if change != nil {
			change(s)
		}
	}})
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

func (b *bench) setting(name, value string) {
	b.t.Helper()
	if err := b.store.Write(b.t.Context(), func(q *store.Queries) error {
		return q.PutSetting(b.t.Context(), store.PutSettingParams{Name: name, Value: value})
	}); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) send(s Source, body string, headers ...string) (Answer, error) {
	return b.ask(context.Background(), s, "", body, headers...)
}

// ask sends with a query.
func (b *bench) ask(ctx context.Context, s Source, query, body string, headers ...string) (Answer, error) {
	return b.Receive(ctx, requestTo(s, query, body, headers...))
}

// sendFrom sends from an address.
func (b *bench) sendFrom(address string, s Source, body string, headers ...string) (Answer, error) {
	r := requestTo(s, "", body, headers...)
	r.Address = address
	return b.Receive(context.Background(), r)
}

func requestTo(s Source, query, body string, headers ...string) Request {
	r := Request{Slug: s.Slug, Method: http.MethodPost, URL: &url.URL{Path: "/hook/" + s.Slug, RawQuery: query}, Header: http.Header{}, Body: strings.NewReader(body), Length: int64(len(body))}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return r
}

func (b *bench) message() mqtt.Message {
	b.t.Helper()
	select {
	case m := <-b.broker.got:
		return m
	case <-time.After(time.Minute):
		b.t.Fatal("nothing was published")
		return mqtt.Message{}
	}
}

// only is the one request that was kept.
func (b *bench) only() Entry {
	b.t.Helper()
	entries, _, err := b.Requests(b.t.Context(), Filter{Limit: 10})
	if err != nil || len(entries) != 1 {
		b.t.Fatalf("%+v, %v", entries, err)
	}
	return entries[0]
}

// A hub that dies with a request in hand leaves it to the next, under the same id; and what the dead one still writes is nobody's.
func TestDeadHubsRequestIsAnothers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	dead := newBench(t, dir) // never runs: what it accepts has its lease, and nothing is done
	s := dead.publishing(nil)
	a, err := dead.send(s, "x")
	if err != nil || a.Status != http.StatusAccepted {
		t.Fatal(a, err)
	}
	row, err := dead.row(t.Context(), dead.only().ID)
	if err != nil || row.Owner == "" {
		t.Fatalf("owner %q, %v", row.Owner, err)
	}
	next := newBench(t, dir)
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
	b := newBench(t, storetest.Dir(t))
	s := b.publishing(nil)
	b.broker.set(wire.Errorf(wire.Offline, "The broker cannot be reached."))
	b.run()
	if _, err := b.send(s, "x"); err != nil {
		t.Fatal(err)
	}
	b.until("it was tried", func() bool { e := b.only(); return e.Attempts > 1 && strings.Contains(e.Error, "cannot be reached") })
	b.forward(time.Hour)
	b.until("it has failed", func() bool { return b.only().State == stateFailed })
	if e := b.only(); !strings.Contains(e.Error, "in its time") || !strings.Contains(e.Error, "cannot be reached") {
		t.Errorf("error %q", e.Error)
	}
	rows, err := b.store.Read().EventsAfter(t.Context(), store.EventsAfterParams{AtMost: 100})
	if err != nil || rows[len(rows)-1].Type != events.HookFailed {
		t.Errorf("events %+v, %v", rows, err)
	}
	b.broker.set(nil)
	if _, err := b.Replay(t.Context(), b.only().ID); err != nil {
		t.Fatal(err)
	}
	b.message()
}

// A repeat of what failed is done again, under the first id: its sender was never told that it was done.
func TestRepeatOfFailedIsDoneAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t, storetest.Dir(t))
	s := b.publishing(nil)
	b.broker.set(wire.Errorf(wire.Forbidden, "no"))
	b.run()
	if _, err := b.send(s, "x", "Idempotency-Key", "k"); err != nil {
		t.Fatal(err)
	}
	b.until("it has failed", func() bool { return b.only().State == stateFailed })
	b.broker.set(nil)
	a, err := b.send(s, "x", "Idempotency-Key", "k")
	if err != nil || a.Header[headerDuplicate] != "true" {
		t.Fatal(a, err)
	}
	if m := b.message(); m.UserProperties[0].Value != b.only().ID {
		t.Errorf("%+v", m.UserProperties)
	}
}

// Keys are forgotten behind their time, and not before.
func TestRepeatsAreForgotten(t *testing.T) {
	t.Parallel()
	b := newBench(t, storetest.Dir(t))
	s := b.publishing(func(s *Settings) {
		s.Action = Action{Kind: ActionStore}
		s.Dedupe = Dedupe{Header: "X-Id", Hours: new(2)}
	})
	for _, row := range []struct {
		after time.Duration
		same  bool
	}{{0, false}, {time.Hour, true}, {59 * time.Minute, true}, {2 * time.Minute, false}, {time.Minute, true}} {
		b.forward(row.after)
		if err := b.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		a, err := b.send(s, "x", "X-Id", "1")
		if err != nil || (a.Header[headerDuplicate] == "true") != row.same {
			t.Errorf("after %v: %v, %v", row.after, a.Header, err)
		}
	}
}

func TestSweepKeepsWhatWaits(t *testing.T) {
	t.Parallel()
	b := newBench(t, storetest.Dir(t))
	waits, kept := b.publishing(nil), b.publishing(func(s *Settings) { s.Action = Action{Kind: ActionStore} })
	for range 20 {
		if _, err := b.send(kept, "0123456789"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.send(waits, "0123456789"); err != nil {
		t.Fatal(err)
	}
	count := func() int64 {
		f, err := b.store.Read().HookRequestFigures(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return f.Count
	}
	for _, row := range []struct {
		keep string // less than the settings take
		want int64
	}{{`{"max_messages":10}`, 11}, {`{"max_bytes":60}`, 6}, {`{"requests_days":0}`, 1}} {
		b.forward(time.Second)
		b.setting("retention", row.keep)
		if err := b.Sweep(t.Context()); err != nil || count() > row.want || count() < 1 {
			t.Errorf("%+v: %d are left, want %d, %v", row.keep, count(), row.want, err)
		}
	}
	b.setting("retention", "no JSON")
	if err := b.Sweep(t.Context()); err == nil || count() != 1 {
		t.Errorf("by settings that cannot be read: %d are left, %v", count(), err)
	}
}

// What another process changes is known soon.
func TestSourcesOfAnotherProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	hub, beside := newBench(t, dir), newBench(t, dir)
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
	b := newBench(t, storetest.Dir(t))
	s := b.publishing(func(s *Settings) { s.Action = Action{Kind: ActionStore} })
	if !b.budget.TryAcquire(maxInMemory - 8<<10) {
		t.Fatal("held before")
	}
	if _, err := b.send(s, strings.Repeat("x", 4000)); err != nil {
		t.Errorf("a small one: %v", err)
	}
	if _, err := b.send(s, strings.Repeat("x", 100_000)); wire.CodeOf(err) != wire.RateLimited {
		t.Errorf("a large one: %v", err)
	}
	b.budget.Release(maxInMemory - 8<<10)
	if !b.budget.TryAcquire(maxInMemory) {
		t.Error("something stays held")
	}
}

// Senders whom nobody has verified, and who stall, take the memory of their source alone: others are served, and so are they
// when it is free again.
func TestStrangersTakeNoOtherSourcesMemory(t *testing.T) {
	t.Parallel()
	b := newBench(t, storetest.Dir(t))
	attacked := b.publishing(func(s *Settings) { s.Action = Action{Kind: ActionStore} })
	other := b.publishing(func(s *Settings) { s.Action = Action{Kind: ActionStore} })
	stalled := b.lookup(attacked.Slug)
	var holds []*hold
	for {
		h := stalled.hold(b.budget)
		if holds = append(holds, h); !h.more(1 << 20) {
			break
		}
	}
	if n := len(holds); n > maxInMemory/4>>20+1 {
		t.Errorf("one source took %d MiB", n)
	}
	if _, err := b.send(attacked, "x"); wire.CodeOf(err) != wire.RateLimited {
		t.Errorf("at the source whose memory is taken: %v", err)
	}
	if _, err := b.send(other, strings.Repeat("x", 100_000)); err != nil {
		t.Errorf("at another source: %v", err)
	}
	for _, h := range holds {
		h.release()
	}
	if _, err := b.send(attacked, "x"); err != nil {
		t.Errorf("when they are gone: %v", err)
	}
	if n := stalled.unverified.Load(); n != 0 || !b.budget.TryAcquire(maxInMemory) {
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
	s := newBench(t, dir).publishing(nil)
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
	last := newBench(t, dir)
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
	b := newBench(t, dir)
	b.broker.got = make(chan mqtt.Message) // each waits for the one before
	go func() {
		for range b.broker.got {
		}
	}()
	b.run()
	s := Source{Slug: os.Getenv("ADIT_TEST_SLUG")}
	for {
		a, err := b.send(s, "x")
		if err != nil {
			t.Fatal(err)
		}
		id := a.Header["Adit-Request"]
		if _, err := fmt.Println(id); err != nil {
			return
		}
	}
}
