package tunnelhub

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
)

// A turn of the wheel takes longer than the usual ping, so that few stay for a second turn.
const (
	wheelTick  = 250 * time.Millisecond
	wheelSlots = 80
	pongWithin = 5 * time.Second // that a ping's goroutine waits; a pong that comes later counts as heard all the same
)

// wheel pings every carrier and door of the hub from one goroutine, and drops those that are silent for too long. The
// zero value is ready.
type wheel struct {
	mu    sync.Mutex
	now   int // slot
	slots [wheelSlots]map[*stream.FrameConn]struct{}
	all   map[*stream.FrameConn]*pulse
}

// pulse is when a WebSocket is pinged.
type pulse struct {
	every time.Duration
	due   time.Time
	slot  int
}

// deadAfter is the silence after which the WebSocket is dead.
func (p *pulse) deadAfter() time.Duration { return max(wire.DeadAfter, p.every*5/2) }

// add has ws pinged every so often, give or take a tenth.
func (w *wheel) add(ws *stream.FrameConn, every time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all == nil {
		w.all = make(map[*stream.FrameConn]*pulse)
	}
	p := &pulse{every: every}
	w.all[ws] = p
	w.scheduleLocked(ws, p)
}

func (w *wheel) scheduleLocked(ws *stream.FrameConn, p *pulse) {
	jitter := float64(wire.PingJitter) / float64(wire.PingEvery) * (2*rand.Float64() - 1)
	wait := p.every + time.Duration(jitter*float64(p.every))
	p.due = time.Now().Add(wait)
	p.slot = (w.now + 1 + int(wait/wheelTick)) % wheelSlots
	if w.slots[p.slot] == nil {
		w.slots[p.slot] = make(map[*stream.FrameConn]struct{})
	}
	w.slots[p.slot][ws] = struct{}{}
}

func (w *wheel) remove(ws *stream.FrameConn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p, ok := w.all[ws]; ok {
		delete(w.slots[p.slot], ws)
		delete(w.all, ws)
	}
}

// run turns the wheel until ctx ends, and waits for its pings.
func (w *wheel) run(ctx context.Context) {
	ticker := time.NewTicker(wheelTick)
	defer ticker.Stop()
	var pings sync.WaitGroup
	defer pings.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for _, ws := range w.silent() {
			pings.Go(ws.CloseNow)
		}
		for _, ws := range w.turn() {
			pings.Go(func() { ping(ctx, ws) })
		}
	}
}

func ping(ctx context.Context, ws *stream.FrameConn) {
	ctx, cancel := context.WithTimeout(ctx, pongWithin)
	defer cancel()
	_ = ws.Ping(ctx) // silence is what counts
}

// turn moves on by one slot and gives those that are due.
func (w *wheel) turn() (due []*stream.FrameConn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = (w.now + 1) % wheelSlots
	limit := time.Now().Add(wheelTick)
	for ws := range w.slots[w.now] {
		if w.all[ws].due.Before(limit) {
			due = append(due, ws)
		}
	}
	for _, ws := range due {
		delete(w.slots[w.now], ws)
		w.scheduleLocked(ws, w.all[ws])
	}
	return due
}

// silent looks, once a second, for those to give up.
func (w *wheel) silent() (dead []*stream.FrameConn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.now%int(time.Second/wheelTick) != 0 {
		return nil
	}
	for ws, p := range w.all {
		if time.Since(ws.Heard()) > p.deadAfter() {
			dead = append(dead, ws)
		}
	}
	return dead
}
