// Package external stands before an MQTT broker of the operator's own, as Mosquitto: the second messaging.Backend. The hub
// stays the door that says who connects. Then it hands the connection on: of CONNECT it changes username, password and
// ClientID, of CONNACK an Assigned Client Identifier, and everything else passes as bytes. So which topics somebody may is
// that broker's to decide, by the username. The hub itself is one client of it.
package external

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"sync"
	"time"

	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/store"
)

// Access is messaging's, with the name that a principal has now: by its name the broker knows it, and names are given anew.
type Access interface {
	messaging.Access
	// NameOf is empty where there is no such principal any more.
	NameOf(p messaging.Principal) string
}

// Options are what a Broker stands on.
type Options struct {
	URL    *url.URL // mqtt://USER:PASSWORD@HOST:PORT
	Name   string   // this hub's: other hubs on the same broker have others
	Access Access
	Log    *slog.Logger     // nil: slog.Default
	Now    func() time.Time // nil: time.Now
	Store  *store.Store     // the Taker's; nil where there is none
	Taker  messaging.Taker  // keeps messages beside; nil: nobody does

	Refused messaging.TellRefused
}

// Broker is a messaging.Backend. Make it with New; Run must run for what New has made to work.
type Broker struct {
	address, username, password string
	name                        string
	access                      Access
	log                         *slog.Logger
	now                         func() time.Time
	tell                        messaging.TellRefused
	started                     time.Time
	hub                         *hubClient
	takes                       *takingClient // nil: there is no Taker
	visits                      chan struct{} // slots of connections that are made to look at something

	served sync.WaitGroup
	life   context.Context // ends when Run's end has begun
	end    context.CancelFunc

	mu           sync.Mutex
	peers        map[*peer]struct{}
	strangers    map[string]int // connections not let in yet, by network
	strangersAll int
}

var _ messaging.Backend = (*Broker)(nil)

// New makes a Broker. It fails where the hub's username is one that a device, a person or an application could have: they
// would have the hub's rights.
func New(o Options) (*Broker, error) {
	password, _ := o.URL.User.Password()
	b := &Broker{address: o.URL.Host, username: o.URL.User.Username(), password: password, name: o.Name, access: o.Access, log: o.Log, now: o.Now, tell: o.Refused,
		visits: make(chan struct{}, maxVisits), peers: map[*peer]struct{}{}, strangers: map[string]int{}}
	if mayBePeer(b.username) {
		return nil, fmt.Errorf("the username %q could be that of a device or a person, who would have the hub's rights: choose one with an underscore, as adit_hub", b.username)
	}
	if b.log == nil {
		b.log = slog.Default()
	}
	if b.now == nil {
		b.now = time.Now
	}
	b.life, b.end = context.WithCancel(context.Background())
	b.started = b.now()
	b.hub = newHubClient(b)
	if o.Taker != nil && o.Store != nil {
		b.takes = &takingClient{b: b, store: o.Store, taker: o.Taker}
	}
	return b, nil
}

// Run keeps the hub's own connection up until ctx ends, then sends every peer away (MQTT 5.0: 0x8B) and waits for their
// connections.
func (b *Broker) Run(ctx context.Context) error {
	ours, stop := context.WithCancel(context.WithoutCancel(ctx)) // the hub speaks for as long as others do
	defer stop()
	var work sync.WaitGroup
	work.Go(func() { b.hub.run(ours) })
	if b.takes != nil {
		work.Go(func() { b.takes.run(ours) })
	}
	b.followAccess(ctx)
	b.mu.Lock()
	b.end()
	for p := range b.peers {
		p.cut(mqtt.ServerShuttingDown)
	}
	b.mu.Unlock()
	b.served.Wait()
	stop()
	work.Wait()
	return nil
}

// followAccess sends away whom a change of the policy no longer lets be here, or lets be here under another name, until ctx
// ends.
func (b *Broker) followAccess(ctx context.Context) {
	for {
		changed := b.access.Changed()
		b.mu.Lock()
		for p := range b.peers {
			b.askAgain(p)
		}
		b.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// askAgain is asked with mu held.
func (b *Broker) askAgain(p *peer) {
	switch {
	case !b.access.Lives(p.principal):
		p.cut(mqtt.NotAuthorized)
	case b.access.NameOf(p.principal) != p.principal.Name:
		p.cut(mqtt.AdministrativeAction) // the next device of that name must not find this one in its tree
	}
}

// dial opens a connection to the broker.
func (b *Broker) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialWithin)
	defer cancel()
	return (&net.Dialer{}).DialContext(ctx, "tcp", b.address)
}
