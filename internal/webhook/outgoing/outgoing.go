// Package outgoing delivers events and MQTT messages to HTTP endpoints: at least once, under the same id however often it has
// to try, and in order where that is asked. The queue is in the database. What comes is there before its sender hears that it
// was taken; what leaves is claimed with a lease first, so that of several hubs, or of one that was killed, only the holder of the
// lease says what became of it.
package outgoing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/seal"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/webhook/guard"
	"github.com/aditdev/adit/internal/webhook/transform"
	"github.com/aditdev/adit/internal/wire"
)

// Limits bound what the queue takes. A zero value stands for the default. What is kept is events.Retention's to say.
type Limits struct {
	Waiting      int64         // deliveries of one endpoint that wait; 200,000
	WaitingBytes int64         // and their bytes; 256 MiB
	Patience     time.Duration // how long one waits before it is given up, whatever it waits for; 7 days
}

func (l *Limits) fill() {
	orSet(&l.Waiting, 200_000)
	orSet(&l.WaitingBytes, 256<<20)
	orSet(&l.Patience, 7*24*time.Hour)
}

func orSet[T ~int64](v *T, fallback T) {
	if *v == 0 {
		*v = fallback
	}
}

// Options are what an Outbox stands on; every field but Elapsed and the last three must be set.
type Options struct {
	Store  *store.Store
	Sealer *seal.Sealer
	Gate   *auth.Gate
	Events *events.Log
	Guard  *guard.Guard
	// Transform runs a transform: transform.Pool's Apply. Its wire.Invalid and wire.TooLarge are the transform's own fault.
	Transform func(ctx context.Context, t transform.Transform, input any) ([]byte, error)
	Log       *slog.Logger
	Now       func() time.Time
	Elapsed   func() time.Duration // since whenever, by a clock that nobody sets; nil: that of the process
	Hub       string               // this hub's name in CloudEvents' source
	Version   string               // of User-Agent
	// Alone says that no other hub works on this database: what is leased at the start was left by one that is gone.
	Alone  bool
	Limits Limits
	Poll   time.Duration // how often the queue is looked at without being told to; a second
}

// Outbox is the queue and who works on it. It is safe for concurrent use. Run must run for anything to leave.
type Outbox struct {
	Options
	owner  string // of leases: this very Outbox
	client *http.Client
	wake   chan struct{} // something is due
	unseen chan struct{} // the table is another, and nobody has looked at its queues
	table  atomic.Pointer[table]
	counts counts

	refreshing sync.Mutex

	sweeping sync.Mutex
	clock    reading // at the last sweep

	mu      sync.Mutex
	lines   map[string]*line // by endpoint
	held    figures          // messages that the broker has for this and has not written: they count in every queue, since who wants them may change meanwhile
	slots   int              // workers beside each endpoint's first
	changed chan struct{}    // closed when the table is another

	working sync.WaitGroup
}

// counts are attempts since the start, by outcome, and messages for which there was no room.
type counts struct{ delivered, failed, dead, refused atomic.Int64 }

// New makes an Outbox, reads the endpoints, and queues what happened before it. Errors are the database's, or seal.ErrOpen.
func New(ctx context.Context, o Options) (*Outbox, error) {
	o.Limits.fill()
	if o.Poll == 0 {
		o.Poll = time.Second
	}
	if o.Elapsed == nil {
		began := time.Now()
		o.Elapsed = func() time.Duration { return time.Since(began) }
	}
	b := &Outbox{Options: o, owner: wire.NewID(), wake: make(chan struct{}, 1), unseen: make(chan struct{}, 1), lines: map[string]*line{}, changed: make(chan struct{})}
	b.client = newClient(o.Guard)
	b.table.Store(&table{})
	b.clock = b.reading()
	if err := b.refresh(ctx); err != nil {
		return b, err
	}
	return b, b.queueUnread(ctx)
}

// Run delivers until ctx ends. Attempts that are under way then have a few seconds to end; those that do not are taken up by the
// next hub, and not counted.
func (o *Outbox) Run(ctx context.Context) error {
	defer o.client.CloseIdleConnections()
	before := o.Now()
	if o.Alone {
		before = before.Add(100 * 365 * 24 * time.Hour)
	}
	if err := errors.Join(o.returnLeases(ctx, before), o.hurry(ctx)); err != nil && ctx.Err() == nil {
		return fmt.Errorf("take up deliveries: %w", err)
	}
	hard, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	var loops sync.WaitGroup
	loops.Go(func() { o.dispatch(ctx, hard) })
	loops.Go(func() { o.pump(ctx) })
	loops.Go(func() { o.keepHouse(ctx) })
	<-ctx.Done()
	defer time.AfterFunc(endWithin, cut).Stop()
	loops.Wait()
	o.working.Wait()
	return nil
}

// endWithin is what an attempt under way has when the hub stops.
const endWithin = 5 * time.Second

// millis is now as the database keeps it.
func (o *Outbox) millis() int64 { return store.Millis(o.Now()) }

// pause waits, and reports whether ctx is still there.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
