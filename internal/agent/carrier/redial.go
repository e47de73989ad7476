package carrier

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
)

const (
	firstRetry   = time.Second // doubled with each failure
	slowestRetry = 30 * time.Second
	afterLife    = 5 * time.Second  // at most, for the first retry after a long life
	afterRestart = 15 * time.Second // at most, when the hub said that it restarts
	whilePending = 5 * time.Second  // at most, while a person is being waited for,
	pendingFor   = 15 * time.Minute // for this long
)

// backoff says when to dial again: full jitter, so that many agents which lost their hub at one moment do not come
// back at one moment. The zero value dials at once.
type backoff struct {
	failures     int
	at           time.Time // of the next dial; zero for at once
	pendingSince time.Time
}

func (b *backoff) success() { *b = backoff{} }

// failed schedules the dial after one that failed.
func (b *backoff) failed(err error) {
	if time.Until(b.at) > 0 {
		return // several met the same trouble
	}
	limit := slowestRetry
	if b.failures < 5 {
		limit = min(slowestRetry, firstRetry<<b.failures)
	}
	b.failures++
	wait := jitter(limit)
	dial, ok := errors.AsType[*stream.DialError](err)
	switch {
	case !ok:
	case dial.Cause == stream.CausePending:
		wait = b.pending(wait)
	case dial.Cause == causeClone:
		wait = slowestRetry + jitter(slowestRetry)
	case dial.RetryAfter > 0:
		wait = dial.RetryAfter + jitter(dial.RetryAfter/4)
	}
	b.at = time.Now().Add(wait)
}

func (b *backoff) pending(wait time.Duration) time.Duration {
	if b.pendingSince.IsZero() {
		b.pendingSince = time.Now()
	}
	if time.Since(b.pendingSince) < pendingFor {
		return min(wait, jitter(whilePending))
	}
	return wait
}

// lost schedules the dial after a carrier that lived for life. alive says that others are there: they prove that the
// hub is, and parking waits for nothing.
func (b *backoff) lost(err error, life time.Duration, alive bool) {
	switch {
	case time.Until(b.at) > 0: // several met the same trouble
	case err == nil: // in good order: it is replaced like any that was used up
	case errors.Is(err, stream.Restarting):
		b.at = time.Now().Add(jitter(afterRestart))
	case life >= longLife && alive:
	case life >= longLife:
		b.at = time.Now().Add(jitter(afterLife))
	default:
		b.failed(&stream.DialError{Cause: stream.CauseTCP, Err: err})
	}
}

// causeClone is a refusal because another machine has this device's key.
const causeClone Cause = "clone"

func jitter(limit time.Duration) time.Duration {
	if limit <= 0 {
		return 0
	}
	return time.Duration(rand.Int64N(int64(limit)))
}

// refusedCause is the cause that a hub's close of the handshake stands for.
func refusedCause(err error) Cause {
	switch wire.CodeOf(err) {
	case wire.Forbidden:
		if hasWord(err, "pending:") {
			return stream.CausePending
		}
		return stream.CauseAuth
	case wire.Conflict:
		if hasWord(err, "clone:") {
			return causeClone
		}
		return stream.CauseAuth
	case wire.Unauthenticated, wire.NotFound, wire.Invalid:
		return stream.CauseAuth
	}
	return stream.CauseNot101
}

// hasWord reports whether a close reason begins with a word of docs/protocol.md.
func hasWord(err error, word string) bool {
	message := wire.MessageOf(err)
	return len(message) >= len(word) && message[:len(word)] == word
}
