package shell

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/aditdev/adit/internal/sshlogin"
	"github.com/aditdev/adit/internal/wire"
)

const (
	openTimeout = 20 * time.Second // to reach the device for the first time
	joinTimeout = 30 * time.Second // for one attempt to reach it
	maxPause    = 10 * time.Second // between two attempts
	hangupGrace = 2 * time.Second  // for the device to say how the terminal ended
	endedFor    = 2 * time.Minute  // that a browser may come back for the end of its shell
	steady      = 5 * time.Second  // that a connection lasted, for the next attempt to come at once
	staleInput  = 5 * time.Second  // after which keys typed into a lost connection are forgotten
)

// errStop ends a shell for a reason that is no failure: its user ended it, or nobody was there for so long.
var errStop = errors.New("ended by its user")

// errExpired is errStop for a shell that nobody looks on.
var errExpired = errors.New("nobody was attached")

// end is how a shell ended.
type end struct {
	exit *int
	err  error // nil: the login shell exited
}

// run is the whole life of a shell in this hub. allowed ends with an Error as its cause where the user lost the right
// to it; life ends with the hub.
func (sh *Shell) run(life, allowed context.Context) {
	r := sh.View().Record
	log := sh.o.Log.With("shell", r.ID, "device", r.Device, "user", r.User)
	log.Info("shell open", "login", r.Login, "restored", r.OutlivesHub)
	if sh.o.Opened != nil && !r.OutlivesHub {
		sh.o.Opened(allowed, r)
	}
	e := sh.serve(allowed)
	if stopping(allowed) {
		log.Info("shell left to the next hub", "duration", time.Since(r.Created))
		return
	}
	cause := "exited"
	if e.err != nil {
		cause = e.err.Error()
	}
	log.Info("shell ended", "duration", time.Since(r.Created), "cause", cause)
	sh.linger(life)
}

// stopping tells the hub's end from the end of the user's right.
func stopping(ctx context.Context) bool {
	_, revoked := errors.AsType[*wire.Error](context.Cause(ctx))
	return ctx.Err() != nil && !revoked
}

// serve connects to the device again and again, until the shell is over.
func (sh *Shell) serve(ctx context.Context) end {
	for attempt := 0; ; attempt++ {
		if err := sh.awaitWanted(ctx, pause(attempt)); err != nil {
			return sh.finish(ctx, end{err: err}, nil)
		}
		began := time.Now()
		l, err := sh.connect(ctx)
		if err == nil {
			if err = l.use(ctx); err == nil {
				return sh.finish(ctx, end{exit: &l.exit}, l)
			}
			l.close()
			if time.Since(l.since) > steady {
				attempt = 0
			}
		}
		if over := sh.judge(ctx, err, attempt, began); over != nil {
			return sh.finish(ctx, end{err: over}, nil)
		}
	}
}

// judge decides what a failure means: nil where another attempt may do better.
func (sh *Shell) judge(ctx context.Context, err error, attempt int, began time.Time) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if _, final := errors.AsType[*sshlogin.FinalError](err); final || errors.Is(err, errStop) || errors.Is(err, errExpired) {
		return err
	}
	sh.mu.Lock()
	opening, created := sh.state == wire.ShellOpening, sh.record.Created
	sh.mu.Unlock()
	code, late := wire.CodeOf(err), time.Since(created) > openTimeout || time.Since(began) > openTimeout
	switch {
	case opening && code == wire.Unauthenticated && !late && !sh.refused:
		sh.refused = true // perhaps its clock was set: the carrier that took the place of this one's has told the new one
	case opening && (code != wire.Offline || late), code == wire.Unauthenticated && attempt > 3:
		return err
	}
	sh.o.Log.Debug("shell waits", "shell", sh.record.ID, "device", sh.record.Device, "cause", err)
	if !opening {
		sh.setState(wire.ShellWaiting, "The connection to the device was lost: "+wire.MessageOf(err))
	}
	return nil
}

// pause is the time before an attempt: none before the first and second, then longer and longer.
func pause(attempt int) time.Duration {
	if attempt <= 1 {
		return 0
	}
	most := min(maxPause, time.Second<<min(attempt-2, 10))
	return most/4 + rand.N(3*most/4)
}

// awaitWanted returns nil when an attempt to reach the device is due: after the pause, when somebody is attached or
// waits for the shell to open. It returns why the shell is over where it is.
func (sh *Shell) awaitWanted(ctx context.Context, pause time.Duration) error {
	paused := time.After(pause)
	for due := pause == 0; ; {
		sh.mu.Lock()
		changed, wanted := sh.changed, len(sh.attachments) > 0 || sh.state == wire.ShellOpening
		left, stop := sh.overdue(time.Now())
		sh.mu.Unlock()
		if stop != nil || (due && wanted) {
			return stop
		}
		select {
		case <-paused:
			due = true
		case <-changed:
		case <-after(left):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// overdue reports why the shell must end now, or when nobody will have been attached for too long; left < 0: never.
// The caller holds mu.
func (sh *Shell) overdue(now time.Time) (left time.Duration, stop error) {
	if sh.hangup {
		return -1, errStop
	}
	if len(sh.attachments) > 0 {
		return -1, nil
	}
	if left = sh.emptyAt.Add(sh.o.Life).Sub(now); left <= 0 {
		return 0, errExpired
	}
	return left, nil
}

// after is time.After, and never for a negative time.
func after(d time.Duration) <-chan time.Time {
	if d < 0 {
		return nil
	}
	return time.After(d)
}

// finish tells the store and then browsers how the shell ended, and only after that lets the device forget.
func (sh *Shell) finish(ctx context.Context, e end, l *link) end {
	if l != nil {
		defer l.close()
	}
	if stopping(ctx) {
		return e
	}
	if ctx.Err() != nil {
		sh.revoke(e.err)
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	err := sh.o.Store.EndShell(bounded, sh.record.ID, e.exit)
	if err != nil {
		sh.o.Log.Error("shell ended, and the database does not know", "shell", sh.record.ID, "cause", err)
	}
	sh.ended(e)
	if l != nil && err == nil {
		l.line.forget()
	}
	if sh.o.Ended != nil {
		sh.o.Ended(bounded, sh.View().Record)
	}
	return e
}

// revoke cuts off every browser.
func (sh *Shell) revoke(err error) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.revoked == nil {
		sh.revoked, sh.state, sh.typed = err, wire.ShellEnded, nil
		sh.news()
	}
}

// linger keeps an ended shell for browsers that have not read its last output, among them one that lost its socket at
// just that moment.
func (sh *Shell) linger(life context.Context) {
	deadline := time.After(endedFor)
	for {
		sh.mu.Lock()
		changed, done := sh.changed, sh.revoked != nil || (sh.told && len(sh.attachments) == 0)
		sh.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			return
		case <-life.Done():
			return
		}
	}
}
