package incoming

import (
	"testing"
	"time"

	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/storetest"
	"github.com/aditdev/adit/internal/wire"
)

// Commands that a device has no room for are put off until one of its commands ends, and are not claimed each second meanwhile; none is forgotten.
func TestCrowdOfCommandsWaitsItsTurn(t *testing.T) {
	t.Parallel()
	r := newRig(t, storetest.Dir(t))
	device := patient{let: make(chan struct{})}
	r.Devices = device
	r.run()
	s := r.publishing(func(s *Settings) { s.Action = Action{Kind: ActionCommand, Device: "kitchen", Command: "door"} })
	const many = 100
	for range many {
		if _, err := r.send(s, "x"); err != nil {
			t.Fatal(err)
		}
	}
	r.until("nothing is due", func() bool {
		next, err := r.store.Read().NextHookRequest(t.Context())
		entries, _, failed := r.Requests(t.Context(), Filter{Limit: many})
		if err != nil || failed != nil {
			t.Fatal(err, failed)
		}
		asleep := 0
		for _, e := range entries {
			if e.NextAt != nil && e.NextAt.After(r.now().Add(crowdedAgain/2)) {
				asleep++
			}
		}
		return asleep == many-wire.MaxRunsAtOnce && next > store.Millis(r.now())
	})
	began := time.Now()
	close(device.let)
	r.until("all have run", func() bool {
		f, err := r.store.Read().HookRequestFigures(t.Context())
		return err == nil && f.Waiting == 0
	})
	if took := time.Since(began); took > crowdedAgain/2 {
		t.Errorf("it took %v: some were forgotten", took)
	}
}
