package messaging

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/wire"
)

// What a page is sent at most.
const (
	frameEvery = 100 * time.Millisecond
	frameSize  = 200 // messages, each of another topic
)

// Frame is what a tap gives at once. Dropped of the Received messages are in no frame: a later one of their topic came
// before the frame left, or too many waited. Problem says that a device's broker cannot be reached; it will be tried again.
type Frame struct {
	Messages          []Sample
	Received, Dropped int
	Problem           error
}

// tap is one reader: the last message of each topic that waits for a frame. Its writers never wait.
type tap struct {
	filter string
	may    func(topic string) bool // nil allows all

	mu                sync.Mutex
	waiting           map[string]*Sample
	queue             []*Sample // in which topics began to wait
	bytes             int
	order             uint64
	received, dropped int
	problem           error
	wake              chan struct{}
}

func newTap(filter string, may func(string) bool) *tap {
	return &tap{filter: filter, may: may, waiting: map[string]*Sample{}, wake: make(chan struct{}, 1)}
}

// take takes a message as it passes.
func (t *tap) take(s Sample) {
	if t.may != nil && !t.may(s.Topic) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.received++
	if !t.putLocked(s) {
		t.dropped++
	}
	t.wakeLocked()
}

// seed takes the message that a topic had last when the reader came. It counts as no message.
func (t *tap) seed(s Sample) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if w, ok := t.waiting[s.Topic]; ok && !w.At.Before(s.At) {
		return
	}
	t.putLocked(s)
	t.wakeLocked()
}

// putLocked lets a message wait, in the place of the one before it. It fails where something was lost.
func (t *tap) putLocked(s Sample) bool {
	t.order++
	s.order = t.order
	if w, ok := t.waiting[s.Topic]; ok {
		t.bytes += s.cost() - w.cost()
		*w = s
		return false
	}
	if len(t.waiting) >= maxTopics || t.bytes+s.cost() > maxKept {
		return false
	}
	t.bytes += s.cost()
	t.waiting[s.Topic] = &s
	t.queue = append(t.queue, &s)
	return true
}

// fail says why nothing comes; nil, that it does again, which a frame tells a reader even where it is empty.
func (t *tap) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.problem = err
	t.wakeLocked()
}

func (t *tap) wakeLocked() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// frame takes out what waited longest.
func (t *tap) frame() Frame {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := min(len(t.queue), frameSize)
	f := Frame{Messages: make([]Sample, 0, n), Received: t.received, Dropped: t.dropped, Problem: t.problem}
	for _, s := range t.queue[:n] {
		f.Messages = append(f.Messages, *s)
		t.bytes -= s.cost()
		delete(t.waiting, s.Topic)
	}
	clear(t.queue[:n])
	if t.queue = t.queue[n:]; len(t.queue) == 0 {
		t.queue = nil
	} else {
		t.wakeLocked()
	}
	slices.SortFunc(f.Messages, func(a, b Sample) int { return cmp.Compare(a.order, b.order) })
	t.received, t.dropped, t.problem = 0, 0, nil
	return f
}

// run sends frames as there is something to show, until ctx ends or send fails.
func (t *tap) run(ctx context.Context, send func(Frame) error) error {
	pace := time.NewTimer(0)
	defer pace.Stop()
	for {
		select {
		case <-pace.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		select {
		case <-t.wake:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		pace.Reset(frameEvery)
		if err := send(t.frame()); err != nil {
			return err
		}
	}
}

// Caps on the taps that are open at once: each may keep maxKept.
const (
	tapsInAll   = 64
	tapsPerUser = 16
)

// Look is what somebody wants to see.
type Look struct {
	User   string                  // who looks, by id
	Device string                  // by id, whose own broker it is; empty for the hub's
	Filter string                  // a TopicFilter
	May    func(topic string) bool // which topics they may see, asked for each message; nil for all
	Begin  func() error            // called once, when nothing can be refused any more
	Send   func(Frame) error
}

// Tap sends the messages that match as frames until ctx ends or sending fails; the first frames hold the last message of each
// topic. It returns nil where ctx ended. Errors: invalid, rate_limited.
func (e *Exchange) Tap(ctx context.Context, look Look) error {
	plain, ok := access.Unshared(look.Filter)
	if !ok || plain != look.Filter || !access.ValidTopic(look.Filter) {
		return invalidField("filter", "This is no topic filter: + and # stand for whole levels, # only for the last.")
	}
	leave, ok := e.enter(look.User)
	if !ok {
		return wire.Errorf(wire.RateLimited, "Too many pages show MQTT messages at once. Close some.")
	}
	defer leave()
	t := newTap(look.Filter, look.May)
	end, err := e.feed(ctx, look, t)
	if err != nil {
		return err
	}
	defer end()
	if err := look.Begin(); err != nil {
		return err
	}
	if err := t.run(ctx, look.Send); ctx.Err() == nil {
		return err
	}
	return nil
}

// feed has a tap fed until end is called.
func (e *Exchange) feed(ctx context.Context, look Look, t *tap) (end func(), err error) {
	if look.Device != "" {
		return e.devices.join(look.Device, look.User, t), nil
	}
	return e.tapHub(ctx, t)
}

// tapHub feeds a tap from the hub's broker.
func (e *Exchange) tapHub(ctx context.Context, t *tap) (end func(), err error) {
	if end, err = e.Backend.Subscribe(t.filter, func(m Received) { t.take(SampleOf(m)) }); err != nil {
		return nil, err
	}
	if err := e.seedRetained(ctx, t); err != nil {
		end()
		return nil, err
	}
	for _, s := range e.last.matching(t.filter, maxTopics, t.may) {
		t.seed(s)
	}
	return end, nil
}

func (e *Exchange) seedRetained(ctx context.Context, t *tap) error {
	const page = 1000
	after := ""
	for range maxTopics / page {
		got, err := e.Backend.Retained(ctx, t.filter, after, page, t.may)
		if err != nil {
			return err
		}
		for _, m := range got.Messages {
			m.Retain = true
			t.seed(SampleOf(m))
			after = m.Topic
		}
		if !got.More {
			break
		}
	}
	return nil
}

func (e *Exchange) enter(user string) (leave func(), ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.taps >= tapsInAll || e.tapsBy[user] >= tapsPerUser {
		return nil, false
	}
	e.taps++
	e.tapsBy[user]++
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.taps--
		if e.tapsBy[user]--; e.tapsBy[user] == 0 {
			delete(e.tapsBy, user)
		}
	}, true
}
