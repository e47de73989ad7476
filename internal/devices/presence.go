package devices

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/tunnelhub"
)

const (
	// offlineAfter is how long a device must be gone before that is an event: a changed network is none.
	offlineAfter = 3 * time.Second
	// seenEvery is how often the moment at which a device was last heard is kept, for the hub that starts again.
	seenEvery = time.Minute
	// gatherFor is how long changes are gathered into one transaction: thousands come when a hub starts again.
	gatherFor = 25 * time.Millisecond
	gatherMax = 500
)

// follower turns presence into rows and events.
type follower struct {
	*Registry
	online map[string]tunnelhub.Presence
	gone   map[string]time.Time // went at; its event is due offlineAfter later
}

// Follow keeps what the links know until ctx ends: who is online, since when, and the events of it.
func (r *Registry) Follow(ctx context.Context, watch iter.Seq[tunnelhub.Presence]) error {
	ctx, cancel := context.WithCancel(ctx)
	changes, done := make(chan tunnelhub.Presence), make(chan struct{})
	go func() {
		defer close(done)
		for p := range watch {
			select {
			case changes <- p:
			case <-ctx.Done():
				return
			}
		}
	}()
	f := follower{Registry: r, online: map[string]tunnelhub.Presence{}, gone: map[string]time.Time{}}
	f.run(ctx, changes)
	cancel()
	<-done
	return nil
}

func (f *follower) run(ctx context.Context, changes <-chan tunnelhub.Presence) {
	tick, seen := time.NewTicker(time.Second), time.NewTicker(seenEvery)
	defer tick.Stop()
	defer seen.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case p := <-changes:
			err = f.change(ctx, gather(p, changes))
		case <-tick.C:
			err = f.settle(ctx)
		case <-seen.C:
			err = f.keepSeen(ctx)
		}
		if err != nil && ctx.Err() == nil {
			f.Log.Error("presence not kept", "cause", err)
		}
	}
}

func gather(first tunnelhub.Presence, changes <-chan tunnelhub.Presence) []tunnelhub.Presence {
	batch, enough := []tunnelhub.Presence{first}, time.After(gatherFor)
	for len(batch) < gatherMax {
		select {
		case p := <-changes:
			batch = append(batch, p)
		case <-enough:
			return batch
		}
	}
	return batch
}

func (f *follower) change(ctx context.Context, batch []tunnelhub.Presence) error {
	var came []arrival
	for _, p := range batch {
		if a, ok := f.note(p); ok {
			came = append(came, a)
		}
	}
	if len(came) == 0 {
		return nil
	}
	return f.Store.Write(ctx, func(q *store.Queries) error {
		for _, a := range came {
			if err := f.came(ctx, q, a); err != nil {
				return err
			}
		}
		return nil
	})
}

// arrival is a device that came, or came by another way; news is true where it was away.
type arrival struct {
	tunnelhub.Presence
	news bool
}

// note keeps what is known of a device, and tells whether the database must learn of it.
func (f *follower) note(p tunnelhub.Presence) (arrival, bool) {
	before, known := f.online[p.Device]
	_, gone := f.gone[p.Device]
	if !p.Online {
		if known && !gone {
			f.gone[p.Device] = f.Now()
		}
		return arrival{}, false
	}
	delete(f.gone, p.Device)
	f.online[p.Device] = p
	same := known && !gone && before.Address == p.Address && before.AgentVersion == p.AgentVersion &&
		before.ClockOffset == p.ClockOffset
	return arrival{p, !known}, !same
}

func (f *follower) came(ctx context.Context, q *store.Queries, p arrival) error {
	d, err := q.GetDevice(ctx, p.Device)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	now, offset := f.millis(), p.ClockOffset.Milliseconds()
	since := &now
	if !p.news && d.OnlineSince != nil {
		since = d.OnlineSince
	}
	err = q.SetDeviceOnline(ctx, store.SetDeviceOnlineParams{ID: d.ID, OnlineSince: since, LastSeenAt: &now, Address: p.Address,
		AgentVersion: p.AgentVersion, ClockOffsetMs: &offset})
	if err != nil || !p.news {
		return err
	}
	d.Address = p.Address
	if err := f.stepOnline(ctx, q, d); err != nil {
		return err
	}
	return f.Events.Write(ctx, q, events.Event{Type: events.DeviceOnline, Device: d.ID,
		Data: events.Data{"name": d.Name, "address": p.Address}})
}

// settle makes events of the devices that stayed away.
func (f *follower) settle(ctx context.Context) error {
	var due []string
	for device, at := range f.gone {
		if f.Now().Sub(at) >= offlineAfter {
			due = append(due, device)
		}
	}
	if len(due) == 0 {
		return nil
	}
	err := f.Store.Write(ctx, func(q *store.Queries) error {
		for _, device := range due {
			if err := f.went(ctx, q, device, f.gone[device]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, device := range due {
		delete(f.gone, device)
		delete(f.online, device)
	}
	return nil
}

func (f *follower) went(ctx context.Context, q *store.Queries, device string, at time.Time) error {
	d, err := q.GetDevice(ctx, device)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	heard := store.Millis(at)
	if err := q.SetDeviceOffline(ctx, store.SetDeviceOfflineParams{ID: device, LastSeenAt: &heard}); err != nil {
		return err
	}
	return f.Events.Write(ctx, q, events.Event{Type: events.DeviceOffline, Device: device, Data: events.Data{"name": d.Name}})
}

func (f *follower) keepSeen(ctx context.Context) error {
	return f.Store.Write(ctx, func(q *store.Queries) error {
		now := f.millis()
		for device := range f.online {
			if _, gone := f.gone[device]; gone {
				continue
			}
			if err := q.SetDeviceSeen(ctx, store.SetDeviceSeenParams{ID: device, LastSeenAt: &now}); err != nil {
				return err
			}
		}
		return nil
	})
}

// ClockOffset is the device's clock minus the hub's: as its live link says, be it nothing at all, else as the last one
// said.
func ClockOffset(d store.Device, live tunnelhub.Presence) time.Duration {
	switch {
	case live.Online:
		return live.ClockOffset
	case d.ClockOffsetMs != nil:
		return time.Duration(*d.ClockOffsetMs) * time.Millisecond
	}
	return 0
}

// causeClone is kept until a person acknowledges it.
const causeClone = "clone"

// Cloned notes that two machines have the same key.
func (r *Registry) Cloned(ctx context.Context, device string) {
	err := r.Store.Write(ctx, func(q *store.Queries) error {
		d, err := q.GetDevice(ctx, device)
		if err != nil {
			return err
		}
		if err := q.SetDeviceCause(ctx, store.SetDeviceCauseParams{ID: device, Cause: causeClone}); err != nil {
			return err
		}
		return r.Events.Write(ctx, q, events.Event{Type: events.DeviceCloned, Device: device, Data: events.Data{"name": d.Name}})
	})
	if err != nil {
		r.Log.Error("clone not noted", "device", device, "cause", err)
	}
}
