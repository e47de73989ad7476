package outgoing

import (
	"math/rand/v2"
	"time"

	"github.com/aditdev/adit/internal/store"
)

// States of an endpoint's breaker.
const (
	BreakerClosed   = "closed"
	BreakerOpen     = "open"
	BreakerHalfOpen = "half-open"
)

const (
	breakAfter   = 10          // failures in a row open the breaker,
	breakLeast   = 20          // and of so many attempts
	breakWindow  = time.Minute // within this time, half
	probeFirst   = 30 * time.Second
	probeMost    = 30 * time.Minute
	disableAfter = 5 * 24 * time.Hour // of nothing but failures, and at least breakAfter of them
	untriedFor   = 30 * time.Hour     // without an attempt these begin anew: it was paused, the hub was off, or the clock wrong. No step of the schedule is longer
	leaseBeyond  = 15 * time.Second   // what a lease lasts beyond the attempt's timeout
)

// health is how an endpoint is doing; its methods are what attempts make of it. The row is written in the attempt's transaction.
type health struct{ store.HookEndpointHealth }

// try reports whether an attempt may begin, and notes it where it is the one that a half-open breaker lets through. changed says that the
// row must be written.
func (h *health) try(now time.Time, timeout time.Duration) (ok, changed bool) {
	if h.Breaker == BreakerClosed {
		return true, false
	}
	if !h.may(now) {
		return false, false
	}
	h.Breaker, h.RetryAt = BreakerHalfOpen, store.Millis(now.Add(timeout+leaseBeyond)) // if that hub dies, another tries then
	return true, true
}

// may reports whether an attempt may begin. A time further away than any that a breaker sets is of a clock that was ahead.
func (h *health) may(now time.Time) bool {
	wait := store.Time(h.RetryAt).Sub(now)
	return h.Breaker == BreakerClosed || wait <= 0 || wait > probeMost
}

// delivered closes the breaker: who answers, works.
func (h *health) delivered(now time.Time) {
	h.note(now, 0)
	h.Breaker, h.Opened, h.RetryAt, h.Failures, h.FailingSince, h.LastError = BreakerClosed, 0, 0, 0, nil, ""
}

// failed notes a failure, and opens the breaker where it is one too many. It reports whether the endpoint is beyond hope.
func (h *health) failed(now time.Time, reason string) (hopeless bool) {
	untried := h.LastAt == nil || now.Sub(store.Time(*h.LastAt)).Abs() > untriedFor
	h.note(now, 1)
	h.Failures++
	h.LastError = reason
	if at := store.Millis(now); h.FailingSince == nil || untried {
		h.FailingSince = &at
	}
	half := h.WindowAttempts >= breakLeast && 2*h.WindowFailures >= h.WindowAttempts
	switch {
	case h.Breaker == BreakerHalfOpen, h.Breaker == BreakerClosed && (h.Failures >= breakAfter || half):
		h.Breaker = BreakerOpen
		h.RetryAt = store.Millis(now.Add(probeWait(h.Opened)))
		h.Opened++
	}
	return h.Failures >= breakAfter && store.Millis(now)-*h.FailingSince >= disableAfter.Milliseconds()
}

// note counts an attempt of the minute.
func (h *health) note(now time.Time, failures int64) {
	at := store.Millis(now)
	if at-h.WindowAt >= breakWindow.Milliseconds() || at < h.WindowAt {
		h.WindowAt, h.WindowAttempts, h.WindowFailures = at, 0, 0
	}
	h.WindowAttempts++
	h.WindowFailures += failures
	h.LastAt = &at
}

// reset is for a person who says that it works again.
func (h *health) reset() {
	h.Breaker, h.Opened, h.RetryAt, h.Failures, h.FailingSince = BreakerClosed, 0, 0, 0, nil
	h.WindowAt, h.WindowAttempts, h.WindowFailures = 0, 0, 0
}

// probeWait is how long a breaker that was opened so often before stays open.
func probeWait(opened int64) time.Duration {
	return min(probeFirst<<min(opened, 10), probeMost)
}

// finished moves a delivery of so many bytes from those that wait to those that are kept.
func (h *health) finished(state string, before, after int64) {
	h.Waiting--
	h.WaitingBytes -= before
	h.Kept++
	h.KeptBytes += after
	if state == stateDead {
		h.Dead++
	}
}

func (h *health) params() store.PutHookHealthParams {
	r := h.HookEndpointHealth
	return store.PutHookHealthParams{EndpointID: r.EndpointID, Breaker: r.Breaker, Opened: r.Opened, RetryAt: r.RetryAt, Failures: r.Failures,
		FailingSince: r.FailingSince, WindowAt: r.WindowAt, WindowAttempts: r.WindowAttempts, WindowFailures: r.WindowFailures, LastAt: r.LastAt,
		LastError: r.LastError, Waiting: r.Waiting, WaitingBytes: r.WaitingBytes, Kept: r.Kept, KeptBytes: r.KeptBytes, Dead: r.Dead,
		Refused: r.Refused, RefusedAt: r.RefusedAt}
}

// schedule is how long after an attempt the next one is: Standard Webhooks' own example, ten attempts over 75 hours and a half.
var schedule = [...]time.Duration{5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour,
	14 * time.Hour, 20 * time.Hour, 24 * time.Hour}

// MaxAttempts is how often a delivery is tried.
const MaxAttempts = len(schedule) + 1

// nextTry is when an attempt follows on the one of a number, from 1; ok is false where it was the last. Many that failed at once must not
// come back at once, so each has up to a fifth more or less. The receiver's own wish counts where it is later.
func nextTry(number int, now, wish time.Time) (at time.Time, ok bool) {
	if number > len(schedule) {
		return time.Time{}, false
	}
	wait := schedule[number-1]
	at = now.Add(wait - wait/5 + rand.N(2*wait/5))
	if wish.After(at) {
		at = wish
	}
	return at, true
}
