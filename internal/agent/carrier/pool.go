package carrier

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"maps"
	"net/url"
	"sync"
	"time"

	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
)

const (
	tick        = 2 * time.Second  // looks at silence, surplus, the clock and the network
	surplusIdle = 60 * time.Second // that a carrier beyond the goal stays parked
	longLife    = 60 * time.Second // after which a lost carrier says nothing about the next
)

// Pool is a running set of carriers.
type Pool struct {
	config  Config
	host    string // of the URL, as it is signed
	changed chan struct{}
	clock   clock
	network watch

	mu       sync.Mutex
	hubKeys  []ed25519.PublicKey // pinned
	carriers map[string]*carrier // by nonce: every one whose hello has come
	parked   int
	dialing  int
	proving  int       // carriers whose answer to a ping is awaited
	told     time.Time // the origin of the clock that the hub was told last; zero before the first carrier
	streams  map[*served]struct{}
	tokens   map[string]*served // streams that can be taken up again
	ended    map[string]ended   // those that ended well of late, by token
	want     int                // as the last open said
	wantAt   time.Time          // and when
	cap      int                // carriers at which the last further dial failed; 0 for none
	redial   backoff
	status   Status
	closing  bool
	gone     chan struct{} // replaced whenever a carrier came or went, for calls that wait

	calls   stream.Caller
	answers stream.Callee
	working sync.WaitGroup
}

// New makes a Pool that does nothing until Run.
func New(c Config) *Pool {
	if c.ResumeFor == 0 {
		c.ResumeFor = wire.ResumeFor
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	p := &Pool{
		config:   c,
		clock:    clock{wall: c.Clock, began: time.Now()},
		changed:  make(chan struct{}, 1),
		carriers: make(map[string]*carrier),
		streams:  make(map[*served]struct{}),
		tokens:   make(map[string]*served),
		ended:    make(map[string]ended),
		gone:     make(chan struct{}),
		hubKeys:  c.HubKeys,
	}
	p.status.Since, p.status.HubTime = time.Now(), c.HubTime
	if p.config.Dialer.Sessions == nil {
		p.config.Dialer.Sessions = tls.NewLRUClientSessionCache(2)
	}
	if p.config.Dialer.Now == nil {
		p.config.Dialer.Now = p.now
	}
	return p
}

// Pin has the pool know its hub by other keys, from the next message that is verified on.
func (p *Pool) Pin(keys []ed25519.PublicKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hubKeys = keys
}

// pinned are the keys by which the hub is known.
func (p *Pool) pinned() []ed25519.PublicKey {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hubKeys
}

// Run is the package's Run.
func (p *Pool) Run(ctx context.Context) error {
	u, err := url.Parse(p.config.URL)
	if err != nil || u.Host == "" {
		return wire.Errorf(wire.Invalid, "%q is no URL of a hub.", p.config.URL)
	}
	p.host = u.Host
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	p.network.changed(p.clock.origin()) // takes the first look
	for {
		wait := p.fill(ctx)
		p.report()
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			p.close(context.Cause(ctx))
			return context.Cause(ctx)
		case <-p.changed:
		case <-timer.C:
		case <-ticker.C:
			p.look()
		}
		timer.Stop()
	}
}

// nudge makes Run look again.
func (p *Pool) nudge() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

func (p *Pool) report() {
	if p.config.Status == nil {
		return
	}
	p.mu.Lock()
	before := p.status
	p.status.Parked, p.status.Streams = p.parked, len(p.streams)
	p.status.RetryAt, p.status.Attempts = p.redial.at, p.redial.failures
	if online := len(p.carriers) > 0 && p.ready() > 0; online != p.status.Online {
		p.status.Online, p.status.Since = online, time.Now()
	}
	now := p.status
	p.mu.Unlock()
	if now != before || before.Since.IsZero() {
		p.config.Status(now)
	}
}

// ready counts the carriers whose handshake is over; mu is held.
func (p *Pool) ready() (n int) {
	for _, c := range p.carriers {
		if c.ready {
			n++
		}
	}
	return n
}

// fill dials what is missing to the goal and says when to look again. After a failure one dial at a time goes out,
// when its time has come.
func (p *Pool) fill(ctx context.Context) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	missing := p.goal() - p.parked - p.dialing
	if p.clockSet() {
		missing = max(missing, 1-p.dialing) // its auth tells the new one
	}
	if missing <= 0 {
		return time.Hour
	}
	if !p.redial.at.IsZero() {
		if wait := time.Until(p.redial.at); wait > 0 {
			return wait
		}
		p.redial.at = time.Time{}
	}
	if p.redial.failures > 0 {
		missing = min(missing, 1-p.dialing)
	}
	for range missing {
		p.dialing++
		p.working.Go(func() { p.bring(ctx) })
	}
	return time.Hour
}

// clockSet reports that the hub believes a clock which is no longer so: it makes certificates around what it was told,
// and an idle carrier tells nothing for hours. mu is held.
func (p *Pool) clockSet() bool {
	return !p.told.IsZero() && p.clock.origin().Sub(p.told).Abs() > clockStep
}

// goal is how many carriers should be parked or on the way; mu is held.
func (p *Pool) goal() int {
	goal := min(p.want, wire.MaxParked) + 1
	if len(p.streams) > 0 {
		goal++
	}
	return goal
}

// bring dials one carrier and serves it to its end.
func (p *Pool) bring(ctx context.Context) {
	c, err := p.dial(ctx, wire.PurposeCarrier)
	p.mu.Lock()
	p.dialing--
	if err != nil {
		p.failedLocked(err)
	} else {
		p.arrivedLocked(c)
	}
	p.mu.Unlock()
	p.nudge()
	if err != nil {
		p.config.Log.Info("carrier failed", "cause", stream.CauseOf(err), "error", err)
		return
	}
	err = c.serve(ctx)
	p.mu.Lock()
	p.lostLocked(c, err)
	p.mu.Unlock()
	p.nudge()
	c.ws.Close(nil)
}

func (p *Pool) arrivedLocked(c *carrier) {
	p.redial.success()
	p.status.Cause, p.status.Detail = stream.CauseNone, ""
	c.ready, c.parkedAt, p.told = true, time.Now(), c.told
	p.parked++
	if p.ready() > p.cap {
		p.cap = 0
	}
	p.tellWaiters()
}

// tellWaiters wakes calls that wait for a carrier, or for theirs to end; mu is held.
func (p *Pool) tellWaiters() {
	close(p.gone)
	p.gone = make(chan struct{})
}

// failedLocked notes a dial that failed. Where others live and nothing names another reason, something on the way allows
// no more of them. Whether they live is not known in a machine that just woke.
func (p *Pool) failedLocked(err error) {
	p.status.Cause, p.status.Detail = stream.CauseOf(err), wire.MessageOf(err)
	if n := p.ready(); n > 0 && p.proving == 0 && mayBeCap(p.status.Cause) {
		p.cap = n
		p.status.Cause = stream.CauseConnectionCap
	}
	p.redial.failed(err)
}

// lostLocked notes the end of a carrier.
func (p *Pool) lostLocked(c *carrier, err error) {
	delete(p.carriers, c.nonce)
	if c.current.Load() == nil && !c.left {
		p.parked--
	}
	if !c.left {
		p.redial.lost(err, time.Since(c.born), p.ready() > 0)
	}
	p.tellWaiters()
}

// look closes what is silent or surplus, and notices a machine that slept or moved.
func (p *Pool) look() {
	moved := p.network.changed(p.clock.origin())
	if moved {
		p.Wake()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.wantAt) > surplusIdle {
		p.want = 0
	}
	maps.DeleteFunc(p.ended, func(_ string, e ended) bool { return time.Since(e.at) > p.config.ResumeFor })
	surplus := p.parked - p.goal()
	for _, c := range p.carriers {
		switch {
		case !c.ready:
		case time.Since(c.ws.Heard()) > c.deadAfter, moved && !p.network.has(c.ws.LocalAddr()):
			p.working.Go(c.ws.CloseNow)
		case surplus > 0 && c.current.Load() == nil && !c.left && time.Since(c.parkedAt) > surplusIdle:
			surplus--
			p.parked--
			c.left = true
			p.working.Go(func() { c.ws.Close(nil) })
		}
	}
}

// Wake resets every wait and tries every carrier: the machine woke, or its network changed. Run notices both by
// itself.
func (p *Pool) Wake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.redial = backoff{}
	for _, c := range p.carriers {
		if c.ready && !p.closing {
			p.proving++
			p.working.Go(c.prove)
		}
	}
	p.nudge()
}

// close ends every carrier and stream, and waits for them.
func (p *Pool) close(cause error) {
	p.mu.Lock()
	p.closing = true
	for _, c := range p.carriers {
		p.working.Go(func() { c.ws.Close(nil) })
	}
	for s := range p.streams {
		s.end.Fail(cause)
	}
	p.mu.Unlock()
	p.working.Wait()
}

// now is the time at which the hub's certificate must be valid. A board without a clock starts in 1970; what it has
// learnt of the time since is better. But a hub may once have told a time far ahead: where no certificate is valid then,
// every other dial goes by the clock itself.
func (p *Pool) now() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.clock.wall()
	if p.status.Cause == stream.CauseClock && p.redial.failures%2 == 1 {
		return now
	}
	for _, known := range []time.Time{p.config.BuildTime, p.status.HubTime} {
		if known.After(now) {
			now = known
		}
	}
	return now
}
