package external

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

const (
	takeAtOnce  = 256
	takeExpiry  = 7 * 24 * time.Hour // how long the broker keeps what comes while the hub is away
	takeRefused = time.Second        // between two tries to find room
)

// takingClient is a client of the hub's own for its Taker: of QoS 1, with an MQTT session that the broker keeps, so what comes while the hub
// is away waits there. A message is acknowledged when it is on disk. What finds no room is not acknowledged until there is: the
// broker keeps it, and all behind it.
type takingClient struct {
	b     *Broker
	store *store.Store
	taker messaging.Taker
}

// arrival is a message that awaits its acknowledgement.
type arrival struct {
	m   messaging.Received
	ack func()
}

// run keeps the connection up until ctx ends, from when the Taker wants anything.
func (t *takingClient) run(ctx context.Context) {
	for changed := t.taker.FiltersChanged(); len(t.taker.Filters()) == 0; changed = t.taker.FiltersChanged() {
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
	for wait := retryFirst; ; wait = min(2*wait, retryMost) {
		began := time.Now()
		err := t.connected(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > retryMost {
			wait = retryFirst
		}
		t.b.log.Warn("no connection to the external MQTT broker for webhooks", "cause", err)
		select {
		case <-time.After(wait/2 + rand.N(wait)):
		case <-ctx.Done():
			return
		}
	}
}

// connected serves one connection until it ends.
func (t *takingClient) connected(ctx context.Context) error {
	arrivals := make(chan arrival, hubInflight)
	client, err := t.connect(ctx, arrivals)
	if err != nil {
		return err
	}
	defer client.Close()
	writing, stop := context.WithCancel(ctx)
	written := make(chan error, 1)
	asked := map[string]bool{}
	go func() { written <- t.write(writing, arrivals) }()
	defer func() { stop(); <-written }()
	for {
		changed := t.taker.FiltersChanged()
		if err := t.settle(ctx, client, asked); err != nil {
			return t.b.problem(err)
		}
		select {
		case <-changed:
		case err := <-written:
			written <- err
			return err
		case <-client.Done():
			return t.b.problem(client.Err())
		case <-ctx.Done():
			return nil
		}
	}
}

func (t *takingClient) connect(ctx context.Context, arrivals chan<- arrival) (*mqtt.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	conn, err := t.b.dial(ctx)
	if err != nil {
		return nil, t.b.problem(err)
	}
	client, err := mqtt.NewClient(ctx, conn, mqtt.Options{Version: mqtt.V5, ClientID: "hub:" + t.b.name + ":webhooks", Username: t.b.username, Password: t.b.password,
		SessionExpiry: takeExpiry, KeepAlive: hubKeepAlive, Inflight: hubInflight, Session: mqtt.NewSession(nil), // what was not acknowledged comes anew

		OnPublish: func(p *mqtt.Publish, ack func()) {
			a := arrival{m: messaging.Received{Message: p.Message(), At: t.b.now()}, ack: ack}
			arrivals <- a // as many as may be under way
		}})
	if err != nil {
		return nil, t.b.problem(err)
	}
	return client, nil
}

// settle asks the broker for the filters. Those of an earlier hub that nobody wants any more are not known: their messages are acknowledged and
// dropped.
func (t *takingClient) settle(ctx context.Context, client *mqtt.Client, asked map[string]bool) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	wanted := outermost(t.taker.Filters())
	for _, f := range wanted {
		if asked[f] {
			continue
		}
		codes, err := client.SubscribeAs(ctx, 0, mqtt.Subscription{Filter: f, QoS: 1, RetainAsPublished: true, RetainHandling: 2})
		if err != nil {
			return err
		}
		if codes[0].Failed() {
			t.b.log.Warn("the external MQTT broker refuses a subscription for webhooks", "filter", f, "reason", codes[0])
		}
		asked[f] = true
	}
	for f := range asked {
		if slices.Contains(wanted, f) {
			continue
		}
		if _, err := client.Unsubscribe(ctx, f); err != nil {
			return err
		}
		delete(asked, f)
	}
	return nil
}

// outermost leaves out filters that are within another: each message comes once then. Where two overlap in part, a broker that sends a copy for each
// has it queued twice.
func outermost(all []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(f string) bool {
		return slices.ContainsFunc(all, func(other string) bool { return other != f && mqtt.Contains(other, f) })
	})
}

// write gives the Taker what has come, in groups, until ctx ends or the database fails.
func (t *takingClient) write(ctx context.Context, arrivals <-chan arrival) error {
	for {
		var group []arrival
		select {
		case <-ctx.Done():
			return ctx.Err()
		case a := <-arrivals:
			group = append(group, a)
		}
		for len(group) < takeAtOnce && len(arrivals) > 0 {
			group = append(group, <-arrivals)
		}
		if err := t.take(ctx, group); err != nil {
			return wire.Wrap(err, wire.Internal, "The database does not take messages for webhooks.")
		}
	}
}

func (t *takingClient) take(ctx context.Context, group []arrival) (err error) {
	var list []messaging.Received
	defer func() {
		if err != nil { // they come again, with the next connection
			t.taker.Left(list)
		}
	}()
	for _, a := range group {
		wanted, err := t.admit(ctx, a.m)
		if err != nil {
			return err
		}
		if wanted {
			list = append(list, a.m)
		}
	}
	if len(list) > 0 {
		if err := t.store.WriteTogether(ctx, func(q *store.Queries) error { return t.taker.Take(ctx, q, list) }); err != nil {
			return err
		}
		t.taker.Taken(list)
	}
	for _, a := range group {
		a.ack()
	}
	return nil
}

// admit waits for room.
func (t *takingClient) admit(ctx context.Context, m messaging.Received) (wanted bool, err error) {
	for {
		wanted, room := t.taker.Wants(m)
		if !wanted || room {
			return wanted, nil
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(takeRefused):
		}
	}
}
