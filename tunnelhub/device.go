package tunnelhub

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
)

const (
	dialWait  = 10 * time.Second // for a carrier
	cloneMark = 10 * time.Minute // that a clone is remembered, and
	clonePace = time.Second      // that every open of such a device waits
)

// device is one device's carriers and what is known of it. The hub's mu guards it all.
type device struct {
	hub      *Hub
	id       string
	instance wire.Instance // of the carriers, while there are any
	carriers map[string]*Carrier
	stock    *StockLink // of a device without our agent; nil for none
	parked   []*Carrier
	waiters  []chan *Carrier // opens that wait, first come first served
	clonedAt time.Time
	drops    int // counts Drop,
	renewals int // and Renew
	cap      int // connections at which its agent says something refuses more; 0 for none
	presence Presence

	calls   stream.Caller
	answers stream.Callee
	calling atomic.Int32 // how many of its calls are being answered
}

// admit lets an authenticated carrier in by the newest-wins rule, and closes those that it replaces. It fails with
// wire.Conflict for an older instance and for a clone.
func (h *Hub) admit(c *Carrier, a wire.Auth) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopping {
		return stream.Restarting
	}
	d := h.deviceLocked(c.id)
	if d.drops != c.drops {
		return wire.Errorf(wire.Conflict, "The device was removed or replaced meanwhile.")
	}
	if len(d.carriers) > 0 && a.Instance != d.instance {
		if err := d.succeedLocked(a.Instance); err != nil {
			return err
		}
	}
	for _, old := range d.carriers {
		// Only those of which the agent could have known when it wrote its list.
		if old.readyAt.Before(c.helloAt) && !slices.Contains(a.Carriers, old.nonce) {
			h.closeLocked(old, nil)
			d.removeLocked(old)
		}
	}
	d.instance, d.cap = a.Instance, a.Cap
	c.device = d
	d.carriers[c.nonce] = c
	d.arrivedLocked(c, a)
	return nil
}

// succeedLocked decides between the instance that is there and another one.
func (d *device) succeedLocked(next wire.Instance) error {
	switch {
	case next.Counter < d.instance.Counter:
		return wire.Errorf(wire.Conflict, "A newer start of this device's agent is connected already.")
	case next.Counter == d.instance.Counter:
		d.clonedLocked(next)
		return wire.Errorf(wire.Conflict, "clone: another machine with this device's key is connected.")
	}
	for _, old := range d.carriers {
		d.hub.closeLocked(old, wire.Errorf(wire.Conflict, "A newer start of this device's agent has connected."))
		d.removeLocked(old)
	}
	return nil
}

func (d *device) clonedLocked(other wire.Instance) {
	now := d.hub.options.Now()
	news := now.Sub(d.clonedAt) > cloneMark
	d.clonedAt = now
	if told := d.hub.options.Cloned; news && told != nil {
		first := d.instance
		d.hub.serving.Go(func() { told(d.id, first, other) })
	}
	d.changedLocked()
}

// removeLocked forgets a carrier that closed or is about to.
func (d *device) removeLocked(c *Carrier) {
	if d.carriers[c.nonce] != c {
		return
	}
	delete(d.carriers, c.nonce)
	d.parked = slices.DeleteFunc(d.parked, func(p *Carrier) bool { return p == c })
	d.changedLocked()
}

// park makes a carrier available, to the open that waits longest or to the next.
func (h *Hub) park(c *Carrier) {
	h.mu.Lock()
	defer h.mu.Unlock()
	d := c.device
	if d.carriers[c.nonce] != c {
		return // replaced meanwhile
	}
	if c.renewals != d.renewals {
		h.closeLocked(c, nil) // in good order: its agent parks another
		d.removeLocked(c)
		return
	}
	if len(d.waiters) > 0 {
		d.waiters[0] <- c
		d.waiters = d.waiters[1:]
		return
	}
	d.parked = append(d.parked, c)
}

// wakeLocked ends every wait for a carrier: the hub is stopping, or the device came without carriers.
func (d *device) wakeLocked() {
	for _, w := range d.waiters {
		close(w)
	}
	d.waiters = nil
}

// acquire takes the parked carrier heard most recently, or waits for one. want is how many further opens wait.
func (h *Hub) acquire(ctx context.Context, id string) (c *Carrier, want int, err error) {
	h.mu.Lock()
	if h.stopping {
		h.mu.Unlock()
		return nil, 0, errStopping
	}
	d := h.deviceLocked(id)
	if d.stock != nil {
		h.mu.Unlock()
		return nil, 0, errStock
	}
	cloned := h.options.Now().Sub(d.clonedAt) < cloneMark
	if c = d.takeLocked(); c != nil && !cloned {
		want = len(d.waiters)
		h.mu.Unlock()
		return c, want, nil
	}
	wait := make(chan *Carrier, 1)
	if c != nil {
		wait <- c
	} else {
		d.waiters = append(d.waiters, wait)
	}
	h.mu.Unlock()
	if cloned {
		sleep(ctx, clonePace)
	}
	return h.await(ctx, d, wait)
}

func (h *Hub) await(ctx context.Context, d *device, wait chan *Carrier) (*Carrier, int, error) {
	timer := time.NewTimer(dialWait)
	defer timer.Stop()
	var got *Carrier
	select {
	case got = <-wait:
	case <-ctx.Done():
	case <-timer.C:
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	d.waiters = slices.DeleteFunc(d.waiters, func(w chan *Carrier) bool { return w == wait })
	if got == nil {
		select {
		case got = <-wait: // came at the last moment
		default:
		}
	}
	switch {
	case got != nil:
		return got, len(d.waiters), nil
	case h.stopping:
		return nil, 0, errStopping
	case d.stock != nil:
		return nil, 0, errStock
	case ctx.Err() != nil:
		return nil, 0, wire.Wrap(context.Cause(ctx), wire.Offline, "The wait for the device was given up.")
	}
	return nil, 0, d.offlineLocked()
}

// takeLocked is the parked carrier heard most recently, no longer parked; nil for none.
func (d *device) takeLocked() *Carrier {
	if len(d.parked) == 0 {
		return nil
	}
	best := slices.MaxFunc(d.parked, func(a, b *Carrier) int { return a.ws.Heard().Compare(b.ws.Heard()) })
	d.parked = slices.DeleteFunc(d.parked, func(c *Carrier) bool { return c == best })
	return best
}

func (d *device) offlineLocked() error {
	switch {
	case len(d.carriers) == 0:
		return wire.Errorf(wire.Offline, "The device is not connected.")
	case d.cap > 0:
		return wire.Errorf(wire.Offline, "The device is connected, but something on its way lets it keep no more than %d connections, and all are in use.", d.cap)
	}
	return wire.Errorf(wire.Offline, "The device is connected, but opened no further connection in time.")
}

// anyCarrier is a carrier of the device for a call, the one heard most recently; nil for none.
func (d *device) anyCarrier() *Carrier {
	d.hub.mu.Lock()
	defer d.hub.mu.Unlock()
	var best *Carrier
	for _, c := range d.carriers {
		if c.serving && (best == nil || c.ws.Heard().After(best.ws.Heard())) {
			best = c
		}
	}
	return best
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
