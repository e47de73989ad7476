package updates_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/storetest"
	"github.com/aditdev/adit/internal/updates"
	"github.com/aditdev/adit/internal/wire"
)

// machine is what the hub sees of a device: its agent's version, "" while it is away, and what it answers to the call.
type machine struct {
	version atomic.Value
	answer  func(wire.Update) error
}

var kitchen = store.Device{ID: "dev_1", Name: "kitchen"}

// try runs an update in a bubble, where waiting costs nothing, up to its end or that of the hub, and gives its last state
// and the types of the events.
func try(t *testing.T, answer func(u *updates.Updates, m *machine, ask wire.Update) error, wait time.Duration) (last updates.Update, kinds string) {
	t.Helper()
	st, err := store.Open(t.Context(), storetest.Dir(t))
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	log := events.New(st, time.Now)
	synctest.Test(t, func(t *testing.T) {
		m := &machine{}
		m.version.Store("v1.0.0")
		u := updates.New(updates.Options{Events: log, Log: slog.New(slog.DiscardHandler), Now: time.Now, Version: "v1.1.0", Within: time.Minute,
			Programs: func() (map[string]wire.Program, error) {
				return map[string]wire.Program{"linux-arm64": {SHA256: "00", Size: 1}}, nil
			},
			AgentVersion: func(string) (string, bool) {
				v := m.version.Load().(string)
				return v, v != ""
			},
			Call: func(_ context.Context, _, _ string, params, _ any) error { return m.answer(params.(wire.Update)) }})
		m.answer = func(ask wire.Update) error { return answer(u, m, ask) }
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- u.Run(ctx) }()
		if begun, err := u.Start(kitchen, "usr_1"); err != nil || begun.State != updates.Running {
			t.Errorf("%+v %v", begun, err)
		}
		<-time.After(wait)
		stop()
		<-ended
		last, _ = u.Last(kitchen.ID)
		if _, err := u.Start(kitchen, ""); err == nil {
			t.Error("a hub that stopped begins another")
		}
	})
	rows, err := st.Read().EventsAfter(t.Context(), store.EventsAfterParams{AtMost: 100})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range rows {
		kinds += e.Type + " "
	}
	return last, kinds
}

func told(t *testing.T, u *updates.Updates, r wire.UpdateResult) {
	t.Helper()
	raw, err := json.Marshal(r)
	if err == nil {
		err = u.Result(kitchen.ID, raw)
	}
	if err != nil {
		t.Error(err)
	}
}

// Every way in which an update ends, and what a page says of it then.
func TestEnds(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answer func(t *testing.T, u *updates.Updates, m *machine, ask wire.Update) error
		state  string
		says   string
	}{
		"refused": {func(*testing.T, *updates.Updates, *machine, wire.Update) error {
			return wire.Errorf(wire.Forbidden, "not here")
		}, updates.Failed, "not here"},
		"too old": {func(*testing.T, *updates.Updates, *machine, wire.Update) error {
			return wire.Errorf(wire.NotFound, "This agent does not know the call update; a newer one may.")
		}, updates.Failed, "too old"},
		"it comes back": {func(_ *testing.T, _ *updates.Updates, m *machine, ask wire.Update) error {
			if ask.Version != "v1.1.0" || ask.WithinSeconds != 60 || ask.Programs["linux-arm64"].SHA256 != "00" {
				return wire.Errorf(wire.Invalid, "%+v", ask)
			}
			m.version.Store("")
			time.AfterFunc(10*time.Second, func() { m.version.Store("v1.1.0") })
			return nil
		}, updates.Done, ""},
		"it says that it went back": {func(t *testing.T, u *updates.Updates, m *machine, _ wire.Update) error {
			m.version.Store("")
			time.AfterFunc(70*time.Second, func() {
				m.version.Store("v1.0.0")
				told(t, u, wire.UpdateResult{Version: "v0.9.0", Message: "of another one"})
				told(t, u, wire.UpdateResult{Version: "v1.1.0", Message: "went back"})
			})
			return nil
		}, updates.Failed, "went back"},
		"it never comes back": {func(_ *testing.T, _ *updates.Updates, m *machine, _ wire.Update) error {
			m.version.Store("")
			return nil
		}, updates.Failed, "by itself"},
	} {
		last, kinds := try(t, func(u *updates.Updates, m *machine, ask wire.Update) error { return test.answer(t, u, m, ask) }, 10*time.Minute)
		if last.State != test.state || !strings.Contains(last.Message, test.says) {
			t.Errorf("%s: %+v", name, last)
		}
		want := events.DeviceUpdated
		if test.state == updates.Failed {
			want = events.DeviceNotUpdated
		}
		if !strings.HasSuffix(kinds, want+" ") {
			t.Errorf("%s: events %s", name, kinds)
		}
	}
}

// A hub that stops does not wait for a device.
func TestStopEndsTheWait(t *testing.T) {
	t.Parallel()
	last, _ := try(t, func(_ *updates.Updates, m *machine, _ wire.Update) error { m.version.Store(""); return nil }, time.Second)
	if last.State != updates.Failed {
		t.Errorf("%+v", last)
	}
}
