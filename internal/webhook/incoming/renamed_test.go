package incoming

import (
	"context"
	"sync"
	"testing"

	"github.com/aditdev/adit/internal/storetest"
	"github.com/aditdev/adit/internal/wire"
)

// names is a register whose devices can be renamed; all are connected, and run what they are asked to.
type names struct {
	noDevices
	ran chan string

	mu     sync.Mutex
	byName map[string]string
}

func newNames(byName map[string]string) *names {
	return &names{byName: byName, ran: make(chan string, 10)}
}

func (n *names) set(byName map[string]string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.byName = byName
}

func (n *names) Find(_ context.Context, ref string) (id, name string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for name, id := range n.byName {
		if name == ref || id == ref {
			return id, name, nil
		}
	}
	return "", "", wire.Errorf(wire.NotFound, "There is no device %s.", ref)
}

func (n *names) Online(string) bool { return true }

func (n *names) Run(_ context.Context, id string, _ wire.Run) (wire.RunResult, error) {
	n.ran <- id
	return wire.RunResult{}, nil
}

// A device is renamed, and another takes its name: the command stays the first one's. It ran on the other.
func TestCommandStaysWithItsDevice(t *testing.T) {
	t.Parallel()
	r := newRig(t, storetest.Dir(t))
	n := newNames(map[string]string{"garage": "dev_1", "spare": "dev_2"})
	r.Devices = n
	r.run()
	s := r.publishing(func(s *Settings) { s.Action = Action{Kind: ActionCommand, Device: "garage", Command: "open-door"} })
	n.set(map[string]string{"old-garage": "dev_1", "garage": "dev_2"})
	if _, err := r.send(s, ""); err != nil {
		t.Fatal(err)
	}
	if id := <-n.ran; id != "dev_1" {
		t.Errorf("the command of dev_1 ran on %s", id)
	}
	if s, err := r.Source(t.Context(), s.ID); err != nil || s.DeviceName != "old-garage" {
		t.Errorf("it is shown as %q, %v", s.DeviceName, err)
	}
	change := func(device string) {
		if _, err := r.Change(t.Context(), "", s.ID, Change{Settings: func(s *Settings) { s.Action.Device = device }}); err != nil {
			t.Fatal(err)
		}
		if _, err := r.send(s, ""); err != nil {
			t.Fatal(err)
		}
	}
	for _, ref := range []string{"garage", "dev_2"} {
		if change(ref); <-n.ran != "dev_2" {
			t.Errorf("changed to %s", ref)
		}
	}
}

// What a source names that was no device when its name was last looked for is not who takes the name later.
func TestNameOfNobodyIsNobodys(t *testing.T) {
	t.Parallel()
	r := newRig(t, storetest.Dir(t))
	r.Devices = newNames(map[string]string{"garage": "dev_1"})
	p := &plan{}
	err := r.planCommand(t.Context(), &source{Settings: Settings{Action: Action{Kind: ActionCommand, Device: "garage", Command: "open"}}}, &subject{}, p, nil)
	if wire.CodeOf(err) != wire.NotFound || p.device != "" {
		t.Errorf("%+v, %v", p, err)
	}
}

// A message waits for the broker; meanwhile its device is renamed, and another takes the name. It goes to the one that it was accepted for.
func TestQueuedMessageStaysWithItsDevice(t *testing.T) {
	t.Parallel()
	r := newRig(t, storetest.Dir(t))
	n := newNames(map[string]string{"garage": "dev_1", "spare": "dev_2"})
	r.Devices = n
	r.run()
	s := r.publishing(func(s *Settings) { s.Action.Topic = "cmds/garage/open" })
	r.broker.set(wire.Errorf(wire.RateLimited, "The queue of a webhook endpoint is full."))
	if _, err := r.send(s, ""); err != nil {
		t.Fatal(err)
	}
	r.until("it was tried", func() bool { return r.only().Attempts > 0 })
	n.set(map[string]string{"old-garage": "dev_1", "garage": "dev_2"})
	r.broker.set(nil)
	if m := r.message(); m.Topic != "cmds/old-garage/open" {
		t.Errorf("it went to %s", m.Topic)
	}
	r.until("it is done", func() bool { return r.only().State == stateDone })
	if e := r.only(); e.Topic != "cmds/old-garage/open" {
		t.Errorf("it says that it went to %s", e.Topic)
	}
}

// What waits for a device that is removed has failed, and goes to nobody else.
func TestQueuedMessageOfRemovedDevice(t *testing.T) {
	t.Parallel()
	r := newRig(t, storetest.Dir(t))
	n := newNames(map[string]string{"garage": "dev_1"})
	r.Devices = n
	r.run()
	s := r.publishing(func(s *Settings) { s.Action.Topic = "devices/garage/set" })
	r.broker.set(wire.Errorf(wire.RateLimited, "The queue of a webhook endpoint is full."))
	if _, err := r.send(s, ""); err != nil {
		t.Fatal(err)
	}
	r.until("it was tried", func() bool { return r.only().Attempts > 0 })
	n.set(map[string]string{"garage": "dev_2"})
	r.broker.set(nil)
	r.until("it has failed", func() bool { return r.only().State == stateFailed })
	if e := r.only(); e.Error != "The device was removed." || len(r.broker.got) > 0 {
		t.Errorf("%+v, %d published", e, len(r.broker.got))
	}
}
