package incoming

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/storetest"
	"github.com/aditdev/adit/internal/wire"
)

// comes is a device that comes online while the hub writes down that it is away.
type comes struct {
	noDevices
	hooks *Hooks
	looks atomic.Int64
	ran   chan struct{}
}

func (c *comes) Find(context.Context, string) (string, string, error) { return "dev_1", "pump", nil }
func (c *comes) Online(id string) bool {
	n := c.looks.Add(1)
	if n == 2 {
		c.hooks.arrived(id) // just behind the look
	}
	return n > 2
}
func (c *comes) Run(context.Context, string, wire.Run) (wire.RunResult, error) {
	close(c.ran)
	return wire.RunResult{}, nil
}

// A device that comes between the look for it and the writing of that look gets its command then, not ten minutes later.
func TestDeviceThatJustCameIsNotMissed(t *testing.T) {
	t.Parallel()
	r := newRig(t, storetest.Dir(t))
	d := &comes{hooks: r.Hooks, ran: make(chan struct{})}
	r.Devices = d
	r.run()
	s := r.publishing(func(s *Settings) { s.Action = Action{Kind: ActionCommand, Device: "pump", Command: "open"} })
	if _, err := r.send(s, "x"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-d.ran:
	case <-time.After(time.Minute):
		t.Errorf("not run: %+v", r.only())
	}
}
