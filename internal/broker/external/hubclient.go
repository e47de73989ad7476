package external

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/wire"
)

// hubClient is the hub as one client of the broker. It comes back whenever the connection is lost, and asks again for what is
// subscribed to. Of filters that are wholly within another one the broker is not asked: each message comes once.
type hubClient struct {
	b    *Broker
	wake chan struct{} // that readers have changed

	mu             sync.Mutex
	client         *mqtt.Client // nil while there is no connection that all subscriptions were asked for on
	problem        error        // why there is none; a *wire.Error
	refused        map[string]error
	readers        map[*reader]struct{}
	asked          map[string]uint32 // filters that the broker was asked for on this connection, with their Subscription Identifiers
	lastID         uint32
	settled        chan struct{} // closed when the broker has been asked for everything
	received, sent int64
}

// reader is one Subscribe.
type reader struct {
	filter string
	via    uint32 // the Subscription Identifier whose messages it takes; 0 while there is none
	mu     sync.Mutex
	fn     func(messaging.Received) // nil when it is over
}

func newHubClient(b *Broker) *hubClient {
	return &hubClient{b: b, wake: make(chan struct{}, 1), readers: map[*reader]struct{}{}, settled: make(chan struct{}),
		problem: wire.Errorf(wire.Offline, "The hub is not connected to the external broker yet.")}
}

// run keeps the connection up until ctx ends.
func (h *hubClient) run(ctx context.Context) {
	for wait := retryFirst; ; wait = min(2*wait, retryMost) {
		began := time.Now()
		err := h.connected(ctx)
		if ctx.Err() != nil {
			return
		}
		h.lost(err)
		if time.Since(began) > retryMost {
			wait = retryFirst
		}
		select {
		case <-time.After(wait/2 + rand.N(wait)): // many hubs must not come back as one
		case <-ctx.Done():
			return
		}
	}
}

// connected serves one connection until it ends.
func (h *hubClient) connected(ctx context.Context) error {
	client, err := h.b.connect(ctx, mqtt.Options{ClientID: "hub:" + h.b.name, KeepAlive: hubKeepAlive, Inflight: hubInflight, OnPublish: h.arrived})
	if err != nil {
		return err
	}
	defer client.Close()
	h.mu.Lock()
	h.asked, h.refused = map[string]uint32{}, map[string]error{}
	for r := range h.readers {
		r.via = 0
	}
	h.mu.Unlock()
	for {
		if err := h.settle(ctx, client); err != nil {
			return err
		}
		h.settledOn(client)
		select {
		case <-h.wake:
		case <-client.Done():
			return h.b.problem(client.Err())
		case <-ctx.Done():
			return nil
		}
	}
}

// settledOn lets the hub publish, and those go on who waited for their subscription.
func (h *hubClient) settledOn(client *mqtt.Client) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.client == nil {
		h.b.log.Info("connected to the external MQTT broker", "address", h.b.address)
	}
	h.client, h.problem = client, nil
	h.announce()
}

// trouble is why something does not work; nil where all does. mu is held.
func (h *hubClient) trouble() error {
	for _, filter := range slices.Sorted(maps.Keys(h.refused)) {
		return h.refused[filter]
	}
	return h.problem
}

// connect opens a connection of MQTT 5.0 that leaves nothing behind, as the hub where the options name nobody. Errors are
// *wire.Error.
func (b *Broker) connect(ctx context.Context, o mqtt.Options) (*mqtt.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	conn, err := b.dial(ctx)
	if err != nil {
		return nil, b.problem(err)
	}
	o.Version, o.Clean, o.Password = mqtt.V5, true, b.password
	if o.Username == "" {
		o.Username = b.username
	}
	client, err := mqtt.NewClient(ctx, conn, o)
	if err != nil {
		return nil, b.problem(err)
	}
	return client, nil
}

// problem is what a person can do about what went wrong.
func (b *Broker) problem(err error) error {
	if wire.CodeOf(err) != wire.Internal {
		return err
	}
	e, ok := errors.AsType[*mqtt.Error](err)
	switch {
	case !ok:
		return wire.Wrap(err, wire.Offline, "The external broker at %s cannot be reached. The hub tries again and again.", b.address)
	case e.Code == mqtt.BadUserNameOrPassword || e.Code == mqtt.NotAuthorized:
		return wire.Wrap(err, wire.Offline, "The external broker at %s refuses the hub's username or password: see ADIT_MQTT_BACKEND.", b.address)
	}
	return wire.Wrap(err, wire.Offline, "The external broker at %s refuses: %s.", b.address, wire.Printable(e.Error(), 200))
}

func (h *hubClient) lost(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.client != nil || h.problem == nil || wire.MessageOf(h.problem) != wire.MessageOf(err) {
		h.b.log.Warn("no connection to the external MQTT broker", "cause", err)
	}
	h.client, h.problem, h.asked, h.refused = nil, err, nil, nil
	h.announce()
}

// announce tells those who wait for settled. mu is held.
func (h *hubClient) announce() {
	close(h.settled)
	h.settled = make(chan struct{})
}

// filters are what the broker is to be asked for: none is within another. mu is held.
func (h *hubClient) filters() []string {
	all := map[string]bool{}
	for r := range h.readers {
		all[r.filter] = true
	}
	return slices.DeleteFunc(slices.Sorted(maps.Keys(all)), func(f string) bool {
		for other := range all {
			if other != f && mqtt.Contains(other, f) && !(mqtt.Contains(f, other) && f < other) {
				return true
			}
		}
		return false
	})
}

// settle asks the broker for what is to be subscribed to, and takes back what is not any more. Errors end the connection.
func (h *hubClient) settle(ctx context.Context, client *mqtt.Client) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	h.mu.Lock()
	wanted := h.filters()
	missing := slices.DeleteFunc(slices.Clone(wanted), func(f string) bool { _, has := h.asked[f]; return has })
	h.mu.Unlock()
	for _, f := range missing {
		if err := h.ask(ctx, client, f); err != nil {
			return h.b.problem(err)
		}
	}
	h.mu.Lock()
	var over []string
	for f := range h.asked {
		if !slices.Contains(wanted, f) {
			over = append(over, f)
			delete(h.asked, f)
			delete(h.refused, f)
		}
	}
	h.mu.Unlock()
	if len(over) == 0 {
		return nil
	}
	if _, err := client.Unsubscribe(ctx, over...); err != nil {
		return h.b.problem(err)
	}
	return nil
}

// ask subscribes to one filter. A refusal is a problem to be shown, and no end.
func (h *hubClient) ask(ctx context.Context, client *mqtt.Client, filter string) error {
	h.mu.Lock()
	h.lastID = h.lastID%(1<<28-1) + 1
	id := h.lastID
	h.mu.Unlock()
	if client.Connack().Properties.Number(mqtt.SubscriptionIDsUsable, 1) == 0 {
		id = 0
	}
	codes, err := client.SubscribeAs(ctx, id, mqtt.Subscription{Filter: filter, QoS: 2, RetainAsPublished: true, RetainHandling: 2})
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked[filter] = id
	if codes[0].Failed() {
		h.refused[filter] = wire.Errorf(wire.Forbidden, "The external broker does not let the hub read %s: the hub's user must be allowed every topic.", wire.Printable(filter, 100))
		h.b.log.Warn("the external MQTT broker refuses a subscription of the hub", "filter", filter, "reason", codes[0])
		return nil
	}
	for r := range h.readers {
		if mqtt.Contains(filter, r.filter) {
			r.via = id
		}
	}
	return nil
}

// arrived hands a message to those who read it. It waits for nobody: readers do not block.
func (h *hubClient) arrived(p *mqtt.Publish, ack func()) {
	defer ack()
	m := messaging.Received{Message: p.Message(), At: h.b.now()}
	var ids []uint32
	for _, q := range p.Properties {
		if q.ID == mqtt.SubscriptionID {
			ids = append(ids, q.Number)
		}
	}
	var readers []*reader
	h.mu.Lock()
	h.received++
	for r := range h.readers {
		if mqtt.Match(r.filter, m.Topic) && (len(ids) == 0 || slices.Contains(ids, r.via)) {
			readers = append(readers, r)
		}
	}
	h.mu.Unlock()
	for _, r := range readers {
		r.give(m)
	}
}

func (r *reader) give(m messaging.Received) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fn != nil {
		r.fn(m)
	}
}

// Subscribe implements messaging.Backend. While the broker is away nothing comes, and what it refuses is in Stats.
func (b *Broker) Subscribe(filter string, fn func(messaging.Received)) (cancel func(), err error) {
	if _, _, shared := mqtt.CutShare(filter); shared || !mqtt.ValidFilter(filter) {
		return nil, wire.Errorf(wire.Invalid, "%q is no topic filter: + and # stand for whole levels, # only for the last.", filter)
	}
	r, h := &reader{filter: filter, fn: fn}, b.hub
	h.mu.Lock()
	r.via, _ = h.covering(filter)
	h.readers[r] = struct{}{}
	h.mu.Unlock()
	h.poke()
	h.awaitAsked(filter)
	return func() {
		h.mu.Lock()
		delete(h.readers, r)
		h.mu.Unlock()
		r.mu.Lock() // waits for a call under way
		r.fn = nil
		r.mu.Unlock()
		h.poke()
	}, nil
}

func (h *hubClient) poke() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// covering is the subscription by which messages of a filter come. mu is held.
func (h *hubClient) covering(filter string) (id uint32, ok bool) {
	for asked, id := range h.asked {
		if mqtt.Contains(asked, filter) {
			return id, true
		}
	}
	return 0, false
}

// awaitAsked waits until the broker was asked for what holds a filter: the answer to a request must not come before.
func (h *hubClient) awaitAsked(filter string) {
	patience := time.NewTimer(answerWithin)
	defer patience.Stop()
	for {
		h.mu.Lock()
		settled, away := h.settled, h.client == nil
		_, asked := h.covering(filter)
		h.mu.Unlock()
		if away || asked {
			return
		}
		select {
		case <-settled:
		case <-patience.C:
			return
		case <-h.b.life.Done():
			return
		}
	}
}

// Publish implements messaging.Backend. The broker keeps nothing of from. Errors: invalid, too_large, forbidden where the
// broker refuses it, offline.
func (b *Broker) Publish(ctx context.Context, m mqtt.Message, _ string) error {
	if !mqtt.ValidName(m.Topic) || strings.HasPrefix(m.Topic, "$") || m.QoS > 2 {
		return wire.Errorf(wire.Invalid, "A topic has at least one character, no + or #, and does not begin with $; QoS is 0, 1 or 2.")
	}
	h := b.hub
	h.mu.Lock()
	client, problem := h.client, h.problem
	h.mu.Unlock()
	if client == nil {
		return wire.Wrap(problem, wire.Offline, "Nothing was sent. %s", wire.MessageOf(problem))
	}
	if m.Retain && client.Connack().Properties.Number(mqtt.RetainAvailable, 1) == 0 {
		return wire.Errorf(wire.Invalid, "The external broker retains no messages.")
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	if err := client.Publish(ctx, m); err != nil {
		return b.notPublished(err)
	}
	h.mu.Lock()
	h.sent++
	h.mu.Unlock()
	return nil
}

func (b *Broker) notPublished(err error) error {
	e, ok := errors.AsType[*mqtt.Error](err)
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case !ok:
		return wire.Wrap(err, wire.Offline, "The external broker did not answer: whether it has the message is not known.")
	case e.Code == mqtt.PacketTooLarge:
		return wire.Wrap(err, wire.TooLarge, "The external broker takes no message of that size.")
	case e.Code == mqtt.NotAuthorized:
		return wire.Wrap(err, wire.Forbidden, "The external broker does not let the hub write there: the hub's user must be allowed every topic.")
	}
	return wire.Wrap(err, wire.Offline, "The external broker refuses the message: %s.", wire.Printable(e.Error(), 200))
}
