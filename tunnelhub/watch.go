package tunnelhub

import (
	"context"
	"iter"
	"maps"
	"time"

	"github.com/aditdev/adit/internal/wire"
)

// clockNews is how far a device's clock must have been set for watchers to hear of it.
const clockNews = 10 * time.Second

// arrivedLocked notes what a carrier's auth says of its device.
func (d *device) arrivedLocked(c *Carrier, a wire.Auth) {
	d.presence.Address, d.presence.AgentVersion = c.remote, wire.Printable(a.AgentVersion, 64)
	offset := time.UnixMilli(a.Clock).Sub(d.hub.options.Now()).Round(time.Millisecond)
	set := d.presence.Online && (offset-d.presence.ClockOffset).Abs() > clockNews
	d.presence.ClockOffset = offset
	d.changedLocked()
	if set {
		d.tellLocked()
	}
}

// changedLocked tells the watchers where a carrier's coming or going changed whether the device is online.
func (d *device) changedLocked() {
	online := len(d.carriers) > 0 || d.stock != nil
	cloned := !d.clonedAt.IsZero() && d.hub.options.Now().Sub(d.clonedAt) < cloneMark
	news := online != d.presence.Online || cloned != d.presence.Cloned
	if online != d.presence.Online {
		d.presence.At = d.hub.options.Now()
		d.hub.options.Log.Info("link "+map[bool]string{true: "opened", false: "closed"}[online], "device", d.id, "address", d.presence.Address)
	}
	d.presence.Device, d.presence.Online, d.presence.Cloned = d.id, online, cloned
	if news {
		d.tellLocked()
	}
}

func (d *device) tellLocked() {
	for w := range d.hub.watchers {
		w.tell(d.presenceLocked())
	}
}

// presenceLocked is the device's presence now.
func (d *device) presenceLocked() Presence {
	p := d.presence
	p.Carriers = len(d.carriers)
	for _, c := range d.carriers {
		if heard := c.ws.Heard(); heard.After(p.Heard) {
			p.Heard = heard
		}
	}
	if d.stock != nil {
		p.Heard, p.Offers = d.stock.Heard(), d.stock.Offers()
	}
	return p
}

// Presence is a device's state now. The zero Presence, but for Device, is that of one not seen since the hub started.
func (h *Hub) Presence(device string) Presence {
	h.mu.Lock()
	defer h.mu.Unlock()
	if d := h.devices[device]; d != nil {
		p := d.presenceLocked()
		p.Device = device
		return p
	}
	return Presence{Device: device}
}

// Online reports whether a link of the device was heard in time.
func (h *Hub) Online(device string) bool { return h.Presence(device).Online }

// watcher holds the last state of each device that its consumer has not seen. The hub's mu guards it.
type watcher struct {
	news   map[string]Presence
	signal chan struct{}
}

func (w *watcher) tell(p Presence) {
	w.news[p.Device] = p
	select {
	case w.signal <- struct{}{}:
	default:
	}
}

// Watch yields the presence of every device that is online, then each change, until ctx ends. A slow consumer misses
// intermediate states of a device, never the last one.
func (h *Hub) Watch(ctx context.Context) iter.Seq[Presence] {
	return func(yield func(Presence) bool) {
		w := h.addWatcher()
		defer h.removeWatcher(w)
		for {
			select {
			case <-ctx.Done():
				return
			case <-w.signal:
			}
			for p := range maps.Values(h.takeNews(w)) {
				if !yield(p) {
					return
				}
			}
		}
	}
}

func (h *Hub) addWatcher() *watcher {
	w := &watcher{news: make(map[string]Presence), signal: make(chan struct{}, 1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.watchers[w] = struct{}{}
	for _, d := range h.devices {
		if d.presence.Online {
			w.tell(d.presenceLocked())
		}
	}
	return w
}

func (h *Hub) removeWatcher(w *watcher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.watchers, w)
}

func (h *Hub) takeNews(w *watcher) map[string]Presence {
	h.mu.Lock()
	defer h.mu.Unlock()
	news := w.news
	w.news = make(map[string]Presence)
	return news
}
