package tunnelhub

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
)

// stopWithin is how long Run waits for links and streams after it closed them.
const stopWithin = 10 * time.Second

// Hub is the set of live links. Its methods may be called concurrently.
type Hub struct {
	options Options
	pings   wheel
	ids     atomic.Uint64 // of streams

	mu       sync.Mutex
	stopping bool
	devices  map[string]*device // every one seen since the start
	running  map[uint64]*running
	watchers map[*watcher]struct{}

	serving sync.WaitGroup // carriers and the supervisors of streams
}

// New makes a Hub. Run must be running for pings and time-outs to happen.
func New(o Options) *Hub {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Hub{
		options:  o,
		devices:  make(map[string]*device),
		running:  make(map[uint64]*running),
		watchers: make(map[*watcher]struct{}),
	}
}

// Run pings carriers and ends silent ones until ctx ends; then it closes every carrier with wire.CloseRestarting and
// returns when they are gone, or after 10 s.
func (h *Hub) Run(ctx context.Context) error {
	h.pings.run(ctx)
	h.stop()
	gone := make(chan struct{})
	go func() { h.serving.Wait(); close(gone) }()
	select {
	case <-gone:
	case <-time.After(stopWithin):
		h.options.Log.Warn("stopped without waiting for every stream", "streams", len(h.Streams()))
	}
	return context.Cause(ctx)
}

// KeepAlive pings the WebSocket of a door until stop is called, so that no proxy takes it for forgotten, and drops it when it
// is silent for too long. Somebody must read it meanwhile. every is how often; 0 means wire.PingEvery.
func (h *Hub) KeepAlive(ws *stream.FrameConn, every time.Duration) (stop func()) {
	if every <= 0 {
		every = wire.PingEvery
	}
	h.pings.add(ws, every)
	return func() { h.pings.remove(ws) }
}

// stop lets nobody in any more and sends everybody away.
func (h *Hub) stop() {
	h.mu.Lock()
	h.stopping = true
	var leaving []*Carrier
	for _, d := range h.devices {
		for _, c := range d.carriers {
			leaving = append(leaving, c)
		}
		if l := d.stock; l != nil {
			h.serving.Go(func() { l.Close(stream.Restarting) })
		}
		d.wakeLocked()
	}
	streams := make([]*running, 0, len(h.running))
	for _, r := range h.running {
		streams = append(streams, r)
	}
	h.mu.Unlock()
	for _, r := range streams {
		r.end(stream.Restarting)
	}
	for _, c := range leaving {
		h.serving.Go(func() { c.ws.Close(stream.Restarting) })
	}
}

// start runs a goroutine that Run waits for; ok is false when the hub is stopping.
func (h *Hub) start(run func()) (ok bool) {
	if !h.begin() {
		return false
	}
	go func() { defer h.serving.Done(); run() }()
	return true
}

// begin has Run wait until serving.Done; ok is false when the hub is stopping.
func (h *Hub) begin() (ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.stopping {
		h.serving.Add(1)
	}
	return !h.stopping
}

// Drop ends every carrier and stream of a device, as when it is removed or another machine takes its place. From here
// on it is offline, also to a handshake that was verified by what Options.Device said before. Its agent is told why by
// code and message.
func (h *Hub) Drop(device string, cause error) {
	h.mu.Lock()
	d := h.deviceLocked(device)
	d.drops++
	for _, c := range d.carriers {
		h.closeLocked(c, cause)
		d.removeLocked(c)
	}
	if l := d.stock; l != nil && !h.stopping {
		d.stock = nil
		d.changedLocked()
		h.serving.Go(func() { l.Close(cause) })
	}
	h.mu.Unlock()
	h.CloseStreams(func(i Info) bool { return i.Device == device })
}

// Renew has every carrier of a device replaced by one whose handshake agrees what Options.Device says now: parked ones
// at once, one that carries a stream when that is over.
func (h *Hub) Renew(device string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	d := h.deviceLocked(device)
	d.renewals++
	for _, c := range slices.Clone(d.parked) {
		h.closeLocked(c, nil)
		d.removeLocked(c)
	}
}

// ForgetClone ends what a clone is remembered for: a person says that one machine has the key. The next that comes beside
// it is news again.
func (h *Hub) ForgetClone(device string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if d := h.devices[device]; d != nil {
		d.clonedAt = time.Time{}
		d.changedLocked()
	}
}

// counts is how often a device was dropped and renewed so far.
func (h *Hub) counts(device string) (drops, renewals int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if d := h.devices[device]; d != nil {
		return d.drops, d.renewals
	}
	return 0, 0
}

// closeLocked closes a carrier with a word to the agent, in the background: the agent may take its time.
func (h *Hub) closeLocked(c *Carrier, cause error) {
	if !h.stopping {
		h.serving.Go(func() { c.ws.Close(cause) })
	}
}

// device is what is known of one device; create makes it where it is new. mu is held.
func (h *Hub) deviceLocked(id string) *device {
	d := h.devices[id]
	if d == nil {
		d = &device{hub: h, id: id, carriers: make(map[string]*Carrier)}
		h.devices[id] = d
	}
	return d
}

var errStopping = wire.Errorf(wire.Offline, "The hub is restarting. Try again in a few seconds.")
