// Package broker is the hub's own MQTT broker (3.1, 3.1.1, 5.0), one of the doors: MQTT sessions, subscriptions, retained
// messages and Wills, with the access rules of package messaging at each step, kept in SQLite. Everything that it knows is
// guarded by one lock, under which nothing waits: peers are read by the goroutine that serves them and written to by one
// each, the database by one.
package broker

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/store"
)

// Options are what a Broker stands on.
type Options struct {
	Access messaging.Access // its May… are called under the broker's lock: they must not call the broker or wait
	Store  *store.Store     // nil: nothing outlives the process
	Log    *slog.Logger     // nil: slog.Default
	Now    func() time.Time // nil: time.Now
	Taker  messaging.Taker  // nil: nobody keeps messages beside; it needs a Store

	Refused messaging.TellRefused
}

// Broker is a messaging.Backend. Make it with New; Run must run for what New has made to work.
type Broker struct {
	access messaging.Access
	store  *store.Store
	log    *slog.Logger
	now    func() time.Time
	taker  messaging.Taker
	tell   messaging.TellRefused

	served  sync.WaitGroup // connections
	stopped chan struct{}  // closed when Run's end has begun

	mu           sync.Mutex
	sessions     map[key]*session
	conns        map[*conn]struct{} // those that were let in
	strangers    map[string]int     // connections not let in yet, by network
	strangersAll int
	tree         tree
	retained     retained
	system       map[string]*message // $SYS
	journal      journal
	commit       chan struct{}      // closed by the next commit
	waiting      map[*conn]struct{} // those that have something that waits for a commit
	lastPosition int64
	policies     uint64     // how many policies there have been
	round        uint64     // of route
	hits         []*session // its memory
	stats        counters
}

// counters run from started.
type counters struct {
	started                 time.Time
	received, sent, dropped int64
	unkept                  int64 // messages that were to be retained and had no room
}

var _ messaging.Backend = (*Broker)(nil)

// New reads what an earlier hub kept. Errors are the database's.
func New(ctx context.Context, o Options) (*Broker, error) {
	b := &Broker{access: o.Access, store: o.Store, log: o.Log, now: o.Now, tell: o.Refused,
		stopped:   make(chan struct{}),
		sessions:  map[key]*session{},
		conns:     map[*conn]struct{}{},
		strangers: map[string]int{},
		retained:  retained{messages: map[string]*message{}, accounts: map[string]*account{}},
		system:    map[string]*message{},
		journal:   journal{off: o.Store == nil, batch: newBatch(), collecting: 1, wake: make(chan struct{}, 1)},
		commit:    make(chan struct{}),
		waiting:   map[*conn]struct{}{},
		policies:  1,
	}
	if o.Store != nil {
		b.taker = o.Taker
	}
	if b.log == nil {
		b.log = slog.Default()
	}
	if b.now == nil {
		b.now = time.Now
	}
	b.stats.started = b.now()
	if err := b.load(ctx); err != nil {
		return nil, err
	}
	return b, nil
}

// Run works until ctx ends, then sends every peer away (MQTT 5.0: 0x8B), waits for their connections and writes what is
// not written yet. It returns the error of that last write.
func (b *Broker) Run(ctx context.Context) error {
	journal, stopJournal := context.WithCancel(context.WithoutCancel(ctx))
	defer stopJournal()
	written := make(chan error, 1)
	go func() { written <- b.journal.run(journal, b) }()
	var work sync.WaitGroup
	work.Go(func() { b.followAccess(ctx) })
	work.Go(func() { b.keepHouse(ctx) })
	<-ctx.Done()
	work.Wait()
	b.stop()
	b.served.Wait()
	stopJournal()
	return <-written
}

// stop sends everybody away. Wills are not sent: the next hub does, for those that do not come back.
func (b *Broker) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.stopped)
	for c := range b.conns {
		c.stopping = true
		c.close(mqtt.ServerShuttingDown)
	}
}

// enter counts a connection that is not let in yet; an error means that there are too many, or that the hub stops.
func (b *Broker) enter(door messaging.Door) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-b.stopped:
		return errStopping
	default:
	}
	network := door.Network()
	switch {
	case door.By != nil: // no stranger
	case b.strangersAll >= maxStrangers || network != "" && b.strangers[network] >= maxStrangersPerAddress:
		return errTooMany
	default:
		b.strangersAll++
		b.strangers[network]++
	}
	b.served.Add(1)
	return nil
}

func (b *Broker) leave(door messaging.Door) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if door.By != nil {
		return
	}
	network := door.Network()
	b.strangersAll--
	if b.strangers[network]--; b.strangers[network] == 0 {
		delete(b.strangers, network)
	}
}

// Serve implements messaging.Backend. Its error says why the connection ended, nil where the peer said DISCONNECT.
func (b *Broker) Serve(ctx context.Context, conn net.Conn, door messaging.Door) error {
	if err := b.enter(door); err != nil {
		b.tell.Of(ctx, messaging.Refusal{Door: door}, err)
		return errors.Join(err, conn.Close())
	}
	defer b.served.Done()
	c := newConn(b, conn, door)
	unhook := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer unhook()
	err := openApart(ctx, c)
	b.leave(door)
	if err != nil {
		return errors.Join(err, ignoreClosed(conn.Close()))
	}
	return c.serve()
}

// openApart lets a peer in from a goroutine of its own, whose stack goes with it: to look up a credential takes one that is deeper
// than all that comes later, and the reader's would stay as large for as long as the peer does (8 KiB of each idle one).
func openApart(ctx context.Context, c *conn) error {
	opened := make(chan error)
	go func() { opened <- c.open(ctx) }()
	return <-opened
}

var (
	errTooMany  = mqtt.Errorf(mqtt.ServerBusy, "too many connections that have not said who they are")
	errStopping = mqtt.Errorf(mqtt.ServerUnavailable, "the hub is stopping: try again")
)

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (b *Broker) newSession(k key, p messaging.Principal) *session {
	s := &session{key: k, principal: p, subscriptions: map[string]*subscription{}, unanswered: map[uint16]*delivery{}, incoming: map[uint16]struct{}{}}
	b.sessions[k] = s
	return s
}
