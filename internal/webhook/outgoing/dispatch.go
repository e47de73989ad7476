package outgoing

import (
	"context"
	"errors"
	"time"

	"golang.org/x/time/rate"

	"github.com/aditdev/adit/internal/store"
)

// sharedSlots are attempts at once in all, beside one that each endpoint always has: however many of them are slow, another is never held.
const sharedSlots = 32

const (
	leasesEvery  = 30 * time.Second
	retryWrite   = time.Second
	burstSeconds = 2
)

// line is what the dispatcher knows of an endpoint.
type line struct {
	limiter *rate.Limiter
	working int
	ready   int    // about how many are due
	pokes   uint64 // how often ready grew, to see whether it did meanwhile

	waiting, came figures // what waits as the last look had it with what came since, and what came since the last look began
}

// figures are messages and their bytes.
type figures struct{ count, bytes int64 }

func (f *figures) add(count, bytes int64) {
	f.count += count
	f.bytes += bytes
}

// follow takes up new endpoints and rates, and has the dispatcher look at their queues.
func (o *Outbox) follow(t *table) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for id, e := range t.endpoints {
		limit, burst := rate.Limit(e.row.Rate), max(1, int(e.row.Rate*burstSeconds))
		l := o.lines[id]
		if l == nil {
			o.lines[id] = &line{limiter: rate.NewLimiter(limit, burst)}
			continue
		}
		if l.limiter.Limit() != limit {
			l.limiter.SetLimitAt(o.Now(), limit)
			l.limiter.SetBurstAt(o.Now(), burst)
		}
	}
	for id, l := range o.lines {
		if t.endpoints[id] == nil && l.working == 0 {
			delete(o.lines, id)
		}
	}
	signal(o.unseen)
}

// poke says how many deliveries of each endpoint became due.
func (o *Outbox) poke(added map[string]int) {
	if len(added) == 0 {
		return
	}
	o.mu.Lock()
	for id, n := range added {
		if l := o.lines[id]; l != nil {
			l.ready += n
			l.pokes++
		}
	}
	o.mu.Unlock()
	o.wakeUp()
}

func (o *Outbox) wakeUp() { signal(o.wake) }

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// dispatch has workers begin where something is due, until ctx ends. Attempts end with hard.
func (o *Outbox) dispatch(ctx, hard context.Context) {
	tick := time.NewTicker(o.Poll)
	defer tick.Stop()
	tokens := time.NewTimer(time.Hour)
	defer tokens.Stop()
	for {
		tokens.Reset(o.begin(ctx, hard))
		select {
		case <-ctx.Done():
			return
		case <-o.wake:
		case <-tokens.C:
		case <-o.unseen:
			o.look(ctx)
		case <-tick.C:
			o.look(ctx)
		}
	}
}

// begin starts workers, and says when the next may begin for the sake of an endpoint's rate.
func (o *Outbox) begin(ctx, hard context.Context) (next time.Duration) {
	now := o.Now()
	next = time.Hour
	t := o.table.Load()
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, e := range t.list {
		l := o.lines[e.row.ID]
		if l == nil || l.ready == 0 || e.row.State != StateActive {
			continue
		}
		tokens := l.limiter.TokensAt(now)
		for range min(l.ready, int(e.row.Concurrency)-l.working, int(tokens)) {
			if !o.enter(l) {
				break
			}
			o.working.Go(func() { o.work(ctx, hard, e.row.ID, l) })
		}
		if tokens < 1 && l.working < int(e.row.Concurrency) {
			next = min(next, time.Duration((1-tokens)/float64(l.limiter.Limit())*float64(time.Second))+time.Millisecond)
		}
	}
	return next
}

// enter takes a slot: the endpoint's own, or a shared one. mu is held, as in leave.
func (o *Outbox) enter(l *line) bool {
	if l.working > 0 {
		if o.slots == sharedSlots {
			return false
		}
		o.slots++
	}
	l.working++
	return true
}

func (o *Outbox) leave(l *line) {
	o.mu.Lock()
	l.working--
	if l.working > 0 {
		o.slots--
	}
	full := o.slots == sharedSlots-1
	more := l.ready > 0
	o.mu.Unlock()
	if full || more {
		o.wakeUp()
	}
}

// work delivers of one endpoint for as long as something is due. What became of one is written in the transaction that claims the next.
func (o *Outbox) work(ctx, hard context.Context, id string, l *line) {
	defer o.leave(l)
	var done *job
	var r outcome
	for {
		e := o.table.Load().endpoints[id]
		var claimed *job
		pokes, token := o.token(ctx, e, l)
		if done == nil && token == nil {
			return
		}
		err := o.write(hard, done, r, func(q *store.Queries) (err error) {
			if claimed = nil; token != nil {
				claimed, err = o.claim(hard, q, id)
			}
			return err
		})
		if claimed == nil || err != nil {
			o.idle(l, pokes, token, err)
			return
		}
		o.took(l)
		done, r = claimed, o.attempt(hard, claimed)
	}
}

// token reserves an attempt by the endpoint's rate; nil where none may begin.
func (o *Outbox) token(ctx context.Context, e *endpoint, l *line) (pokes uint64, token *rate.Reservation) {
	o.mu.Lock()
	defer o.mu.Unlock()
	pokes = l.pokes
	if ctx.Err() != nil || e == nil || e.row.State != StateActive {
		return pokes, nil
	}
	now := o.Now()
	token = l.limiter.ReserveN(now, 1)
	if token.DelayFrom(now) > 0 {
		token.CancelAt(now)
		return pokes, nil
	}
	return pokes, token
}

// idle is a worker's end: nothing was due, its rate is used up, or the database failed.
func (o *Outbox) idle(l *line, pokes uint64, token *rate.Reservation, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if token == nil {
		return
	}
	token.CancelAt(o.Now())
	if err != nil || l.pokes == pokes { // what a database that fails has is seen by the next look
		l.ready = 0
	}
}

// took counts one that was due. Where one was there may be another, until a claim finds none: who ends for the sake of the rate leaves that behind.
func (o *Outbox) took(l *line) {
	o.mu.Lock()
	defer o.mu.Unlock()
	l.ready = max(1, l.ready-1)
}

// write writes what became of a job, and what then claims. Until the database takes it, it is tried again: nobody else knows. hard ends that.
func (o *Outbox) write(hard context.Context, done *job, r outcome, then func(*store.Queries) error) error {
	whole := context.WithoutCancel(hard)
	for {
		ours, written := true, r
		err := o.Store.WriteTogether(whole, func(q *store.Queries) (err error) {
			if written = r; done != nil {
				if ours, err = o.finish(whole, q, done, &written); err != nil {
					return err
				}
			}
			return then(q)
		})
		if err == nil {
			o.finished(done, written, ours)
			return nil
		}
		o.Log.Error("webhooks: the database does not take what became of a delivery", "error", err)
		if done == nil || !pause(hard, retryWrite) {
			return err
		}
	}
}

// finished counts.
func (o *Outbox) finished(done *job, r outcome, ours bool) {
	switch {
	case done == nil || r.verdict == unfinished:
		return
	case !ours:
		o.Log.Warn("webhooks: a delivery took longer than its lease, and somebody else has it, or its endpoint was removed", "delivery", done.delivery.ID)
	case r.verdict == arrived:
		o.counts.delivered.Add(1)
	case r.verdict == giveUp || r.attempt.Number >= int64(MaxAttempts):
		o.counts.dead.Add(1)
		fallthrough
	default:
		o.counts.failed.Add(1)
	}
	if r.disable != "" {
		o.wakeUp()
	}
	o.Log.Debug("webhook attempt", "endpoint", done.delivery.EndpointID, "delivery", done.delivery.ID, "number", r.attempt.Number,
		"status", r.attempt.Status, "took_ms", r.attempt.TookMs, "error", r.attempt.Error)
}

// look finds what has become due, or was queued by somebody else.
func (o *Outbox) look(ctx context.Context) {
	if err := o.findDue(ctx); err != nil && ctx.Err() == nil {
		o.Log.Error("webhooks: the queue cannot be read", "error", err)
	}
}

func (o *Outbox) findDue(ctx context.Context) error {
	if err := o.refresh(ctx); err != nil {
		return err
	}
	t, now := o.table.Load(), o.millis()
	if len(t.list) == 0 {
		return nil
	}
	o.mu.Lock()
	for _, l := range o.lines {
		l.came = figures{}
	}
	o.mu.Unlock()
	all, err := o.Store.Read().HookHealths(ctx)
	if err != nil {
		return err
	}
	for _, h := range all {
		e := t.endpoints[h.EndpointID]
		if e == nil {
			continue
		}
		due := int64(now + 1)
		if h.Waiting > 0 && e.row.State == StateActive && (&health{h}).may(store.Time(now)) {
			due, err = o.Store.Read().NextHookDue(ctx, h.EndpointID)
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
			if err != nil {
				due = now + 1
			}
		}
		o.saw(h, due <= now, int(e.row.Concurrency))
	}
	return nil
}

func (o *Outbox) saw(h store.HookEndpointHealth, due bool, concurrency int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	l := o.lines[h.EndpointID]
	if l == nil {
		return
	}
	l.waiting = figures{h.Waiting + l.came.count, h.WaitingBytes + l.came.bytes} // rather some twice, until the next look, than none
	if due {
		l.ready = max(l.ready, concurrency)
		l.pokes++
	}
}

// room counts one more in an endpoint's queue, in a transaction that adds it, and reports whether there was room.
func (o *Outbox) room(endpoint string, bytes int64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	ok := o.fits(endpoint, bytes)
	if ok {
		o.came(endpoint, bytes)
	}
	return ok
}

// fits reports whether an endpoint's queue has room for one more, beside all that the broker holds. mu is held, as in came.
func (o *Outbox) fits(endpoint string, bytes int64) bool {
	l := o.lines[endpoint]
	return l == nil || l.waiting.count+o.held.count < o.Limits.Waiting && l.waiting.bytes+o.held.bytes+bytes <= o.Limits.WaitingBytes
}

func (o *Outbox) came(endpoint string, bytes int64) {
	if l := o.lines[endpoint]; l != nil {
		l.waiting.add(1, bytes)
		l.came.add(1, bytes)
	}
}

// keepHouse sees to what only time brings.
func (o *Outbox) keepHouse(ctx context.Context) {
	for pause(ctx, leasesEvery) {
		err := errors.Join(o.returnLeases(ctx, o.Now()), o.Sweep(ctx))
		if err != nil && ctx.Err() == nil {
			o.Log.Error("webhooks: the queue cannot be swept", "error", err)
		}
	}
}
