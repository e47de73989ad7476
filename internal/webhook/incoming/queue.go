package incoming

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

// The states of a request.
const (
	stateWaiting = "waiting"
	stateDone    = "done"
	stateFailed  = "failed"
)

// lease is how long a claimed request belongs to its owner, who renews it while working.
const lease = 15 * time.Second

// job is a request that this process works on.
type job struct {
	id, source, sourceName, owner string
	at                            time.Time
	expires                       *int64
	attempts, replays             int64
	plan                          *plan
	body                          []byte
	held                          *hold
	queued                        bool      // it has waited: names may have changed
	question                      *question // of a sender that waits, or did before another try
}

func (j *job) payload() []byte {
	if j.plan.payload != nil {
		return j.plan.payload
	}
	return j.body
}

// running are the jobs in hand, by id with their owner.
type running struct {
	mu   sync.Mutex
	jobs map[string]string
}

func (r *running) add(id, owner string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.jobs[id] = owner
}

// remove forgets a job, unless another try has it by now, whose lease is to be kept.
func (r *running) remove(id, owner string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.jobs[id] == owner {
		delete(r.jobs, id)
	}
}

func (r *running) all() map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[string]string, len(r.jobs))
	for id, owner := range r.jobs {
		out[id] = owner
	}
	return out
}

// newOwner is a fencing token: whoever claims a request again has another.
func (h *Hooks) newOwner() string { return h.me + "/" + strconv.FormatInt(h.serial.Add(1), 36) }

func (h *Hooks) takeSlot() bool {
	select {
	case h.work <- struct{}{}:
		return true
	default:
		return false
	}
}

// rouse has the queue look at once.
func (h *Hooks) rouse() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// start does a job in a slot that was taken for it. Where Run is over, the job stays its lease, and becomes another's then.
func (h *Hooks) start(j *job) {
	h.running.add(j.id, j.owner)
	done := func() {
		h.running.remove(j.id, j.owner)
		j.held.release()
		<-h.work
		h.rouse()
	}
	if !h.begin(func(ctx context.Context) { defer done(); h.do(ctx, j) }) {
		done()
	}
}

// How often the queue is looked at where nothing wakes it, and how much is claimed at once.
const (
	pollEvery    = time.Second
	claimAtOnce  = 64
	leaseBeat    = 5 * time.Second
	absentAgain  = 10 * time.Minute // devices that come wake what waits for them
	crowdedAgain = time.Minute      // commands that end wake the next of their device
)

// schedule claims what is due, as slots become free, until ctx ends.
func (h *Hooks) schedule(ctx context.Context) error {
	if err := h.recallAbsent(ctx); err != nil && ctx.Err() == nil {
		return err
	}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		for more := true; more && ctx.Err() == nil; {
			n, err := h.claim(ctx)
			if err != nil && ctx.Err() == nil {
				h.Log.Error("requests of hooks not claimed", "cause", err)
			}
			more = err == nil && n == claimAtOnce
		}
		select {
		case <-ctx.Done():
			return nil
		case <-h.wake:
		case <-tick.C:
		}
	}
}

// claim takes slots, fills them with what is due, and gives back the rest.
func (h *Hooks) claim(ctx context.Context) (int, error) {
	next, err := h.Store.Read().NextHookRequest(ctx)
	now := h.Now()
	if errors.Is(err, store.ErrNotFound) || err == nil && next > store.Millis(now) {
		return 0, nil
	}
	slots := 0
	for slots < claimAtOnce && h.takeSlot() {
		slots++
	}
	defer func() {
		for range slots {
			<-h.work
		}
	}()
	if err != nil || slots == 0 {
		return 0, err
	}
	owner, rows := h.newOwner(), []store.ClaimHookRequestsRow{}
	err = h.Store.WriteTogether(ctx, func(q *store.Queries) (err error) {
		rows, err = q.ClaimHookRequests(ctx, store.ClaimHookRequestsParams{Owner: owner, Now: store.Millis(now),
			LeaseUntil: store.Millis(now.Add(lease)), AtMost: int64(slots)})
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("claim requests: %w", err)
	}
	for _, row := range rows {
		slots--
		h.load(row.ID, owner, row.Bytes)
	}
	return len(rows), nil
}

// load reads a claimed request and does it, in the slot that was taken. Nothing of it is in memory before there is room.
func (h *Hooks) load(id, owner string, bytes int64) {
	h.running.add(id, owner)
	done := func() { h.running.remove(id, owner); <-h.work; h.rouse() }
	ok := h.begin(func(ctx context.Context) {
		defer done()
		share := min(2*bytes, maxInMemory/2)
		if h.budget.Acquire(ctx, share) != nil {
			return
		}
		held := &hold{budget: h.budget, bytes: share}
		defer held.release()
		row, err := h.Store.Read().GetHookRequest(ctx, id)
		if err != nil || row.Owner != owner {
			return // removed with its source, or another's
		}
		j, err := h.jobOf(row)
		if err != nil {
			h.Log.Error("request of a hook cannot be read", "request", id, "cause", err)
			return
		}
		h.do(ctx, j)
	})
	if !ok {
		done()
	}
}

func (h *Hooks) jobOf(row store.HookRequest) (*job, error) {
	p := &plan{topic: row.Topic, device: row.DeviceID, payload: row.Payload}
	if err := json.Unmarshal([]byte(row.Plan), p); err != nil {
		return nil, fmt.Errorf("read plan: %w", err)
	}
	j := &job{id: row.ID, source: row.SourceID, owner: row.Owner, at: store.Time(row.At), expires: row.ExpiresAt, attempts: row.Attempts,
		replays: row.Replays, plan: p, body: row.Body, held: &hold{}, queued: true}
	if s := h.source(row.SourceID); s != nil {
		j.sourceName = s.Name
	}
	j.question = h.question(j)
	return j, nil
}

// outcome is how a try of a job ended.
type outcome struct {
	err     error         // nil: it is done
	again   time.Duration // it is tried again after this; 0: it is not
	free    bool          // the try did not count
	absent  bool          // its device was not connected
	crowded bool          // its device had no room
	ran     bool          // it had room, which is free now
	answer  *Reply        // of a command
}

// backoff is how long after each try the next comes; the last goes on.
var backoff = [...]time.Duration{time.Second, 2 * time.Second, 5 * time.Second, 15 * time.Second, 30 * time.Second, time.Minute, 5 * time.Minute}

// later is the outcome of a try that failed, and may not the next time.
func (j *job) later(err error) outcome {
	return outcome{err: err, again: backoff[min(int(j.attempts), len(backoff)-1)]}
}

var errExpired = errors.New("expired")

// do does a job once, and writes how that ended.
func (h *Hooks) do(ctx context.Context, j *job) {
	if j.expired(h.Now()) {
		h.finish(ctx, j, outcome{err: wire.Wrap(errExpired, wire.Offline, "It was not done in its time%s.", lastly(h.lastError(ctx, j)))})
		return
	}
	var o outcome
	if j.plan.Kind == ActionCommand {
		o = h.command(ctx, j)
	} else {
		o = h.publish(ctx, j)
	}
	if o.err != nil && ctx.Err() != nil { // the hub stops: the next begins with it
		o = outcome{err: o.err, again: time.Millisecond, free: true}
	}
	if o.again > 0 && j.expires != nil { // at its end somebody looks at it once more
		o.again = max(time.Millisecond, min(o.again, store.Time(*j.expires).Sub(h.Now())))
	}
	h.finish(context.WithoutCancel(ctx), j, o)
}

func (j *job) expired(now time.Time) bool { return j.expires != nil && store.Millis(now) >= *j.expires }

func (h *Hooks) lastError(ctx context.Context, j *job) string {
	row, err := h.Store.Read().GetHookRequest(ctx, j.id)
	if err != nil {
		return ""
	}
	return row.Error
}

func lastly(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}

// finish writes an outcome, and tells whoever waits. What is another's by now stays as it is.
func (h *Hooks) finish(ctx context.Context, j *job, o outcome) {
	message := ""
	if o.err != nil {
		message = wire.Printable(wire.MessageOf(o.err), 500)
	}
	n := int64(0)
	err := h.Store.WriteTogether(ctx, func(q *store.Queries) (err error) {
		if o.ran {
			if err := q.WakeNextHookRequest(ctx, store.WakeNextHookRequestParams{DeviceID: j.plan.device, Now: h.millis()}); err != nil {
				return err
			}
		}
		if o.again > 0 {
			n, err = q.RetryHookRequest(ctx, store.RetryHookRequestParams{ID: j.id, Owner: j.owner, Error: message, Tried: tried(o),
				NextAt: store.Millis(h.Now().Add(o.again))})
			return err
		}
		state := stateDone
		if o.err != nil {
			state = stateFailed
		}
		n, err = q.EndHookRequest(ctx, store.EndHookRequestParams{ID: j.id, Owner: j.owner, State: state, Error: message, Topic: j.plan.topic})
		if err != nil || n == 0 {
			return err
		}
		if o.answer != nil {
			_, err = q.AnswerHookRequest(ctx, o.answer.params(j.id, h.Now().Sub(j.at)))
		}
		if o.err != nil {
			err = errors.Join(err, h.Events.Write(ctx, q, events.Event{Type: events.HookFailed, Device: j.plan.device,
				Data: events.Data{"source": j.source, "request_id": j.id, "error": message}}))
		}
		return err
	})
	switch {
	case err != nil:
		h.Log.Error("outcome of a hook not written", "request", j.id, "cause", err)
	case n == 0: // it is another's, who tells
	case o.absent && h.Devices.Online(j.plan.device): // it came before this was written, and nothing was there to wake
		h.absent.add(j.plan.device)
		h.arrived(j.plan.device)
	case o.crowded && !h.orders.fullOf(j.plan.device): // likewise, one ended
		h.wakeNext(ctx, j.plan.device)
	case o.again > 0 && o.again < pollEvery:
		h.rouse()
	case o.err != nil && o.again == 0:
		h.awaited.resolve(j.id, nil, o.err)
	case o.answer != nil:
		h.awaited.resolve(j.id, o.answer, nil)
	}
}

func tried(o outcome) int64 {
	if o.free {
		return 0
	}
	return 1
}

// keepLeases prolongs what is worked on, until ctx ends.
func (h *Hooks) keepLeases(ctx context.Context) {
	tick := time.NewTicker(leaseBeat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		jobs, until := h.running.all(), store.Millis(h.Now().Add(lease))
		if len(jobs) == 0 {
			continue
		}
		err := h.Store.WriteTogether(ctx, func(q *store.Queries) error {
			for id, owner := range jobs {
				if err := q.KeepHookLease(ctx, store.KeepHookLeaseParams{ID: id, Owner: owner, LeaseUntil: until}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil && ctx.Err() == nil {
			h.Log.Error("leases of hooks not kept", "cause", err)
		}
	}
}
