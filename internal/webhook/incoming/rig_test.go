package incoming

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/seal"
	"github.com/aditdev/adit/internal/store"
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

// rig is Hooks on a database, with a clock that can be set.
type rig struct {
	*Hooks
	t      testing.TB
	store  *store.Store
	broker *broker

	mu    sync.Mutex
	ahead time.Duration
}

func (r *rig) now() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Now().Add(r.ahead)
}

func (r *rig) forward(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ahead += d
}

const testSecret = "0123456789abcdef0123456789abcdef"

func newRig(t testing.TB, dir string) *rig {
	t.Helper()
	st, err := store.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := seal.New(testSecret)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, store: st, broker: &broker{got: make(chan mqtt.Message, 10_000)}}
	r.Hooks, err = New(t.Context(), Options{Log: slog.New(slog.DiscardHandler), Now: r.now, Store: st, Sealer: sealer, Events: events.New(st, r.now), URL: "http://hub",
		Broker: r.broker, Transforms: transform.NewPool(transform.Options{}), Devices: noDevices{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	return r
}

// run runs until the returned function is called.
func (r *rig) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- r.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-ran; err != nil && !errors.Is(err, context.Canceled) {
				r.t.Error(err)
			}
		})
	}
	r.t.Cleanup(stop)
	r.until("it runs", func() bool { r.Hooks.mu.Lock(); defer r.Hooks.mu.Unlock(); return r.life != nil })
	return stop
}

func (r *rig) until(what string, is func() bool) {
	r.t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-deadline:
			r.t.Fatalf("it is never so that %s", what)
		}
	}
}

func (r *rig) publishing(change func(*Settings)) Source {
	r.t.Helper()
	s, _, err := r.Create(r.t.Context(), "", Change{Settings: func(s *Settings) {
		*s = Settings{Verify: Verification{Kind: VerifyNone}, Rate: 10_000, Burst: 10_000, ExpiresSeconds: 3600,
			Action: Action{Kind: ActionPublish, Topic: "hooks/a"}}
		if change != nil {
			change(s)
		}
	}})
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

func (r *rig) setting(name, value string) {
	r.t.Helper()
	if err := r.store.Write(r.t.Context(), func(q *store.Queries) error {
		return q.PutSetting(r.t.Context(), store.PutSettingParams{Name: name, Value: value})
	}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) send(s Source, body string, headers ...string) (Answer, error) {
	return r.ask(context.Background(), s, "", body, headers...)
}

// ask sends with a query.
func (r *rig) ask(ctx context.Context, s Source, query, body string, headers ...string) (Answer, error) {
	return r.Receive(ctx, requestTo(s, query, body, headers...))
}

// sendFrom sends from an address.
func (r *rig) sendFrom(address string, s Source, body string, headers ...string) (Answer, error) {
	request := requestTo(s, "", body, headers...)
	request.Address = address
	return r.Receive(context.Background(), request)
}

func requestTo(s Source, query, body string, headers ...string) Request {
	r := Request{Slug: s.Slug, Method: http.MethodPost, URL: &url.URL{Path: "/hook/" + s.Slug, RawQuery: query}, Header: http.Header{}, Body: strings.NewReader(body), Length: int64(len(body))}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return r
}

func (r *rig) message() mqtt.Message {
	r.t.Helper()
	select {
	case m := <-r.broker.got:
		return m
	case <-time.After(time.Minute):
		r.t.Fatal("nothing was published")
		return mqtt.Message{}
	}
}

// only is the one request that was kept.
func (r *rig) only() Entry {
	r.t.Helper()
	entries, _, err := r.Requests(r.t.Context(), Filter{Limit: 10})
	if err != nil || len(entries) != 1 {
		r.t.Fatalf("%+v, %v", entries, err)
	}
	return entries[0]
}
