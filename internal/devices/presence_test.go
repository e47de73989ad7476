package devices_test

import (
	"context"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/devices"
	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/tunnelhub"
)

// watched runs Follow on what the test says, until it ends.
func (r *rig) watched() (say func(tunnelhub.Presence)) {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	said, done := make(chan tunnelhub.Presence), make(chan error, 1)
	go func() {
		done <- r.Follow(ctx, func(yield func(tunnelhub.Presence) bool) {
			for {
				select {
				case p := <-said:
					if !yield(p) {
						return
					}
				case <-ctx.Done():
					return
				}
			}
		})
	}()
	r.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
	})
	return func(p tunnelhub.Presence) { said <- p }
}

// counts waits until there are n events of a kind.
func (r *rig) counts(kind string, n int) {
	r.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for len(r.logged(kind)) != n {
		if time.Now().After(deadline) {
			r.t.Fatalf("%d events %s, want %d", len(r.logged(kind)), kind, n)
		}
	}
}

func TestPresence(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	made := r.code(devices.CodeRequest{})
	id := r.enroll(machine(made.Code)).DeviceID
	say := r.watched()
	online := tunnelhub.Presence{Device: id, Online: true, Address: "192.0.2.7", AgentVersion: "v1", ClockOffset: -time.Hour}
	say(online)
	r.counts(events.DeviceOnline, 1)
	d, err := r.Find(t.Context(), r.owner, id)
	r.must(err)
	if d.OnlineSince == nil || d.Address != "192.0.2.7" || d.AgentVersion != "v1" || *d.ClockOffsetMs != -3_600_000 {
		t.Errorf("%+v", d)
	}

	// A device whose clock is set is not news, but the row follows: it is what certificates go by while the device is away.
	online.ClockOffset = 0
	say(online)
	for deadline := time.Now().Add(time.Minute); *d.ClockOffsetMs != 0; {
		if d, err = r.Find(t.Context(), r.owner, id); err != nil || time.Now().After(deadline) {
			t.Fatalf("%d, %v", *d.ClockOffsetMs, err)
		}
	}

	// Nor is one that changes its network.
	say(tunnelhub.Presence{Device: id})
	online.Address = "198.51.100.7"
	say(online)
	for deadline := time.Now().Add(time.Minute); d.Address != "198.51.100.7"; {
		if d, err = r.Find(t.Context(), r.owner, id); err != nil || time.Now().After(deadline) {
			t.Fatalf("%q, %v", d.Address, err)
		}
	}
	say(tunnelhub.Presence{Device: id})
	say(tunnelhub.Presence{Device: "dev_removed", Online: true})
	if n := len(r.logged(events.DeviceOffline)); n != 0 {
		t.Errorf("%d events before it stayed away", n)
	}
	for deadline := time.Now().Add(time.Minute); len(r.logged(events.DeviceOffline)) == 0 && time.Now().Before(deadline); {
		r.clock.Add(int64(5 * time.Second)) // again, where what was said was not heard before
	}
	r.counts(events.DeviceOffline, 1)
	if d, err = r.Find(t.Context(), r.owner, id); err != nil || d.OnlineSince != nil || d.LastSeenAt == nil {
		t.Errorf("%+v, %v", d, err)
	}
	say(online)
	r.counts(events.DeviceOnline, 2)

	rows, err := r.Store.Read().InstallSteps(t.Context(), made.Row.ID)
	r.must(err)
	if last := rows[len(rows)-1].InstallStep; len(rows) != 2 || last.Step != "online" || last.DeviceID != id {
		t.Errorf("%+v", rows)
	}
}

// A device that is there and whose clock is right has an offset of nothing, whatever was true an hour ago.
func TestClockOffset(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		kept *int64
		live tunnelhub.Presence
		want time.Duration
	}{
		"right, once wrong": {new(int64(-3_600_000)), tunnelhub.Presence{Online: true}, 0},
		"wrong, once right": {new(int64(0)), tunnelhub.Presence{Online: true, ClockOffset: time.Hour}, time.Hour},
		"away":              {new(int64(-3_600_000)), tunnelhub.Presence{ClockOffset: time.Minute}, -time.Hour},
		"never there":       {nil, tunnelhub.Presence{}, 0},
	} {
		if got := devices.ClockOffset(store.Device{ClockOffsetMs: c.kept}, c.live); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestClonesAreSaid(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	id := r.enroll(machine(r.code(devices.CodeRequest{}).Code)).DeviceID
	r.Cloned(t.Context(), id)
	d, err := r.Find(t.Context(), r.owner, id)
	if err != nil || d.Cause != "clone" || len(r.logged(events.DeviceCloned)) != 1 {
		t.Errorf("%+v, %v", d, err)
	}

	// Whichever of the two machines comes next, it is for a person to say that it is the only one.
	say := r.watched()
	say(tunnelhub.Presence{Device: id, Online: true})
	r.counts(events.DeviceOnline, 1)
	if d, err = r.Find(t.Context(), r.owner, id); err != nil || d.Cause != "clone" {
		t.Errorf("after it came online: %q, %v", d.Cause, err)
	}
	name := "pantry"
	if d, err = r.Update(t.Context(), r.owner, d, devices.Patch{Name: &name}); err != nil || d.Cause != "clone" {
		t.Errorf("after a new name: %q, %v", d.Cause, err)
	}
	if d, err = r.Update(t.Context(), r.owner, d, devices.Patch{AcknowledgeClone: true}); err != nil || d.Cause != "" || d.Name != name {
		t.Errorf("after it was acknowledged: %+v, %v", d, err)
	}
	r.Cloned(t.Context(), id)
	if d, err = r.Find(t.Context(), r.owner, id); err != nil || d.Cause != "clone" {
		t.Errorf("after the next clone: %q, %v", d.Cause, err)
	}
}
