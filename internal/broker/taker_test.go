package broker

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/storetest"
	"github.com/aditdev/adit/internal/wire"
)

// taker is a messaging.Taker that wants what is below hooks/ and keeps the payloads among the settings.
type taker struct {
	mu     sync.Mutex
	full   bool
	fails  int // how often Take will fail
	system bool
	taken  []string
	held   int // for which there is room, and of which nothing was said yet
}

func (k *taker) Wants(m messaging.Received) (wanted, room bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.system = k.system || strings.HasPrefix(m.Topic, "$")
	if wanted = strings.HasPrefix(m.Topic, "shared/hooks/"); wanted && !k.full {
		k.held++
	}
	return wanted, !wanted || !k.full
}

func (k *taker) Take(ctx context.Context, q *store.Queries, list []messaging.Received) error {
	k.mu.Lock()
	fails := k.fails > 0
	k.fails--
	k.mu.Unlock()
	if fails {
		return errors.New("the disk is full")
	}
	for _, m := range list {
		if err := q.PutSetting(ctx, store.PutSettingParams{Name: "taken " + string(m.Payload), Value: m.Device}); err != nil {
			return err
		}
	}
	return nil
}

func (k *taker) Taken(list []messaging.Received) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, m := range list {
		k.taken = append(k.taken, string(m.Payload))
	}
	k.held -= len(list)
}

func (k *taker) Left(list []messaging.Received) { k.set(func() { k.held -= len(list) }) }

func (k *taker) Wanting() bool                   { return true }
func (k *taker) Filters() []string               { return nil }
func (k *taker) FiltersChanged() <-chan struct{} { return nil }

func (k *taker) set(fn func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	fn()
}

// kept reports whether the database has a payload, and from which device.
func (r *rig) kept(payload string) (device string, ok bool) {
	device, err := r.store.Read().GetSetting(context.Background(), "taken "+payload)
	return device, err == nil
}

// DESIGN §9: a message that is acknowledged and wanted is on disk before the acknowledgement leaves, also where the disk was full first.
func TestTakerHasWhatIsAcknowledged(t *testing.T) {
	t.Parallel()
	k := &taker{}
	r := startIn(t, storetest.Dir(t), newPolicy(), func(o *Options) { o.Taker = k })
	oven := r.connect(t, hello(mqtt.V5, "oven", "o"))
	for payload, qos := range map[string]byte{"one": 1, "two": 2} {
		if code := oven.publish("shared/hooks/x", payload, qos); code.Failed() {
			t.Errorf("%s: %s", payload, code)
		}
		if device, ok := r.kept(payload); !ok || device != "dev_oven" {
			t.Errorf("%s is acknowledged and kept: %v, of %q", payload, ok, device)
		}
	}
	oven.publish("shared/hooks/x", "none", 0)
	eventually(t, "QoS 0", func() bool { _, ok := r.kept("none"); return ok })
	k.set(func() { k.fails = 1 })
	oven.publish("shared/hooks/x", "again", 1)
	if _, ok := r.kept("again"); !ok {
		t.Error("acknowledged before it was kept")
	}
	if err := r.Publish(t.Context(), mqtt.Message{Topic: "shared/hooks/x", Payload: []byte("own"), QoS: 1}, "hub"); err != nil {
		t.Error(err)
	}
	if _, ok := r.kept("own"); !ok {
		t.Error("the hub's own is not kept")
	}
	oven.publish("shared/other", "other", 1)
	if _, ok := r.kept("other"); ok || k.system || len(k.taken) != 5 {
		t.Errorf("other: %v, asked of $SYS: %v, taken %v", ok, k.system, k.taken)
	}
}

// The Taker hears of each message for which it has reserved room what became of it, also where it cannot be retained and so is refused.
func TestTakerHearsWhatIsLeft(t *testing.T) {
	t.Parallel()
	k := &taker{}
	r := startIn(t, storetest.Dir(t), newPolicy(), func(o *Options) { o.Taker = k })
	for _, size := range []int{1, maxRetainedPayload + 1} {
		err := r.Publish(t.Context(), mqtt.Message{Topic: "shared/hooks/x", Payload: make([]byte, size), QoS: 1, Retain: true}, "hub")
		if refused := size > maxRetainedPayload; wire.CodeOf(err) == wire.TooLarge != refused {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	if len(k.taken) != 1 || k.held != 0 {
		t.Errorf("%d taken, room for %d is held", len(k.taken), k.held)
	}
}

// What finds no room is refused: by a code of 5.0, by the end of the connection before; QoS 0 is counted. Nothing of it is delivered to others either.
func TestTakerIsFull(t *testing.T) {
	t.Parallel()
	k := &taker{full: true}
	r := startIn(t, storetest.Dir(t), newPolicy(), func(o *Options) { o.Taker = k })
	watch := r.connect(t, hello(mqtt.V311, "admin", "w"))
	watch.subscribe(1, "shared/#")
	five, three := r.connect(t, hello(mqtt.V5, "oven", "5")), r.connect(t, hello(mqtt.V311, "oven", "3"))
	for qos := byte(1); qos <= 2; qos++ {
		if code := five.publish("shared/hooks/x", "no", qos); code != mqtt.QuotaExceeded {
			t.Errorf("QoS %d: %s", qos, code)
		}
	}
	five.publish("shared/hooks/x", "no", 0)
	eventually(t, "QoS 0 is counted", func() bool { return r.Stats().Dropped == 3 })
	p := mqtt.NewPublish(mqtt.Message{Topic: "shared/hooks/x", Payload: []byte("no"), QoS: 1})
	p.ID = 1
	three.send(p)
	if q, err := three.next(); err == nil {
		t.Errorf("3.1.1 is answered by %T", q)
	}
	if err := r.Publish(t.Context(), mqtt.Message{Topic: "shared/hooks/x", QoS: 1}, "hub"); wire.CodeOf(err) != wire.RateLimited {
		t.Errorf("the hub's own: %v", err)
	}
	k.set(func() { k.full = false })
	if code := five.publish("shared/hooks/x", "yes", 1); code != mqtt.Success {
		t.Errorf("with room: %s", code)
	}
	if m := watch.receive(); string(m.Payload) != "yes" {
		t.Errorf("others get %q", m.Payload)
	}
}

// BenchmarkRoute is what a message costs under the lock, with nobody who takes it and with a Taker that wants nothing.
func BenchmarkRoute(b *testing.B) {
	for name, k := range map[string]messaging.Taker{"none": nil, "unwanted": &idleTaker{}} {
		b.Run(name, func(b *testing.B) {
			r := startIn(b, b.TempDir(), newPolicy(), func(o *Options) { o.Taker = k })
			m := newMessage(mqtt.Message{Topic: "devices/oven/t", Payload: []byte("21.5")}, r.now(), "oven", key{"dev_oven", "o"})
			r.mu.Lock()
			defer r.mu.Unlock()
			b.ReportAllocs()
			for b.Loop() {
				r.route(m)
			}
		})
	}
}

// idleTaker is as an Outbox without topics.
type idleTaker struct{ taker }

func (*idleTaker) Wanting() bool { return false }
