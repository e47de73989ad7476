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
			err = f.change(ctx, p)
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

func (f *follower) change(ctx context.Context, p tunnelhub.Presence) error {
	before, known := f.online[p.Device]
	if !p.Online {
		if _, counting := f.gone[p.Device]; known && !counting {
			f.gone[p.Device] = f.Now()
		}
		return nil
	}
	_, wasGone := f.gone[p.Device]
	delete(f.gone, p.Device)
	f.online[p.Device] = p
	if known && before.Address == p.Address && before.AgentVersion == p.AgentVersion && !wasGone {
		return nil
	}
	return f.Store.Write(ctx, func(q *store.Queries) error { return f.came(ctx, q, p, !known) })
}

func (f *follower) came(ctx context.Context, q *store.Queries, p tunnelhub.Presence, news bool) error {
	d, err := q.GetDevice(ctx, p.Device)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	now, offset := f.millis(), p.ClockOffset.Milliseconds()
	since := &now
	if !news && d.OnlineSince != nil {
		since = d.OnlineSince
	}
	err = q.SetDeviceOnline(ctx, store.SetDeviceOnlineParams{ID: d.ID, OnlineSince: since, LastSeenAt: &now, Address: p.Address,
		AgentVersion: p.AgentVersion, ClockOffsetMs: &offset, PingSeconds: d.PingSeconds})
	if err != nil || !news {
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
	for device, at := range f.gone {
		if f.Now().Sub(at) < offlineAfter {
			continue
		}
		err := f.Store.Write(ctx, func(q *store.Queries) error { return f.went(ctx, q, device, at) })
		if err != nil {
			return err
		}
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

// Cloned notes that two machines have the same key.
func (r *Registry) Cloned(ctx context.Context, device string) {
	err := r.Store.Write(ctx, func(q *store.Queries) error {
		d, err := q.GetDevice(ctx, device)
		if err != nil {
			return err
		}
		if err := q.SetDeviceCause(ctx, store.SetDeviceCauseParams{ID: device, Cause: "clone"}); err != nil {
			return err
		}
		return r.Events.Write(ctx, q, events.Event{Type: events.DeviceCloned, Device: device, Data: events.Data{"name": d.Name}})
	})
	if err != nil {
		r.Log.Error("clone not noted", "device", device, "cause", err)
	}
}
