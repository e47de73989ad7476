package rootpassword_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/leaktest"
	"github.com/aditdev/adit/internal/rootpassword"
	"github.com/aditdev/adit/internal/seal"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/storetest"
	"github.com/aditdev/adit/internal/wire"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// machine is a device: which password root has there, and what goes wrong with the call that sets one.
type machine struct {
	root, prepared string
	online         bool
	before, after  error // fails before it is set, or when it is: the answer is lost
	prepare        error
	count          int
}

func (m *machine) call(device string, ask wire.RootPassword) (any, error) {
	if ask.Step == wire.RootPrepare {
		if m.prepare != nil {
			return nil, m.prepare
		}
		m.count++
		m.prepared = strings.Repeat("p", 20) + string(rune('a'+m.count))
		sealed, err := wire.SealFor(ask.Key, wire.RootPasswordInfo(device, "id"), []byte(m.prepared))
		return wire.RootPrepared{ID: "id", Sealed: sealed}, err
	}
	if m.before != nil {
		return nil, m.before
	}
	m.root = m.prepared
	return struct{}{}, m.after
}

type rig struct {
	*rootpassword.Vault
	t      *testing.T
	store  *store.Store
	device store.Device
	machine
	clock atomic.Int64
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, machine: machine{online: true, root: "the factory's"}}
	var err error
	r.store, err = store.Open(t.Context(), storetest.Dir(t))
	r.must(err)
	t.Cleanup(func() { _ = r.store.Close() })
	r.must(r.store.Write(t.Context(), func(q *store.Queries) (err error) {
		r.device, err = q.CreateDevice(t.Context(), store.CreateDeviceParams{ID: "dev_1", Name: "kitchen", PublicKey: "key", Status: "active", Via: "agent", Facts: "{}"})
		return err
	}))
	r.Vault = r.open()
	return r
}

func (r *rig) now() time.Time { return time.UnixMilli(r.clock.Add(1)) }

func (r *rig) open() *rootpassword.Vault {
	r.t.Helper()
	sealer, err := seal.New(strings.Repeat("s", seal.MinSecret))
	r.must(err)
	v, err := rootpassword.New(r.t.Context(), rootpassword.Options{Store: r.store, Sealer: sealer, Events: events.New(r.store, r.now), Now: r.now,
		Log: slog.New(slog.DiscardHandler), Online: func(string) bool { return r.online },
		Call: func(_ context.Context, device, _ string, params, result any) error {
			got, err := r.call(device, params.(wire.RootPassword))
			if err != nil || result == nil {
				return err
			}
			raw, err := json.Marshal(got)
			r.must(err)
			return json.Unmarshal(raw, result)
		}})
	r.must(err)
	return v
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// kept are the passwords that a person would be shown, by a hub that has just been started again.
func (r *rig) kept() (list []string) {
	r.t.Helper()
	all, err := r.open().Reveal(r.t.Context(), r.device, "usr_1", "test")
	if wire.CodeOf(err) == wire.NotFound {
		return nil
	}
	r.must(err)
	for _, p := range all {
		list = append(list, p.State+" "+p.Password)
	}
	return list
}

// Rule 27: whatever is cut off, root's password is one of those that are kept, and no password is kept that was never set
// where the device says so.
func TestWhatLogsInIsKept(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var opens []string
	for _, step := range []struct {
		name           string
		prepare        error
		before, after  error
		online         bool
		code           wire.Code
		active, places int
	}{
		{name: "offline", code: wire.Offline},
		{name: "not allowed", online: true, prepare: wire.Errorf(wire.Forbidden, "no"), code: wire.Forbidden},
		{name: "an agent that is too old", online: true, prepare: wire.Errorf(wire.NotFound, "no"), code: wire.NotFound},
		{name: "refused", online: true, before: wire.Errorf(wire.Conflict, "no"), code: wire.Conflict},
		{name: "cut off before anything is set", online: true, before: wire.Errorf(wire.Offline, "gone"), code: wire.Offline, places: 1},
		{name: "set", online: true, active: 1, places: 1},
		{name: "set again", online: true, active: 1, places: 1},
		{name: "cut off before", online: true, before: wire.Errorf(wire.Offline, "gone"), code: wire.Offline, active: 1, places: 2},
		{name: "its answer is lost", online: true, after: wire.Errorf(wire.Offline, "gone"), code: wire.Offline, active: 1, places: 3},
		{name: "refused with two in doubt", online: true, before: wire.Errorf(wire.Conflict, "no"), code: wire.Conflict, active: 1, places: 3},
		{name: "the device does not know", online: true, after: wire.Errorf(wire.Internal, "cut"), code: wire.Internal, active: 1, places: 4},
		{name: "its agent was started again when it had set it, and asked once more", online: true, after: wire.Errorf(wire.NotFound, "no such password"),
			code: wire.Internal, active: 1, places: 5},
		{name: "and with a policy that forbids it", online: true, after: wire.Errorf(wire.Forbidden, "no"), code: wire.Internal, active: 1, places: 6},
		{name: "set at last", online: true, active: 1, places: 1},
	} {
		r.machine.prepare, r.before, r.after, r.online = step.prepare, step.before, step.after, step.online
		err := r.open().Rotate(t.Context(), r.device, "usr_1")
		if (step.code == "") != (err == nil) || err != nil && wire.CodeOf(err) != step.code {
			t.Errorf("%s: %v", step.name, err)
		}
		opens = r.kept()
		active, found := 0, r.root == "the factory's"
		for _, p := range opens {
			state, password, _ := strings.Cut(p, " ")
			if state == rootpassword.Active {
				active++
			}
			found = found || password == r.root
		}
		if !found || active != step.active || len(opens) != step.places {
			t.Errorf("%s: root has %q, kept are %v", step.name, r.root, opens)
		}
	}
	if status, err := r.Status(t.Context(), r.device.ID); err != nil || status.State != rootpassword.Active || status.ShownAt == nil {
		t.Errorf("%+v %v", status, err)
	}
}

// What is kept is sealed, each under its own name; who saw it is an event that does not have it inside.
func TestKeptSealed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.must(r.Rotate(t.Context(), r.device, "usr_1"))
	rows, err := r.store.Read().RootPasswords(t.Context(), r.device.ID)
	r.must(err)
	if len(rows) != 1 || strings.Contains(rows[0].Sealed, r.root) {
		t.Fatalf("%+v", rows)
	}
	_, err = r.Reveal(t.Context(), r.device, "usr_2", "console is locked")
	r.must(err)
	log, err := r.store.Read().EventsAfter(t.Context(), store.EventsAfterParams{AtMost: 100})
	r.must(err)
	var seen string
	for _, e := range log {
		seen += e.Type + " " + *e.UserID + " " + e.Data + "\n"
	}
	if strings.Contains(seen, r.root) {
		t.Errorf("an event has the password: %s", seen)
	}
	if !strings.Contains(seen, `root_password.set usr_1 {"name":"kitchen"}`) || !strings.Contains(seen, `root_password.revealed usr_2 {"name":"kitchen","reason":"console is locked"}`) {
		t.Error(seen)
	}
}

// A device whose answer is not what the protocol says, or no text, is told so before it sets anything.
func TestHostilePasswords(t *testing.T) {
	t.Parallel()
	for name, made := range map[string]func(key string) wire.RootPrepared{
		"not sealed":         func(string) wire.RootPrepared { return wire.RootPrepared{ID: "id", Sealed: "!"} },
		"nothing":            func(string) wire.RootPrepared { return wire.RootPrepared{} },
		"of another device":  func(key string) wire.RootPrepared { return sealed(key, "dev_2", strings.Repeat("x", 20)) },
		"too short":          func(key string) wire.RootPrepared { return sealed(key, "dev_1", "short") },
		"too long":           func(key string) wire.RootPrepared { return sealed(key, "dev_1", strings.Repeat("x", 200)) },
		"control characters": func(key string) wire.RootPrepared { return sealed(key, "dev_1", strings.Repeat("x", 20)+"\x1b[2J") },
	} {
		r := newRig(t)
		set := false
		r.Vault.Call = func(_ context.Context, _, _ string, params, result any) error {
			ask := params.(wire.RootPassword)
			if ask.Step == wire.RootSet {
				set = true
				return nil
			}
			*result.(*wire.RootPrepared) = made(ask.Key)
			return nil
		}
		if err := r.Rotate(t.Context(), r.device, ""); err == nil || set || len(r.kept()) > 0 {
			t.Errorf("%s: %v, set %v, kept %v", name, err, set, r.kept())
		}
	}
}

func sealed(key, device, password string) wire.RootPrepared {
	text, err := wire.SealFor(key, wire.RootPasswordInfo(device, "id"), []byte(password))
	if err != nil {
		panic(err)
	}
	return wire.RootPrepared{ID: "id", Sealed: text}
}
