// Package incoming is the door for requests of others: sources, each with an address and a way to verify who sends, and what
// becomes of a request that is theirs. It is kept first and answered then; what its source does with it — publish a
// message, run a command of a device, or nothing — is done from the database, at least once, whatever happens to the hub.
package incoming

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/seal"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/webhook/transform"
	"github.com/aditdev/adit/internal/wire"
)

// Broker is what sources publish by: messaging.Exchange is one.
type Broker interface {
	// Send publishes past the rules of people: an admin made the source.
	Send(ctx context.Context, m mqtt.Message, from string) error
	// Ask is Send for a message with a response topic: answer gets what comes on it until end is called, and whoever may
	// receive the message may write there. Answer must not block.
	Ask(ctx context.Context, m mqtt.Message, from string, answer func(messaging.Received)) (end func(), err error)
	// Listens reports whether a client of that description is connected and subscribed to a topic.
	Listens(topic string, of func(messaging.Principal) bool) bool
	// ReplyTopic is this hub's for the answer to a request.
	ReplyTopic(id string) string
}

// Transforms runs what admins wrote: transform.Pool does.
type Transforms interface {
	Apply(ctx context.Context, t transform.Transform, input any) ([]byte, error)
}

// Devices is the tunnel and the register, as far as hooks need them: Register makes one.
type Devices interface {
	// Find gives id and name of the device of that id or name, or fails with wire.NotFound.
	Find(ctx context.Context, ref string) (id, name string, err error)
	Online(id string) bool
	// Commands gives what the device of that id or name has told of its commands. It fails with wire.NotFound.
	Commands(ctx context.Context, ref string) (Commands, error)
	// Run has a device run a command. Errors are those of wire.MethodRun.
	Run(ctx context.Context, id string, run wire.Run) (wire.RunResult, error)
	// Arrivals calls fn with each device that comes online, until ctx ends.
	Arrivals(ctx context.Context, fn func(id string))
}

// Options make a Hooks; every field must be set.
type Options struct {
	Log        *slog.Logger
	Now        func() time.Time
	Store      *store.Store
	Sealer     *seal.Sealer
	Events     *events.Log
	URL        string // the hub's own, as https://hub.example.com
	Broker     Broker
	Transforms Transforms
	Devices    Devices
}

// Hooks are the sources and their requests. It is safe for concurrent use.
type Hooks struct {
	Options
	me     string // this process, in leases
	serial atomic.Int64

	known  atomic.Pointer[snapshot]
	reload sync.Mutex

	// Requests that nobody has verified, by network. They must not use up the rate of a source, so it is their own, wider than a sender needs
	// whose secret is wrong.
	strangers *auth.Limiter

	budget  *semaphore.Weighted // bytes of bodies in memory
	work    chan struct{}       // slots of what is done at once
	orders  *lanes              // commands that run, by device
	slots   *lanes              // senders that wait, by device
	awaited awaited
	wake    chan struct{} // something is due
	running running
	absent  absent
	full    atomic.Bool   // too many requests wait
	came    atomic.Int64  // bytes that were kept since count was told
	count   chan struct{} // they are to be counted
	crowds  crowds

	listening *semaphore.Weighted // bytes of what listeners have in hand

	mu      sync.Mutex
	life    context.Context // nil before Run and after
	serving sync.WaitGroup
}

// Bounds on what is in memory, and in hand, at once.
const (
	maxInMemory  = 64 << 20 // bytes of bodies
	maxAtOnce    = 256      // actions
	maxOrders    = 64       // commands, of all devices
	maxWaiting   = 256      // senders that wait, in all
	maxWaitingOn = 8        // and on one device
	maxQueued    = 100_000  // requests that wait to be done

	maxQueuedBytes = 256 << 20 // that are kept of them

	strangersRate  = 20  // requests a second that are not verified, of one network
	strangersBurst = 300 // and at once
)

// New makes a Hooks, and reads its sources. Run must run for anything to be done with requests.
func New(ctx context.Context, o Options) (*Hooks, error) {
	h := &Hooks{Options: o, me: wire.NewID(), strangers: auth.NewLimiter(strangersBurst, time.Second/strangersRate, o.Now),
		budget: semaphore.NewWeighted(maxInMemory), work: make(chan struct{}, maxAtOnce),
		orders: newLanes(maxOrders, wire.MaxRunsAtOnce), slots: newLanes(maxWaiting, maxWaitingOn),
		awaited: awaited{waiting: map[string]*waiter{}, asked: map[string]bool{}}, wake: make(chan struct{}, 1), count: make(chan struct{}, 1),
		running: running{jobs: map[string]string{}}, absent: absent{devices: map[string]bool{}}, crowds: crowds{by: map[string]*crowd{}},
		listening: semaphore.NewWeighted(listenMemory)}
	return h, h.Reload(ctx)
}

// Run does what requests ask for until ctx ends. What is under way then is left to the next Run.
func (h *Hooks) Run(ctx context.Context) error {
	life, end := context.WithCancel(ctx)
	defer end()
	h.open(life)
	group, life := errgroup.WithContext(life)
	group.Go(func() error { return h.schedule(life) })
	group.Go(func() error { return h.follow(life) })
	group.Go(func() error { h.keepLeases(life); return nil })
	group.Go(func() error { h.sweepNowAndThen(life); return nil })
	group.Go(func() error { h.Devices.Arrivals(life, h.arrived); return nil })
	err := group.Wait()
	end()
	h.shut()
	h.serving.Wait()
	return err
}

func (h *Hooks) open(life context.Context) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.life = life
}

// shut lets nothing begin any more.
func (h *Hooks) shut() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.life = nil
}

// begin starts fn in a goroutine that Run waits for; it fails where Run does not run.
func (h *Hooks) begin(fn func(ctx context.Context)) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.life == nil || h.life.Err() != nil {
		return false
	}
	life := h.life
	h.serving.Go(func() { fn(life) })
	return true
}

func (h *Hooks) millis() int64 { return store.Millis(h.Now()) }
