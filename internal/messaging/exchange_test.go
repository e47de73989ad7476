package messaging

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/wire"
)

// exchange runs one on a memory until the test ends.
func (r *rig) exchange(change ...func(*ExchangeOptions)) (*Exchange, *memory) {
	r.t.Helper()
	m := newMemory()
	o := ExchangeOptions{Log: r.Log, Now: time.Now, Registry: r.Registry, Backend: m, RunBackend: m.run, Name: "h"}
	for _, f := range change {
		f(&o)
	}
	e := NewExchange(o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	within(r.t, func() bool { e.mu.Lock(); defer e.mu.Unlock(); return e.life != nil })
	r.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
	})
	return e, m
}

func sample(topic, payload string) Sample {
	return SampleOf(Received{Message: mqtt.Message{Topic: topic, Payload: []byte(payload)}, At: time.Unix(1, 0)})
}

// A page that reads slower than messages come is sent the last of each topic, and told how many it does not see.
func TestTapMerges(t *testing.T) {
	t.Parallel()
	tap := newTap("#", func(topic string) bool { return topic != "secret" })
	for i := range 1000 {
		tap.take(sample(fmt.Sprintf("t/%d", i%3), fmt.Sprint(i)))
		tap.take(sample("secret", "x"))
	}
	f := tap.frame()
	if len(f.Messages) != 3 || f.Received != 1000 || f.Dropped != 997 {
		t.Fatalf("%d messages of %d, %d dropped", len(f.Messages), f.Received, f.Dropped)
	}
	for i, want := range []string{"997", "998", "999"} {
		if got := f.Messages[i]; string(got.Payload) != want {
			t.Errorf("%d: %q", i, got.Payload)
		}
	}
	if f = tap.frame(); len(f.Messages) != 0 || f.Received != 0 {
		t.Errorf("%+v comes twice", f)
	}
}

// However many topics there are, a frame has 200 of them, what waits is bounded, and the rest is counted.
func TestTapIsBounded(t *testing.T) {
	t.Parallel()
	tap := newTap("#", nil)
	const extra = 500
	for i := range maxTopics + extra {
		tap.take(sample(fmt.Sprintf("t/%d", i), "x"))
	}
	seen, dropped := 0, 0
	for range maxTopics/frameSize + 1 {
		f := tap.frame()
		if len(f.Messages) > frameSize {
			t.Fatalf("%d messages in a frame", len(f.Messages))
		}
		seen += len(f.Messages)
		dropped += f.Dropped
	}
	if seen != maxTopics || dropped != extra || tap.bytes != 0 {
		t.Errorf("%d seen, %d dropped, %d bytes left", seen, dropped, tap.bytes)
	}
	big := strings.Repeat("x", maxPreview)
	for i := range maxTopics {
		tap.take(sample(fmt.Sprintf("t/%d", i), big))
	}
	if tap.bytes > maxKept {
		t.Errorf("%d bytes wait", tap.bytes)
	}
}

// At most ten frames a second leave, the first at once; a busy topic does not keep others from leaving.
// A message that takes the place of a smaller one counts in full: a reader who is slow must not have a device fill the hub.
func TestTapIsBoundedWhereMessagesGrow(t *testing.T) {
	t.Parallel()
	tp := newTap("#", nil)
	large := mqtt.UserProperty{Name: "x", Value: strings.Repeat("x", 1<<19)}
	for _, properties := range [][]mqtt.UserProperty{nil, {large}} {
		for i := range 4 * maxKept / len(large.Value) {
			s := sample(fmt.Sprint("a/", i), "x")
			s.UserProperties = properties
			tp.take(s)
		}
	}
	if tp.bytes > maxKept || tp.dropped == 0 {
		t.Errorf("%d bytes wait, %d are dropped", tp.bytes, tp.dropped)
	}
}

func TestTapPaces(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tap := newTap("#", nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second+50*time.Millisecond)
		defer cancel()
		began := time.Now()
		var at []time.Duration
		go func() {
			for tick := time.NewTicker(time.Millisecond); ; {
				select {
				case <-tick.C:
					tap.take(sample("busy", "x"))
				case <-ctx.Done():
					return
				}
			}
		}()
		err := tap.run(ctx, func(Frame) error { at = append(at, time.Since(began)); return nil })
		if !errors.Is(err, context.DeadlineExceeded) || len(at) != 11 {
			t.Errorf("%v: %d frames at %v", err, len(at), at)
		}
		for i := 1; i < len(at); i++ {
			if at[i]-at[i-1] < frameEvery {
				t.Errorf("frames %v apart", at[i]-at[i-1])
			}
		}
	})
}

func TestLastValuesAreBounded(t *testing.T) {
	t.Parallel()
	l := newLastValues()
	for i := range maxTopics + 10 {
		l.put(sample(fmt.Sprintf("t/%d", i), "x"))
	}
	if n := len(l.matching("#", 2*maxTopics, nil)); n != maxTopics {
		t.Errorf("%d topics", n)
	}
	if got := l.matching("t/0", 1, nil); len(got) != 0 {
		t.Error("the one that was silent longest stays")
	}
	big := make([]byte, 1<<20)
	for i := range maxTopics {
		l.put(SampleOf(Received{Message: mqtt.Message{Topic: fmt.Sprintf("big/%d", i), Payload: big}}))
	}
	if got := l.matching("big/#", 1, nil); l.bytes > maxKept || len(got) != 1 || got[0].Bytes != 1<<20 || len(got[0].Payload) != maxPreview {
		t.Errorf("%d bytes kept", l.bytes)
	}
	l.forget("big")
	l.forget("t")
	if l.bytes != 0 || len(l.byTopic) != 0 || l.byAge.Len() != 0 {
		t.Errorf("%d bytes of nothing", l.bytes)
	}
}

// frames opens a tap and gives its messages by topic as they come.
func frames(t *testing.T, e *Exchange, user, device, filter string, may func(string) bool) <-chan Frame {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out, done := make(chan Frame, 1000), make(chan error, 1)
	go func() {
		done <- e.Tap(ctx, Look{user, device, filter, may, func() error { return nil }, func(f Frame) error { out <- f; return nil }})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return out
}

// await gives the next message of a topic, or the next problem for an empty one.
func await(t *testing.T, from <-chan Frame, topic string) Sample {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		select {
		case f := <-from:
			if topic == "" && f.Problem != nil {
				return Sample{}
			}
			for _, s := range f.Messages {
				if s.Topic == topic {
					return s
				}
			}
		case <-deadline:
			t.Fatalf("no message of %q", topic)
		}
	}
}

func TestTapOfTheHub(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e, m := r.exchange()
	r.must(m.Publish(t.Context(), mqtt.Message{Topic: "devices/kitchen/old", Payload: []byte("kept"), Retain: true}, "kitchen"))
	live := frames(t, e, "u", "", "devices/#", func(topic string) bool { return topic != "devices/shed" })
	if s := await(t, live, "devices/kitchen/old"); !s.Retain || string(s.Payload) != "kept" || s.From != "kitchen" {
		t.Errorf("%+v", s)
	}
	r.must(m.Publish(t.Context(), mqtt.Message{Topic: "devices/shed", Payload: []byte("x")}, "shed"))
	r.must(m.Publish(t.Context(), mqtt.Message{Topic: "devices/kitchen/new", Payload: bytes.Repeat([]byte("x"), 5000), QoS: 1}, "kitchen"))
	if s := await(t, live, "devices/kitchen/new"); s.Bytes != 5000 || len(s.Payload) != maxPreview || s.QoS != 1 {
		t.Errorf("%+v", s)
	}
	// Who comes later sees the last message of each topic that they may.
	later := frames(t, e, "u", "", "#", nil)
	await(t, later, "devices/kitchen/new")
	if got := e.Last("kitchen", 10, nil); len(got) != 2 {
		t.Errorf("%+v", got)
	}
	for _, filter := range []string{"", "a/#/b", "$share/g/a", "a+"} {
		if err := e.Tap(t.Context(), Look{User: "u", Filter: filter}); wire.CodeOf(err) != wire.Invalid {
			t.Errorf("%q: %v", filter, err)
		}
	}
	r.must(e.Renamed(t.Context(), "kitchen", "hall"))
	r.must(e.Renamed(t.Context(), "shed", ""))
	want := []string{"devices/kitchen devices/hall", "cmds/kitchen cmds/hall", "devices/shed", "cmds/shed"}
	if !slices.Equal(m.moved, want) || len(e.Last("kitchen", 10, nil)) != 0 {
		t.Errorf("%q", m.moved)
	}
}

func TestTapsAreCapped(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e, _ := r.exchange()
	for range tapsPerUser {
		frames(t, e, "u", "", "#", nil)
	}
	within(t, func() bool { e.mu.Lock(); defer e.mu.Unlock(); return e.taps == tapsPerUser })
	if err := e.Tap(t.Context(), Look{User: "u", Filter: "#"}); wire.CodeOf(err) != wire.RateLimited {
		t.Errorf("%v", err)
	}
}

// within waits for what must become so.
func within(t *testing.T, is func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	for tick := time.NewTicker(5 * time.Millisecond); !is(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("it does not become so")
		}
	}
}

// announcing says when the first connection is waited for.
type announcing struct {
	net.Listener
	begins func()
}

func (l *announcing) Accept() (net.Conn, error) {
	l.begins()
	return l.Listener.Accept()
}

// Doors end with Run: it returns when what they let in is gone, and later comers are turned away. Who came a moment before it waits.
func TestDoorsEndWithRun(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	m := newMemory()
	e := NewExchange(ExchangeOptions{Log: r.Log, Now: time.Now, Registry: r.Registry, Backend: m, RunBackend: m.run, Name: "h"})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	r.must(err)
	ctx, cancel := context.WithCancel(t.Context())
	running, listening, carried := make(chan error, 1), make(chan error, 1), make(chan error, 1)
	accepting := make(chan struct{})
	go func() { listening <- e.Listen(ctx, &announcing{l, sync.OnceFunc(func() { close(accepting) })}) }()
	conn, err := net.Dial("tcp", l.Addr().String())
	r.must(err)
	defer conn.Close()
	select {
	case <-accepting:
		t.Fatal("somebody is let in before Run")
	case <-time.After(10 * time.Millisecond): // no more than a chance to be wrong
	}
	go func() { running <- e.Run(ctx) }()
	if door := <-m.served; door.Name != "tcp" || door.Address != "127.0.0.1" || door.By != nil {
		t.Errorf("%+v", door)
	}
	ours, theirs := net.Pipe()
	go func() { carried <- e.Carrier(t.Context(), r.kitchen.ID, theirs) }()
	if door := <-m.served; door.Name != "carrier" || *door.By != r.kitchen {
		t.Errorf("%+v", door)
	}
	cancel()
	<-listening
	<-running
	<-carried
	for _, c := range []net.Conn{conn, ours} {
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("a connection outlives Run")
		}
	}
	late, far := net.Pipe()
	e.Accept(far, Door{Name: "websocket"})
	if _, err := late.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("after Run: %v", err)
	}
}

// answering is somebody who answers what comes to a topic.
func (m *memory) answering(topic string, answer func(Received) mqtt.Message) {
	m.mu.Lock()
	m.clients = []Client{{Connected: true, Subscriptions: []Subscription{{Filter: topic}}}}
	m.mu.Unlock()
	_, _ = m.Subscribe(topic, func(r Received) { _ = m.Publish(context.Background(), answer(r), "kitchen") })
}

func TestRequests(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e, m := r.exchange()
	olivia := r.people["olivia"]
	ask := func(p *auth.Principal, msg mqtt.Message, wait time.Duration) (*Reply, error) {
		return e.Publish(t.Context(), p, "", msg, wait)
	}
	if _, err := ask(olivia, mqtt.Message{Topic: "cmds/kitchen/x"}, time.Second); wire.CodeOf(err) != wire.Offline || errors.Is(err, ErrSilent) {
		t.Errorf("nobody listens: %v", err)
	}
	m.answering("cmds/kitchen/+", func(q Received) mqtt.Message {
		if !r.MayPublish(r.kitchen, "c", q.ResponseTopic) || !strings.HasPrefix(q.ResponseTopic, "replies/h/") || q.Expiry != time.Minute || len(q.Correlation) != 16 {
			t.Errorf("%+v", q)
		}
		return mqtt.Message{Topic: q.ResponseTopic, Correlation: q.Correlation, Payload: []byte("done"), ContentType: "text/plain"}
	})
	reply, err := ask(olivia, mqtt.Message{Topic: "cmds/kitchen/x"}, time.Minute)
	if err != nil || string(reply.Payload) != "done" || reply.ContentType != "text/plain" || reply.Took <= 0 {
		t.Errorf("%+v %v", reply, err)
	}
	if len(r.replies.waiting) != 0 {
		t.Error("an answer is awaited for ever")
	}
	m.answering("cmds/shed/wrong", func(q Received) mqtt.Message {
		return mqtt.Message{Topic: q.ResponseTopic, Correlation: []byte("another")}
	})
	if _, err := ask(olivia, mqtt.Message{Topic: "cmds/shed/wrong", ResponseTopic: "mine", Correlation: []byte("a")}, 50*time.Millisecond); !errors.Is(err, ErrSilent) || wire.CodeOf(err) != wire.Offline {
		t.Errorf("an answer to another request: %v", err)
	}
	for name, test := range map[string]struct {
		as   string
		m    mqtt.Message
		code wire.Code
	}{
		"not allowed":        {"otto", mqtt.Message{Topic: "cmds/kitchen/x"}, wire.Forbidden},
		"a wildcard":         {"olivia", mqtt.Message{Topic: "cmds/+/x"}, wire.Invalid},
		"no topic":           {"olivia", mqtt.Message{}, wire.Invalid},
		"the system":         {"olivia", mqtt.Message{Topic: "$SYS/x"}, wire.Forbidden},
		"65,535 bytes":       {"olivia", mqtt.Message{Topic: strings.Repeat("a", 65535)}, wire.Invalid},
		"a large payload":    {"olivia", mqtt.Message{Topic: "a", Payload: make([]byte, MaxPayload+1)}, wire.TooLarge},
		"response wildcards": {"olivia", mqtt.Message{Topic: "a", ResponseTopic: "#"}, wire.Invalid},
	} {
		if _, err := ask(r.people[test.as], test.m, 0); wire.CodeOf(err) != test.code {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A response topic that the asker chooses gives nobody a right to write it.
func TestOwnResponseTopicGivesNoRight(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e, m := r.exchange()
	asked := make(chan bool, 1)
	m.answering("cmds/kitchen/+", func(q Received) mqtt.Message {
		asked <- r.MayPublish(r.kitchen, "c", q.ResponseTopic)
		return mqtt.Message{Topic: "elsewhere"}
	})
	_, err := e.Publish(t.Context(), r.people["olivia"], "", mqtt.Message{Topic: "cmds/kitchen/x", ResponseTopic: "cmds/shed/x"}, 50*time.Millisecond)
	if !errors.Is(err, ErrSilent) || <-asked {
		t.Errorf("kitchen may write to shed: %v", err)
	}
}
