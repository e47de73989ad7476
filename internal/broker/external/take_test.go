package external

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/storetest"
)

// taker wants what is below devices/ and keeps payloads in memory.
type taker struct {
	mu    sync.Mutex
	fails int
	taken []string
	held  int // for which room is reserved
}

func (*taker) Wanting() bool                     { return true }
func (*taker) Filters() []string                 { return []string{"devices/#", "devices/oven/#"} }
func (*taker) FiltersChanged() <-chan struct{}   { return nil }
func (k *taker) Taken(list []messaging.Received) { k.hold(-len(list)) }
func (k *taker) Left(list []messaging.Received)  { k.hold(-len(list)) }
func (k *taker) Wants(messaging.Received) (wanted, room bool) {
	k.hold(1)
	return true, true
}

func (k *taker) hold(more int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.held += more
}

func (k *taker) Take(_ context.Context, _ *store.Queries, list []messaging.Received) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fails--; k.fails >= 0 {
		return errors.New("the disk is full")
	}
	for _, m := range list {
		k.taken = append(k.taken, string(m.Payload))
	}
	return nil
}

func (k *taker) has(payload string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Contains(k.taken, payload)
}

// What an external broker acknowledged while the hub was away, or could not write, comes when it is back; overlapping filters bring it once.
func TestTakingOutlivesTheHub(t *testing.T) {
	t.Parallel()
	engine := newMosquitto(t)
	k := &taker{}
	st, err := store.Open(t.Context(), storetest.Dir(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	takes := func(o *Options) { o.Store, o.Taker = st, k }
	hub := start(t, engine.Address, takes).connected(t)
	sender := engine.Connect(mqtt.Options{ClientID: "sender", Username: "adit_hub", Password: "pw", Clean: true})
	publish := func(payload string) {
		if err := sender.Publish(t.Context(), mqtt.Message{Topic: "devices/oven/t", Payload: []byte(payload), QoS: 1}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the hub takes", func() bool { publish("here"); return k.has("here") })
	k.mu.Lock()
	k.fails, k.taken = 1, nil
	k.mu.Unlock()
	publish("again")
	eventually(t, "what could not be written", func() bool { return k.has("again") })
	hub.stop()
	publish("away")
	start(t, engine.Address, takes)
	eventually(t, "what came meanwhile", func() bool { return k.has("away") })
	eventually(t, "no room is held", func() bool { k.mu.Lock(); defer k.mu.Unlock(); return k.held == 0 })
	k.mu.Lock()
	defer k.mu.Unlock()
	if slices.Index(k.taken, "away") != len(k.taken)-1 {
		t.Errorf("taken %v", k.taken)
	}
}
