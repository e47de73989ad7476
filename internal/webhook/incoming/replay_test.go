package incoming

import (
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/aditdev/adit/internal/storetest"
	"github.com/aditdev/adit/internal/wire"
)

// cutting is a device that cannot say whether a command ran, and notes the ids that it is asked for.
type cutting struct {
	patient
	mu  sync.Mutex
	ids []string
}

func (c *cutting) Run(_ context.Context, _ string, run wire.Run) (wire.RunResult, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !run.Valid() {
		return wire.RunResult{}, wire.Errorf(wire.Invalid, "no run")
	}
	c.ids = append(c.ids, run.ID)
	if len(c.ids) == 3 {
		return wire.RunResult{}, wire.Errorf(wire.Offline, "not now")
	}
	return wire.RunResult{}, wire.Errorf(wire.Conflict, "It was cut off.")
}

func (c *cutting) asked() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.ids)
}

// A device runs one id once. A person who replays wants the command run again, so it has another id then, which the tries behind it keep; a sender that
// repeats what failed asks for the same.
func TestReplayIsAnotherRun(t *testing.T) {
	t.Parallel()
	r := newRig(t, storetest.Dir(t))
	device := &cutting{}
	r.Devices = device
	s := r.publishing(func(s *Settings) { s.Action = Action{Kind: ActionCommand, Device: "kitchen", Command: "door"} })
	r.run()
	failed := func(runs int) {
		t.Helper()
		r.until("it has failed", func() bool { return r.only().State == stateFailed && len(device.asked()) == runs })
	}
	for runs := 1; runs <= 2; runs++ {
		if _, err := r.send(s, "x", "Idempotency-Key", "k"); err != nil {
			t.Fatal(err)
		}
		failed(runs)
	}
	id := r.only().ID
	if _, err := r.Replay(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	failed(4)
	if _, err := r.send(s, "x", "Idempotency-Key", "k"); err != nil {
		t.Fatal(err)
	}
	failed(5)
	if got, want := device.asked(), []string{id, id, id + "-1", id + "-1", id + "-1"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
