package hubkeys_test

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/hubkeys"
	"github.com/aditdev/adit/internal/leaktest"
	"github.com/aditdev/adit/internal/seal"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/storetest"
	"github.com/aditdev/adit/internal/wire"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

type rig struct {
	*hubkeys.Keys
	t      *testing.T
	store  *store.Store
	sealer *seal.Sealer
	clock  atomic.Int64 // milliseconds that passed
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t}
	var err error
	r.store, err = store.Open(t.Context(), storetest.Dir(t))
	r.must(err)
	t.Cleanup(func() { _ = r.store.Close() })
	r.sealer, err = seal.New(strings.Repeat("s", seal.MinSecret))
	r.must(err)
	r.Keys = r.open()
	return r
}

func (r *rig) now() time.Time {
	return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(r.clock.Add(1)) * time.Millisecond)
}

// open is what another process sees.
func (r *rig) open() *hubkeys.Keys {
	r.t.Helper()
	k, err := hubkeys.Open(r.t.Context(), r.store, r.sealer, events.New(r.store, r.now), r.now)
	r.must(err)
	return k
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// device makes a row of a device that pins these keys.
func (r *rig) device(name, pins string) (id string) {
	r.t.Helper()
	id = "dev_" + name
	r.must(r.store.Write(r.t.Context(), func(q *store.Queries) error {
		_, err := q.CreateDevice(r.t.Context(), store.CreateDeviceParams{ID: id, Name: name, PublicKey: "key of " + name, Status: "active",
			Via: "agent", Facts: "{}"})
		if err == nil {
			err = q.SetDeviceHubKeys(r.t.Context(), store.SetDeviceHubKeysParams{ID: id, PublicKey: "key of " + name, HubKeys: pins})
		}
		return err
	}))
	return id
}

func (r *rig) pins(id string) string {
	r.t.Helper()
	d, err := r.store.Read().GetDevice(r.t.Context(), id)
	r.must(err)
	return d.HubKeys
}

func (r *rig) refuses(err error, says string) {
	r.t.Helper()
	if wire.CodeOf(err) != wire.Conflict || !strings.Contains(err.Error(), says) {
		r.t.Errorf("%v, want a conflict that says %q", err, says)
	}
}

// The three steps, each refused out of turn and while a device would be lost, and each seen by another process.
func TestSteps(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	first := r.Ring().Current
	kitchen := r.device("kitchen", "")
	r.device("shed", hubkeys.Encode(first))
	other := r.open()
	if !other.Ring().Current.Equal(first) {
		t.Fatal("a second process made another key")
	}
	r.refuses(r.Finish(ctx, true), "no next key")
	r.refuses(r.Drop(ctx, true), "no key before")
	r.must(r.Begin(ctx))
	next := r.Ring().Next
	r.must(other.Begin(ctx)) // changes nothing
	if !other.Ring().Next.Equal(next) || other.Ring().Previous != nil || r.pins(kitchen) != hubkeys.Encode(first) {
		t.Errorf("a second begin: %v, kitchen pins %q", other.Ring(), r.pins(kitchen))
	}
	r.refuses(r.Finish(ctx, false), "2 devices have not confirmed the next key yet: kitchen, shed")
	both := hubkeys.Encode(first) + " " + hubkeys.Encode(next)
	r.must(r.store.Write(ctx, func(q *store.Queries) error {
		return q.SetDeviceHubKeys(ctx, store.SetDeviceHubKeysParams{ID: kitchen, PublicKey: "key of kitchen", HubKeys: both})
	}))
	r.refuses(r.Finish(ctx, false), "1 devices")
	r.must(r.Finish(ctx, true))
	r.must(other.Reload(ctx))
	for _, ring := range []hubkeys.Ring{r.Ring(), other.Ring(), r.open().Ring()} {
		if !ring.Current.Equal(next) || !ring.Previous.Equal(first) || ring.Next != nil {
			t.Errorf("finished: %v", ring)
		}
	}
	r.refuses(r.Begin(ctx), "not over")
	r.refuses(r.Drop(ctx, false), "1 devices know no other key than the one before: shed")
	r.must(r.Drop(ctx, true))
	if ring := r.open().Ring(); !ring.Current.Equal(next) || ring.Previous != nil {
		t.Errorf("dropped: %v", ring)
	}
}

// An install code from before the key was replaced has that key's fingerprint in its line: its enrolment is signed by it.
func TestCodesFromBefore(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	before := r.now()
	first := r.Ring().Current
	r.must(r.Begin(t.Context()))
	next := r.Ring().Next
	signer, keys := r.Ring().Enrolling(r.now())
	if !signer.Equal(first) || !slices.Equal(keys, []string{hubkeys.Encode(first), hubkeys.Encode(next)}) {
		t.Errorf("with a next key: %v", keys)
	}
	r.must(r.Finish(t.Context(), false))
	for name, test := range map[string]struct {
		made   time.Time
		signer ed25519.PrivateKey
		keys   []string
	}{
		"a code from before": {before, first, []string{hubkeys.Encode(first), hubkeys.Encode(next)}},
		"a new code":         {r.now(), next, []string{hubkeys.Encode(next)}},
	} {
		if signer, keys := r.Ring().Enrolling(test.made); !signer.Equal(test.signer) || !slices.Equal(keys, test.keys) {
			t.Errorf("%s: %v", name, keys)
		}
	}
}

// model is one device and what the hub knows of it, where any message may be lost at any moment.
type model struct {
	pinned []string // by the device
	known  string   // to the hub
}

// Whatever is lost or cut off, and whoever forces what, a device that pins a key that the hub still has is never signed to
// by one that it does not pin.
func TestNoDeviceIsLost(t *testing.T) {
	t.Parallel()
	newKey := func() ed25519.PrivateKey { _, key, _ := ed25519.GenerateKey(nil); return key }
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		ring := hubkeys.Ring{Current: newKey()}
		first := hubkeys.Encode(ring.Current)
		devices := make([]model, 4)
		for i := range devices {
			devices[i] = model{[]string{first}, first}
		}
		for step := range 60 {
			switch act := rnd.IntN(10); {
			case act == 0 && ring.Next == nil && ring.Previous == nil:
				ring.Next = newKey()
			case act == 1 && ring.Next != nil: // --finish --force
				ring = hubkeys.Ring{Current: ring.Next, Previous: ring.Current}
			case act == 2 && ring.Previous != nil && !slices.ContainsFunc(devices, func(d model) bool { return !strings.Contains(d.known, hubkeys.Encode(ring.Current)) }):
				ring.Previous = nil
			default:
				d := &devices[rnd.IntN(len(devices))]
				want := ring.Target(d.known)
				if rnd.IntN(3) > 0 { // the call arrives
					d.take(t, want)
					if rnd.IntN(3) > 0 { // and so does its answer
						d.known = want
					}
				}
			}
			for i, d := range devices {
				if !slices.Contains(d.pinned, hubkeys.Encode(ring.Signer(d.known))) {
					t.Fatalf("seed %d, step %d: device %d pins %v, is known to pin %q, and the hub signs by another", seed, step, i, d.pinned, d.known)
				}
			}
		}
	}
}

// take is what a device does with a call.
func (d *model) take(t *testing.T, want string) {
	t.Helper()
	keys := strings.Fields(want)
	if len(keys) > 2 || !slices.ContainsFunc(keys, func(k string) bool { return slices.Contains(d.pinned, k) }) {
		t.Fatalf("a device that pins %v is told %q", d.pinned, want)
	}
	d.pinned = keys
}

// Devices that are online are told, one step after another; one that fails is left alone for a while and does not keep the
// others waiting.
func TestDevicesAreTold(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	first := hubkeys.Encode(r.Ring().Current)
	kitchen, old, away := r.device("kitchen", first), r.device("old", first), r.device("away", first)
	calls := make(chan string, 100)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- r.Run(ctx, hubkeys.Line{Log: slog.New(slog.DiscardHandler), Online: func(id string) bool { return id != away },
			Call: func(_ context.Context, id, method string, params, _ any) error {
				calls <- fmt.Sprint(id, " ", method, " ", len(params.(wire.HubKeys).Keys))
				if id == old {
					return wire.Errorf(wire.NotFound, "This agent does not know the call.")
				}
				return nil
			}})
	}()
	defer func() { cancel(); <-ended }()
	r.must(r.open().Begin(t.Context()))
	got := []string{<-calls, <-calls}
	slices.Sort(got)
	if !slices.Equal(got, []string{kitchen + " hub-keys 2", old + " hub-keys 2"}) {
		t.Errorf("told %v", got)
	}
	r.until(func() bool { return strings.HasPrefix(r.pins(kitchen), first+" ") })
	r.must(r.open().Finish(t.Context(), true))
	if told := <-calls; told != kitchen+" hub-keys 1" {
		t.Errorf("told %s", told)
	}
	r.until(func() bool { return r.pins(kitchen) == hubkeys.Encode(r.Ring().Current) })
	if r.pins(away) != first || r.pins(old) != first {
		t.Errorf("away pins %q, old %q", r.pins(away), r.pins(old))
	}
}

// until waits for what another goroutine does.
func (r *rig) until(is func() bool) {
	r.t.Helper()
	for deadline := time.After(time.Minute); !is(); {
		select {
		case <-deadline:
			r.t.Fatal("not within 10 s")
		case <-time.After(10 * time.Millisecond):
		}
	}
}
