package auth

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

// Gate holds the live policy. Whatever goes on for longer than a request is held in it, and ends when the policy no
// longer allows it: within a moment of a change made through this hub, within half a second of one made by another
// process, and at the second when a grant or credential expires.
type Gate struct {
	store *store.Store
	now   func() time.Time

	mu       sync.Mutex
	policy   *access.Policy
	version  int64
	reviewed time.Time // when what is held was last compared with the policy
	held     map[*held]struct{}
	heldBy   map[string]int // by user
	changed  chan struct{}  // closed at the next review
}

// maxHeld is how many lasting uses (streams, attached shells, event streams) one user may have at once: far more than
// people and their programs need, far less than a hub can bear.
const maxHeld = 1000

type held struct {
	use    access.Use
	by     string // whose count it is in; empty for nobody's
	cancel context.CancelCauseFunc
}

// NewGate reads the policy for the first time. now is time.Now but in tests.
func NewGate(ctx context.Context, st *store.Store, now func() time.Time) (*Gate, error) {
	g := &Gate{store: st, now: now, held: map[*held]struct{}{}, heldBy: map[string]int{}, changed: make(chan struct{})}
	return g, g.refresh(ctx)
}

// Run keeps the policy current until ctx ends.
func (g *Gate) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.expire(ctx)
	}()
	err := g.store.Follow(ctx, g.Refresh)
	cancel()
	<-done
	return err
}

// expire looks again whenever something in the policy has run out since the last look.
func (g *Gate) expire(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			g.mu.Lock()
			if next := g.policy.NextExpiry(g.reviewed); !next.IsZero() && !g.now().Before(next) {
				g.review()
			}
			g.mu.Unlock()
		}
	}
}

// Refresh reads the policy again if somebody has changed it.
func (g *Gate) Refresh(ctx context.Context) error {
	version, err := g.store.Read().AccessVersion(ctx)
	if err != nil {
		return fmt.Errorf("access version: %w", err)
	}
	g.mu.Lock()
	current := version == g.version
	g.mu.Unlock()
	if current {
		return nil
	}
	return g.refresh(ctx)
}

func (g *Gate) refresh(ctx context.Context) error {
	policy, version, err := g.store.Policy(ctx, g.now())
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if version >= g.version {
		g.policy, g.version = policy, version
		g.review()
	}
	return nil
}

// review ends what the policy no longer allows. The caller holds mu.
func (g *Gate) review() {
	now := g.now()
	g.reviewed = now
	for h := range g.held {
		if err := verdict(g.policy, h.use, now); err != nil {
			h.cancel(err)
			g.forget(h)
		}
	}
	close(g.changed)
	g.changed = make(chan struct{})
}

// Changed is closed when the policy next changes, or something in it runs out: whoever holds what Hold does not know of
// looks again then. Take it before looking.
func (g *Gate) Changed() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.changed
}

// Change writes what may alter who may do what, and returns when the policy has it.
func (g *Gate) Change(ctx context.Context, fn func(*store.Queries) error) error {
	if err := g.store.WriteAccess(ctx, fn); err != nil {
		return err
	}
	return g.refresh(ctx)
}

// Policy is the snapshot of this moment.
func (g *Gate) Policy() *access.Policy {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.policy
}

// Check decides a use now. It fails with Unauthenticated, NotFound, Forbidden or Offline (the device waits for
// approval).
func (g *Gate) Check(ctx context.Context, u access.Use) error {
	return g.retry(ctx, func() error { return verdict(g.Policy(), u, g.now()) })
}

// Sees reports whether a device is in a user's view.
func (g *Gate) Sees(ctx context.Context, user, device string) bool {
	return nil == g.retry(ctx, func() error {
		if g.Policy().Sees(user, device, g.now()) {
			return nil
		}
		return ErrNoDevice
	})
}

// retry asks once more with the newest policy before it refuses: another process may have made the token or the grant
// just now.
func (g *Gate) retry(ctx context.Context, ask func() error) error {
	err := ask()
	if err == nil {
		return nil
	}
	if changed := g.Refresh(ctx); changed != nil {
		return changed
	}
	return ask()
}

// Hold is Check for a use that lasts: the context ends when the policy stops to allow it, with the Error as its cause.
// A use without a device is held by sign-in alone, and by the role where it says that it Manages. The caller calls the CancelFunc when the use is over. It fails with
// RateLimited where the user has too many already.
func (g *Gate) Hold(ctx context.Context, u access.Use) (context.Context, context.CancelFunc, error) {
	return g.holdAs(ctx, u, u.User)
}

// HoldForOthers is Hold for what strangers open in a user's name, as on a port of theirs: it does not count among that
// user's own, which strangers could use up. The caller bounds it.
func (g *Gate) HoldForOthers(ctx context.Context, u access.Use) (context.Context, context.CancelFunc, error) {
	return g.holdAs(ctx, u, "")
}

func (g *Gate) holdAs(ctx context.Context, u access.Use, by string) (context.Context, context.CancelFunc, error) {
	held, release := ctx, context.CancelFunc(nil)
	err := g.retry(ctx, func() (err error) {
		held, release, err = g.hold(ctx, u, by)
		return err
	})
	return held, release, err
}

// hold counts the use among those of by, where that is not empty.
func (g *Gate) hold(ctx context.Context, u access.Use, by string) (context.Context, context.CancelFunc, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := verdict(g.policy, u, g.now()); err != nil {
		return nil, nil, err
	}
	if g.heldBy[by] >= maxHeld {
		return nil, nil, wire.Errorf(wire.RateLimited, "You have %d streams, shells and pages open at once, which is the most. Close some.", maxHeld)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	h := &held{use: u, by: by, cancel: cancel}
	g.held[h] = struct{}{}
	if by != "" {
		g.heldBy[by]++
	}
	return ctx, func() {
		g.mu.Lock()
		g.forget(h)
		g.mu.Unlock()
		cancel(context.Canceled)
	}, nil
}

// forget takes h out, once. The caller holds mu.
func (g *Gate) forget(h *held) {
	if _, ok := g.held[h]; !ok {
		return
	}
	delete(g.held, h)
	if h.by == "" {
		return
	}
	if g.heldBy[h.by]--; g.heldBy[h.by] == 0 {
		delete(g.heldBy, h.by)
	}
}

func verdict(p *access.Policy, u access.Use, now time.Time) error {
	if u.Device == "" {
		switch {
		case !p.SignedIn(u.User, u.Credential, now):
			return errEnded
		case u.Manages && !p.Users[u.User].Role.Manages():
			return errManages
		}
		return nil
	}
	switch p.Check(u, now) {
	case access.Allowed:
		return nil
	case access.SignedOut:
		return errEnded
	case access.Hidden:
		return ErrNoDevice
	case access.Waiting:
		return wire.Errorf(wire.Offline, "This device waits for approval. An admin lets it in on its page.")
	case access.OtherWay:
		return ErrHeld
	}
	return forbidden(u)
}

// ErrHeld is the answer where a grant allows what is asked for only if the hub ends SSH.
var ErrHeld = wire.Errorf(wire.Forbidden, "Your grant lets you in through the hub only, which ends SSH itself. Use a shell in the browser, or ssh "+
	"through the hub's SSH gate: the device's page shows how, under Connect, ssh alone.")

// ErrNoDevice is the answer for a device that is not there or not in the caller's view: nobody can tell which.
var ErrNoDevice = wire.Errorf(wire.NotFound, "You have no device with this name or id.")

var errEnded = wire.Errorf(wire.Unauthenticated, "The sign-in that this ran by has ended. Sign in again.")

var errManages = wire.Errorf(wire.Forbidden, "This takes the role admin or owner.")

func forbidden(u access.Use) error {
	if u.Login != "" {
		return wire.Errorf(wire.Forbidden, "No grant lets you in as %q by %s on this device. An admin can add one: "+
			"adit-hub grant add", wire.Printable(u.Login, 32), u.Target)
	}
	return wire.Errorf(wire.Forbidden, "No grant lets you open %s on this device. An admin can add one: adit-hub grant add",
		wire.Printable(u.Target, 80))
}
