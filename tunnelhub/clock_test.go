package tunnelhub_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/agent/carrier"
)

// A board without a clock connects in 1970, and later its clock is set, forward or back. The hub hears of it on
// a carrier that the agent brings for it, tells its watchers, and loses no stream.
func TestClockIsSetWhileConnected(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var ahead atomic.Int64
	set := func(offset time.Duration) { ahead.Store(int64(offset)) }
	set(-56 * 365 * 24 * time.Hour)
	r.agent(func(c *carrier.Config) {
		c.Clock = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	r.waitOnline(true)
	conn, err := r.hub.Dial(t.Context(), r.request(listen(t, echo)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	until(t, "the agent has all the carriers that it wants", func() bool { return r.hub.Presence(device).Carriers == 3 })
	for _, offset := range []time.Duration{0, -3 * time.Hour} {
		set(offset)
		r.waitClock(offset)
	}
	if _, err := conn.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Error(err)
	}
}

// waitClock waits until watchers hear that the device's clock is so far ahead.
func (r *rig) waitClock(want time.Duration) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	for p := range r.hub.Watch(ctx) {
		if !p.Online {
			r.t.Error("the device was away")
		}
		if (p.ClockOffset - want).Abs() < time.Minute { // so long may the handshake take
			return
		}
	}
	r.t.Fatalf("the hub does not hear that the clock is %v ahead", want)
}
