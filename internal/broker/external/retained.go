package external

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/wire"
)

// Retained implements messaging.Backend: it subscribes on a connection of its own and counts everything that comes, whatever
// the limit. One page keeps at most maxRetained bytes; More says that there is more than it shows.
func (b *Broker) Retained(ctx context.Context, filter, after string, limit int, may func(topic string) bool) (messaging.RetainedPage, error) {
	if !mqtt.ValidFilter(filter) {
		return messaging.RetainedPage{}, wire.Errorf(wire.Invalid, "%q is no topic filter: + and # stand for whole levels, # only for the last.", filter)
	}
	g := &gathering{after: after, limit: limit, may: may}
	if err := b.gather(ctx, filter, g.take(b)); err != nil {
		return messaging.RetainedPage{}, err
	}
	return g.page(), nil
}

// gather gives fn what is retained.
func (b *Broker) gather(ctx context.Context, filter string, fn func(p *mqtt.Publish, ack func())) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	select {
	case b.visits <- struct{}{}:
		defer func() { <-b.visits }()
	case <-ctx.Done():
		return wire.Wrap(context.Cause(ctx), wire.RateLimited, "Too many look at what the external broker retains. Try again.")
	}
	client, err := b.connect(ctx, mqtt.Options{ClientID: "hub:" + b.name + ":" + wire.NewID(), Inflight: visitInflight, OnPublish: fn})
	if err != nil {
		return err
	}
	defer client.Close()
	codes, err := client.Subscribe(ctx, mqtt.Subscription{Filter: filter, QoS: 2})
	if err == nil && codes[0].Failed() {
		return wire.Errorf(wire.Forbidden, "The external broker does not let the hub read %s: the hub's user must be allowed every topic.", wire.Printable(filter, 100))
	}
	if err == nil { // retained messages leave the broker before its next answer
		_, err = client.Unsubscribe(ctx, filter)
	}
	if err != nil {
		return b.problem(err)
	}
	return nil
}

// gathering keeps the first of what is retained behind a topic, in whatever order it comes.
type gathering struct {
	after string
	limit int
	may   func(topic string) bool

	mu    sync.Mutex
	kept  []messaging.Received
	bytes int
	cut   bool   // something behind last was dropped
	last  string // where cut: the last topic that may still be kept
	total messaging.RetainedPage
}

func (g *gathering) take(b *Broker) func(*mqtt.Publish, func()) {
	return func(p *mqtt.Publish, ack func()) {
		defer ack()
		g.mu.Lock()
		defer g.mu.Unlock()
		if !p.Retain || g.may != nil && !g.may(p.Topic) { // what is published meanwhile has no Retain
			return
		}
		g.total.Total++
		g.total.TotalBytes += int64(len(p.Payload))
		if p.Topic <= g.after {
			return
		}
		if g.cut && p.Topic > g.last {
			return
		}
		g.kept = append(g.kept, messaging.Received{Message: p.Message(), At: b.now()})
		g.bytes += len(p.Payload) + len(p.Topic)
		if len(g.kept) > 2*g.limit+1000 || g.bytes > 2*maxRetained {
			g.trim()
		}
	}
}

// trim keeps no more than a page. mu is held.
func (g *gathering) trim() {
	slices.SortFunc(g.kept, func(x, y messaging.Received) int { return cmp.Compare(x.Topic, y.Topic) })
	g.bytes = 0
	for i, m := range g.kept {
		g.bytes += len(m.Payload) + len(m.Topic)
		if i == g.limit || i > 0 && g.bytes > maxRetained {
			g.bytes -= len(m.Payload) + len(m.Topic)
			g.cut, g.last = true, g.kept[max(i-1, 0)].Topic
			clear(g.kept[i:])
			g.kept = g.kept[:i]
			return
		}
	}
}

func (g *gathering) page() messaging.RetainedPage {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.trim()
	page := g.total
	page.Messages, page.More = slices.Clip(append([]messaging.Received{}, g.kept...)), g.cut
	return page
}

// Moved implements messaging.Backend. The broker has no way to do this unseen: those who are subscribed are given what moves, and
// the empty messages that clear it.
func (b *Broker) Moved(ctx context.Context, from, to string) error {
	const atOnce = 1000
	for after, more := "", true; more; {
		page, err := b.Retained(ctx, from+"/#", after, atOnce, nil)
		if err != nil {
			return err
		}
		for _, m := range page.Messages {
			after = m.Topic
			if err := b.move(ctx, m.Message, from, to); err != nil {
				return err
			}
		}
		more = page.More
	}
	return nil
}

// move has a message in its new place before it is gone from its old one.
func (b *Broker) move(ctx context.Context, m mqtt.Message, from, to string) error {
	old := m.Topic
	m.Retain = true
	if to != "" {
		m.Topic = to + strings.TrimPrefix(old, from)
		if err := b.Publish(ctx, m, ""); err != nil {
			return err
		}
	}
	return b.Publish(ctx, mqtt.Message{Topic: old, QoS: 1, Retain: true}, "")
}
