package broker

import (
	"context"
	"encoding/base64"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/wire"
)

// Publish implements messaging.Backend. From QoS 1 on, and for retained messages, it returns when what must outlive the hub is on disk.
// Errors: invalid topic, too_large where a retained message finds no room, ctx's.
func (b *Broker) Publish(ctx context.Context, m mqtt.Message, from string) error {
	if !mqtt.ValidName(m.Topic) || strings.HasPrefix(m.Topic, "$") || len(m.Topic) > maxTopic || tooDeep(m.Topic) || m.QoS > 2 {
		return wire.Errorf(wire.Invalid, "A topic has at most %d bytes and %d levels, no + or #, and does not begin with $; QoS is 0, 1 or 2.", maxTopic, maxLevels)
	}
	if len(m.Payload) > maxPacket-maxTopic-1024 {
		return wire.Errorf(wire.TooLarge, "A message has at most 1 MiB.")
	}
	b.mu.Lock()
	since := b.journal.changes
	fate := b.route(newMessage(m, b.now(), from, key{}))
	b.stats.received++
	barrier := b.journal.barrier(since)
	b.mu.Unlock()
	if fate == queueFull {
		return wire.Errorf(wire.RateLimited, "The queue of a webhook endpoint that wants this topic is full. Nothing was sent: see the endpoint's page, or remove it.")
	}
	if fate == notKept {
		return wire.Errorf(wire.TooLarge, "The broker keeps at most %d retained messages of at most 64 KiB, 64 MiB in all. Nothing was sent: clear some, or send it without retain.", maxRetained)
	}
	if fate == overQuota {
		return wire.Errorf(wire.TooLarge, "The broker keeps at most %d retained messages of one sender, %d MiB in all. Nothing was sent: clear some, or send it without retain.",
			maxRetainedByOther, maxRetainedBytesByOther>>20)
	}
	if m.QoS == 0 && !m.Retain {
		return nil
	}
	return b.committed(ctx, barrier)
}

// committed waits for a commit.
func (b *Broker) committed(ctx context.Context, barrier uint64) error {
	for {
		b.mu.Lock()
		done, next := barrier <= b.journal.committed, b.commit
		b.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-next:
		}
	}
}

// hubSubscription hands messages to a function of the hub's own, in a goroutine of its own.
type hubSubscription struct {
	fn    func(messaging.Received)
	queue chan *message
}

// put never waits: what finds the queue full is dropped and counted. The broker's lock is held.
func (h *hubSubscription) put(b *Broker, m *message) {
	select {
	case h.queue <- m:
	default:
		b.stats.dropped++
	}
}

// Subscribe implements messaging.Backend.
func (b *Broker) Subscribe(filter string, fn func(messaging.Received)) (cancel func(), err error) {
	if _, _, shared := mqtt.CutShare(filter); shared || !mqtt.ValidFilter(filter) {
		return nil, wire.Errorf(wire.Invalid, "%q is no topic filter: + and # stand for whole levels, # only for the last.", filter)
	}
	h := &hubSubscription{fn: fn, queue: make(chan *message, hubQueue)}
	sub := &subscription{hub: h, Subscription: mqtt.Subscription{Filter: filter, QoS: 2}}
	b.mu.Lock()
	b.tree.add(sub)
	b.mu.Unlock()
	var done sync.WaitGroup
	done.Go(func() {
		for m := range h.queue {
			h.fn(m.received())
		}
	})
	return sync.OnceFunc(func() {
		b.mu.Lock()
		b.tree.remove(sub)
		close(h.queue)
		b.mu.Unlock()
		for range h.queue { // what has not been given yet is not given any more
		}
		done.Wait()
	}), nil
}

// Retained implements messaging.Backend.
func (b *Broker) Retained(_ context.Context, filter, after string, limit int, may func(topic string) bool) (messaging.RetainedPage, error) {
	if !mqtt.ValidFilter(filter) {
		return messaging.RetainedPage{}, wire.Errorf(wire.Invalid, "%q is no topic filter: + and # stand for whole levels, # only for the last.", filter)
	}
	var found []*message
	b.mu.Lock()
	b.retained.match(filter, b.now(), func(m *message) bool {
		found = append(found, m)
		return true
	})
	b.mu.Unlock()
	page := messaging.RetainedPage{Messages: []messaging.Received{}}
	for _, m := range found {
		if may != nil && !may(m.Topic) {
			continue
		}
		page.Total++
		page.TotalBytes += int64(len(m.Payload))
		switch {
		case m.Topic <= after:
		case len(page.Messages) == limit:
			page.More = true
		default:
			page.Messages = append(page.Messages, m.received())
		}
	}
	return page, nil
}

// Clients implements messaging.Backend.
func (b *Broker) Clients() []messaging.Client {
	b.mu.Lock()
	list := make([]messaging.Client, 0, len(b.sessions))
	for _, s := range b.sessions {
		list = append(list, b.client(s))
	}
	b.mu.Unlock()
	slices.SortFunc(list, func(x, y messaging.Client) int {
		return strings.Compare(x.ClientID+"\x00"+x.Principal.ID, y.ClientID+"\x00"+y.Principal.ID)
	})
	return list
}

func (b *Broker) client(s *session) messaging.Client {
	c := messaging.Client{ID: s.opaque(), ClientID: s.clientID, Principal: s.principal, Version: s.info.version.String(),
		Connected: s.conn != nil, Door: s.info.door, Since: s.info.since, KeepAlive: s.info.keepAlive, Clean: s.info.clean,
		Bridge: s.info.bridge, Queued: len(s.queue), Inflight: s.inflight, Dropped: s.dropped}
	if s.conn == nil {
		c.Since = s.gone
	}
	if a := b.retained.accounts[ownerOf(&message{origin: s.key})]; a != nil {
		c.Retained = a.topics
	}
	for filter, sub := range s.subscriptions {
		c.Subscriptions = append(c.Subscriptions, messaging.Subscription{Filter: filter, QoS: sub.QoS})
	}
	slices.SortFunc(c.Subscriptions, func(x, y messaging.Subscription) int { return strings.Compare(x.Filter, y.Filter) })
	return c
}

// opaque is a key as the API shows it.
func (k key) opaque() string {
	return base64.RawURLEncoding.EncodeToString([]byte(k.principal + "\x00" + k.clientID))
}

// Kick implements messaging.Backend.
func (b *Broker) Kick(ctx context.Context, id string, forget bool) error {
	text, _ := base64.RawURLEncoding.DecodeString(id)
	principal, clientID, _ := strings.Cut(string(text), "\x00")
	b.mu.Lock()
	s := b.sessions[key{principal, clientID}]
	if s == nil {
		b.mu.Unlock()
		return wire.Errorf(wire.NotFound, "There is no such MQTT client any more.")
	}
	since := b.journal.changes
	if c := s.conn; c != nil {
		c.close(mqtt.AdministrativeAction)
		c.ended()
	}
	if forget {
		b.end(s)
	}
	barrier := b.journal.barrier(since)
	b.mu.Unlock()
	return b.committed(ctx, barrier)
}

// Moved implements messaging.Backend. Those that are subscribed to the new topics are told nothing; new subscriptions find them.
func (b *Broker) Moved(ctx context.Context, from, to string) error {
	b.mu.Lock()
	since := b.journal.changes
	var all []*message
	b.retained.match(from+"/#", time.Time{}, func(m *message) bool {
		all = append(all, m)
		return true
	})
	for _, m := range all {
		b.retained.remove(m.Topic)
		b.journal.removeRetained(m.Topic)
		if to == "" {
			continue
		}
		moved := *m
		moved.Topic = to + strings.TrimPrefix(m.Topic, from)
		b.retained.put(&moved)
		b.journal.retained(&moved)
	}
	barrier := b.journal.barrier(since)
	b.mu.Unlock()
	return b.committed(ctx, barrier)
}

// Stats implements messaging.Backend.
func (b *Broker) Stats() messaging.Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.figures()
}

func (b *Broker) figures() messaging.Stats {
	return messaging.Stats{Backend: "embedded", Problem: b.journal.problem, Clients: len(b.conns), Sessions: len(b.sessions),
		Subscriptions: b.tree.count, Retained: len(b.retained.topics), RetainedBytes: b.retained.bytes,
		Received: b.stats.received, Sent: b.stats.sent, Dropped: b.stats.dropped, Unkept: b.stats.unkept, Started: b.stats.started}
}
