package events

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

const (
	// maxQueued is how many events wait for the disk; what comes then is counted and dropped.
	maxQueued = 4096
	// gather is how long the first of a batch waits for others.
	gather = 200 * time.Millisecond
	// maxKeys bounds what is remembered of streams and refusals that were alike.
	maxKeys = 10_000
)

// Queue takes events from where nothing may wait for the disk, and writes many at once. What strangers can cause, or what
// comes by the thousand, it thins out. It is safe for concurrent use. A nil Queue takes nothing.
type Queue struct {
	log  *Log
	tell *slog.Logger

	mu       sync.Mutex
	waiting  []Event
	dropped  int64
	alike    map[string]*alike // by what their events have in common
	refusals *rate.Limiter     // of all strangers together
	rest     map[string]int64  // refusals of which no event tells, by type
	wake     chan struct{}
}

// alike is what the queue remembers of events that differ in little.
type alike struct {
	pace    *rate.Limiter
	base    Event // of the sum
	count   int64 // streams or refusals that the sum stands for; 0: there is none
	in, out int64
	took    time.Duration
	refused bool // they are refusals
}

// NewQueue makes a Queue that writes to l.
func NewQueue(l *Log, tell *slog.Logger) *Queue {
	return &Queue{log: l, tell: tell, alike: map[string]*alike{}, rest: map[string]int64{},
		refusals: rate.NewLimiter(rate.Every(6*time.Second), 200), wake: make(chan struct{}, 1)}
}

// Add takes an event that happens now. It never blocks.
func (q *Queue) Add(e Event) {
	if q == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.addLocked(e)
}

func (q *Queue) addLocked(e Event) {
	if e.At.IsZero() {
		e.At = q.log.now()
	}
	if len(q.waiting) >= maxQueued {
		q.dropped++
		return
	}
	q.waiting = append(q.waiting, e)
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// Refused takes an event that a stranger can cause as often as they like. Those of one key are kept five at once and then one a
// minute, those of all keys two hundred at once and then ten a minute. Each has a count in its data, of those like it since the one
// before, so that together they stand for all; of whom there was no room for, one event a minute and type has the count alone.
func (q *Queue) Refused(key string, e Event) {
	if q == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	a := q.alikeLocked(e.Type+" "+key, rate.Every(time.Minute), 5)
	if a == nil {
		q.rest[e.Type]++
		return
	}
	a.refused, a.base = true, e
	a.count++
	q.tellRefusedLocked(a, q.log.now())
}

// tellRefusedLocked adds an event of what was refused, if it is time for one.
func (q *Queue) tellRefusedLocked(a *alike, now time.Time) {
	if a.pace.TokensAt(now) < 1 || !q.refusals.AllowN(now, 1) {
		return
	}
	a.pace.AllowN(now, 1)
	e := a.base
	e.Data = maps.Clone(e.Data)
	if e.Data == nil {
		e.Data = Data{}
	}
	e.Data["count"] = a.count
	a.count = 0
	q.addLocked(e)
}

// alikeLocked finds or makes what is remembered of a key; nil where too much is remembered already.
func (q *Queue) alikeLocked(key string, every rate.Limit, burst int) *alike {
	a := q.alike[key]
	if a == nil && len(q.alike) < maxKeys {
		a = &alike{pace: rate.NewLimiter(every, burst)}
		q.alike[key] = a
	}
	return a
}

// Run writes what comes until ctx ends. What comes later waits for Flush.
func (q *Queue) Run(ctx context.Context) error {
	sums := time.NewTicker(time.Minute)
	defer sums.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-sums.C:
			q.sum()
			continue
		case <-q.wake:
		}
		late := time.NewTimer(gather)
		select {
		case <-ctx.Done():
		case <-late.C:
		}
		late.Stop()
		q.write(context.WithoutCancel(ctx))
	}
}

// Flush writes everything that waits, sums too.
func (q *Queue) Flush(ctx context.Context) {
	q.sum()
	q.mu.Lock()
	for _, a := range q.alike {
		if a.refused {
			q.rest[a.base.Type] += a.count
			a.count = 0
		}
	}
	q.restLocked()
	q.mu.Unlock()
	q.write(ctx)
}

// restLocked adds an event for each type of which some were refused that no other event tells of.
func (q *Queue) restLocked() {
	for kind, count := range q.rest {
		if count > 0 {
			q.addLocked(Event{Type: kind, Data: Data{"count": count}})
		}
	}
	clear(q.rest)
}

func (q *Queue) write(ctx context.Context) {
	q.mu.Lock()
	batch, dropped := q.waiting, q.dropped
	q.waiting, q.dropped = nil, 0
	q.mu.Unlock()
	if dropped > 0 {
		batch = append(batch, Event{Type: EventsDropped, Data: Data{"count": dropped}})
	}
	if len(batch) == 0 {
		return
	}
	err := q.log.store.WriteQuietly(ctx, func(w *store.Queries) error {
		for _, e := range batch {
			if err := q.log.Write(ctx, w, e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		q.tell.Error("events not kept", "count", len(batch), "cause", err)
		q.mu.Lock()
		q.dropped += int64(len(batch))
		q.mu.Unlock()
	}
}

// sum makes events of the sums and forgets what nobody comes near any more.
func (q *Queue) sum() {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.log.now()
	for key, a := range q.alike {
		switch {
		case a.count == 0:
		case a.refused:
			q.tellRefusedLocked(a, now)
		default:
			e := a.base
			e.Data = Data{"target": a.base.Data["target"], "via": a.base.Data["via"], "count": a.count, "bytes_in": a.in,
				"bytes_out": a.out, "seconds": seconds(a.took)}
			q.addLocked(e)
			a.count, a.in, a.out, a.took = 0, 0, 0, 0
		}
		if a.pace.TokensAt(now) >= float64(a.pace.Burst()) {
			if a.count > 0 {
				q.rest[a.base.Type] += a.count
			}
			delete(q.alike, key)
		}
	}
	q.restLocked()
}

// Stream is a stream as the log tells of it.
type Stream struct {
	Number                                 uint64
	Device, User, Target, Via, From, Shell string
	Login                                  string // as which its opener said to log in
}

const (
	// Of streams of one user to one target of one device by one door, so many are logged one by one; of those beyond there is a
	// sum each minute.
	streamBurst = 60
	streamEvery = 10 * time.Second
)

// Opened logs that a stream began. The returned function logs its end, with the bytes from the device and to it; cause is nil
// where it ended in good order.
func (q *Queue) Opened(s Stream) (closed func(in, out int64, cause error)) {
	if q == nil {
		return func(int64, int64, error) {}
	}
	began := q.log.now()
	q.mu.Lock()
	defer q.mu.Unlock()
	key := "stream " + s.Device + " " + s.User + " " + s.Via + " " + s.Target
	a := q.alikeLocked(key, rate.Every(streamEvery), streamBurst)
	if a != nil && !a.pace.AllowN(began, 1) {
		return func(in, out int64, _ error) { q.count(key, s, in, out, q.log.now().Sub(began)) }
	}
	q.addLocked(s.event(StreamOpened))
	return func(in, out int64, cause error) {
		e := s.event(StreamClosed)
		e.Data["bytes_in"], e.Data["bytes_out"], e.Data["seconds"] = in, out, seconds(q.log.now().Sub(began))
		if cause != nil && !errors.Is(cause, io.EOF) && !errors.Is(cause, net.ErrClosed) {
			e.Data["cause"] = printable(cause)
		}
		q.Add(e)
	}
}

// count adds a stream that has ended to the sum of those like it.
func (q *Queue) count(key string, s Stream, in, out int64, took time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	a := q.alikeLocked(key, rate.Every(streamEvery), streamBurst)
	if a == nil {
		q.dropped++
		return
	}
	a.base = s.event(StreamSummed)
	a.count++
	a.in += in
	a.out += out
	a.took += took
}

func (s Stream) event(kind string) Event {
	e := Event{Type: kind, Device: s.Device, User: s.User, Data: Data{"stream": s.Number, "target": s.Target, "via": s.Via}}
	for name, text := range map[string]string{"address": s.From, "shell_id": s.Shell, "login": s.Login} {
		if text != "" {
			e.Data[name] = text
		}
	}
	return e
}

// seconds are those of a duration, to the millisecond.
func seconds(d time.Duration) float64 { return d.Round(time.Millisecond).Seconds() }

// printable is what may be told of an error: its own words for people, never what lies beneath.
func printable(err error) string {
	if wire.CodeOf(err) == wire.Internal {
		return "The connection was lost."
	}
	return wire.Printable(wire.MessageOf(err), 200)
}
