package outgoing

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/leaktest"
	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/seal"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/storetest"
	"github.com/aditdev/adit/internal/webhook/guard"
	"github.com/aditdev/adit/internal/webhook/transform"
	"github.com/aditdev/adit/internal/wire"
)

func TestMain(m *testing.M) {
	transform.WorkIfAsked()
	if asChild() {
		return
	}
	leaktest.Main(m)
}

// patience is how long a test waits for something that must happen.
const patience = time.Minute

var somebody = &auth.Principal{User: store.User{ID: "usr_test", Handle: "alice"}}

// clock is one that tests move.
type clock struct {
	mu  sync.Mutex
	at  time.Time
	put time.Duration // by how much it was put forward
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// set puts it forward, or back: no time passes.
func (c *clock) set(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at, c.put = c.at.Add(d), c.put+d
}

func (c *clock) elapsed() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Duration(c.at.UnixNano()) - c.put
}

// rig is an Outbox that runs, on a database of its own.
type rig struct {
	*Outbox
	t     testing.TB
	clock *clock
}

const sealedWith = "0123456789abcdef0123456789abcdef"

func newRig(t testing.TB, change ...func(*Options)) *rig {
	t.Helper()
	return openRig(t, storetest.Dir(t), change...)
}

// openRig opens an Outbox on a database that others may have open too, and runs it until the test ends.
func openRig(t testing.TB, dir string, change ...func(*Options)) *rig {
	t.Helper()
	r := stillRig(t, dir, change...)
	r.run()
	return r
}

func (r *rig) run() {
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = r.Events.Run(ctx) })
	running.Go(func() { _ = r.Gate.Run(ctx) })
	running.Go(func() {
		if err := r.Run(ctx); err != nil {
			r.t.Error(err)
		}
	})
	r.t.Cleanup(func() { stop(); running.Wait() })
}

// stillRig is one that does not run yet.
func stillRig(t testing.TB, dir string, change ...func(*Options)) *rig {
	t.Helper()
	st, err := store.Open(context.Background(), dir)
	must(t, err)
	t.Cleanup(func() { must(t, st.Close()) })
	sealer, err := seal.New(sealedWith)
	must(t, err)
	gate, err := auth.NewGate(context.Background(), st, time.Now)
	must(t, err)
	c := &clock{at: time.Now()}
	o := Options{Store: st, Sealer: sealer, Gate: gate, Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo})), Now: time.Now,
		Guard: guard.New([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}), Hub: "h1", Version: "1.2.3", Poll: 50 * time.Millisecond,
		Transform: func(_ context.Context, t transform.Transform, _ any) ([]byte, error) {
			if t.Text == "wrong" {
				return nil, wire.Errorf(wire.Invalid, "null cannot be indexed.")
			}
			return []byte(t.Text), nil
		}}
	for _, f := range change {
		f(&o)
	}
	if o.Events == nil {
		o.Events = events.New(st, o.Now)
	}
	b, err := New(context.Background(), o)
	must(t, err)
	return &rig{Outbox: b, t: t, clock: c}
}

// byClock has the Outbox go by the rig's clock.
func byClock(c *clock) func(*Options) {
	return func(o *Options) { o.Now, o.Elapsed = c.now, c.elapsed }
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// endpoint makes one; change may alter what it wants.
func (r *rig) endpoint(url string, change ...func(*Spec)) Endpoint {
	r.t.Helper()
	rate, conc := 1000.0, 8
	s := Spec{URL: &url, Rate: &rate, Concurrency: &conc}
	for _, f := range change {
		f(&s)
	}
	e, _, err := r.Create(context.Background(), somebody, s)
	must(r.t, err)
	return e
}

func ptr[T any](v T) *T { return &v }

// publish queues an MQTT message as the broker does: what it wants, then one transaction.
func (r *rig) publish(list ...messaging.Received) {
	r.t.Helper()
	for _, m := range list {
		if wanted, room := r.Wants(m); !wanted || !room {
			r.t.Fatalf("%s: wanted %v, room %v", m.Topic, wanted, room)
		}
	}
	must(r.t, r.Store.WriteQuietly(context.Background(), func(q *store.Queries) error { return r.Take(context.Background(), q, list) }))
	r.Taken(list)
}

func message(topic, payload string) messaging.Received {
	return messaging.Received{Message: mqtt.Message{Topic: topic, Payload: []byte(payload), QoS: 1}, At: time.Now(), From: "kitchen"}
}

// event writes one to the log.
func (r *rig) event(kind string, data events.Data) {
	r.t.Helper()
	must(r.t, r.Events.Append(context.Background(), events.Event{Type: kind, Data: data}))
}

// eventually polls a condition.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(25 * time.Millisecond) // each look costs a query
	defer tick.Stop()
	for end := time.Now().Add(patience); time.Now().Before(end); <-tick.C {
		if holds() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

// all lists deliveries, the oldest first.
func (r *rig) all(f Filter) []Delivery {
	r.t.Helper()
	list, _, err := r.Deliveries(context.Background(), f, 0, 10_000)
	must(r.t, err)
	for i, j := 0, len(list)-1; i < j; i, j = i+1, j-1 {
		list[i], list[j] = list[j], list[i]
	}
	return list
}

// settled waits until so many deliveries are in a state, with patience for each: on a busy machine hundreds in a row take more than a minute.
func (r *rig) settled(state string, n int) (list []Delivery) {
	r.t.Helper()
	for have := 0; have < n; have = len(list) {
		eventually(r.t, state, func() bool { list = r.all(Filter{State: state}); return len(list) > have })
	}
	return list
}

// get is a request as a receiver got it.
type got struct {
	header http.Header
	body   string
	at     time.Time
}

func (g got) id() string { return g.header.Get("webhook-id") }

func (g got) json(t testing.TB) (v map[string]any) {
	t.Helper()
	must(t, json.Unmarshal([]byte(g.body), &v))
	return v
}

// receiver is an HTTP server that keeps what it gets.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	got    []got
	answer http.HandlerFunc
}

func newReceiver(t testing.TB, answer http.HandlerFunc) *receiver {
	t.Helper()
	r := &receiver{answer: answer}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		r.mu.Lock()
		r.got = append(r.got, got{q.Header.Clone(), string(body), time.Now()})
		answer := r.answer
		r.mu.Unlock()
		if answer != nil {
			answer(w, q)
		}
	}))
	t.Cleanup(func() { r.CloseClientConnections(); r.Close() })
	return r
}

func (r *receiver) all() []got {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]got(nil), r.got...)
}

func (r *receiver) setAnswer(answer http.HandlerFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

func (r *receiver) await(t testing.TB, n int) []got {
	t.Helper()
	for have := 0; have < n; have = len(r.all()) {
		eventually(t, "requests", func() bool { return len(r.all()) > have })
	}
	return r.all()
}

func status(code int, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for _, h := range header {
			name, value, _ := strings.Cut(h, ": ")
			w.Header().Set(name, value)
		}
		w.WriteHeader(code)
	}
}

func received(topic, payload, contentType string) messaging.Received {
	m := message(topic, payload)
	m.ContentType = contentType
	return m
}

// fieldsOf are the fields that an error names.
func fieldsOf(err error) string {
	e, ok := errors.AsType[*wire.Error](err)
	if !ok {
		return ""
	}
	return strings.Join(slices.Collect(maps.Keys(e.Fields)), " ")
}
