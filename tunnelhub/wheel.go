package tunnelhub

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/aditdev/adit/internal/wire"
)

// A turn of the wheel takes longer than the usual ping, so that few carriers stay for a second turn.
const (
	wheelTick  = 250 * time.Millisecond
	wheelSlots = 80
)

// wheel pings every carrier of the hub from one goroutine, and drops those that are silent for too long. The zero
// value is ready.
type wheel struct {
	mu    sync.Mutex
	now   int // slot
	slots [wheelSlots]map[*Carrier]time.Time
	slot  map[*Carrier]int
}

// add schedules a carrier's first ping.
func (w *wheel) add(c *Carrier) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.scheduleLocked(c)
}

func (w *wheel) scheduleLocked(c *Carrier) {
	jitter := time.Duration(rand.Int64N(int64(2*wire.PingJitter))) - wire.PingJitter
	due := time.Now().Add(c.ping + jitter*c.ping/wire.PingEvery)
	at := (w.now + 1 + int(time.Until(due)/wheelTick)) % wheelSlots
	if w.slots[at] == nil {
		w.slots[at] = make(map[*Carrier]time.Time)
	}
	w.slots[at][c] = due
	if w.slot == nil {
		w.slot = make(map[*Carrier]int)
	}
	w.slot[c] = at
}

func (w *wheel) remove(c *Carrier) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if at, ok := w.slot[c]; ok {
		delete(w.slots[at], c)
		delete(w.slot, c)
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
		for _, c := range w.silent() {
			pings.Go(c.ws.CloseNow)
		}
		for _, c := range w.turn() {
			pings.Go(func() { c.check(ctx) })
		}
	}
}

// silent looks, once a second, for carriers to give up.
func (w *wheel) silent() (dead []*Carrier) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.now%int(time.Second/wheelTick) != 0 {
		return nil
	}
	for c := range w.slot {
		if time.Since(c.ws.Heard()) > c.deadAfter() {
			dead = append(dead, c)
		}
	}
	return dead
}

// turn moves on by one slot and gives the carriers that are due.
func (w *wheel) turn() (due []*Carrier) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = (w.now + 1) % wheelSlots
	limit := time.Now().Add(wheelTick)
	for c, at := range w.slots[w.now] {
		if at.Before(limit) {
			due = append(due, c)
		}
	}
	for _, c := range due {
		delete(w.slots[w.now], c)
		w.scheduleLocked(c)
	}
	return due
}

// check pings a carrier. It waits for the pong for a few seconds only; one that comes later still counts as heard.
func (c *Carrier) check(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_ = c.ws.Ping(ctx) // silence is what counts
}

// deadAfter is the silence after which the carrier is dead.
func (c *Carrier) deadAfter() time.Duration { return max(wire.DeadAfter, c.ping*5/2) }
