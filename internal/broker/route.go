package broker

import (
	"strings"

	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/mqtt"
)

// merged is what the filters of one session that match a message come to.
type merged struct {
	qos               byte
	retainAsPublished bool
	ids               []uint32
}

// fate is what became of a message.
type fate int

const (
	routed    fate = iota
	notKept        // there is no room to retain it, and nothing was done
	overQuota      // there is none on its owner's account, and nothing was done
	queueFull      // the Taker wants it and has no room, and nothing was done
)

// route gives a message to all that subscribe to it, to the Taker, and keeps it where it is retained. The broker's lock is held, so
// what it adds to the journal is committed as one.
func (b *Broker) route(m *message) fate {
	wanted, room := b.wanted(m)
	if !room {
		return queueFull
	}
	if m.Retain {
		if fate := b.retain(m); fate != routed {
			if wanted {
				b.taker.Left([]messaging.Received{m.received()})
			}
			return fate
		}
	}
	if wanted {
		b.journal.take(m)
	}
	b.spread(m)
	return routed
}

// wanted asks the Taker. $SYS is nobody's.
func (b *Broker) wanted(m *message) (wanted, room bool) {
	if b.taker == nil || !b.taker.Wanting() || strings.HasPrefix(m.Topic, "$") {
		return false, true
	}
	return b.taker.Wants(m.received())
}

// spread gives a message to all that subscribe to it.
func (b *Broker) spread(m *message) {
	b.round++
	hits := b.hits[:0]
	b.tree.match(m.Topic, func(n *node) {
		for _, sub := range n.here {
			hits = b.hit(hits, sub, m)
		}
		for _, group := range n.share {
			if sub := b.choose(group, m); sub != nil {
				hits = b.hit(hits, sub, m)
			}
		}
	})
	for _, s := range hits {
		q := s.matched
		b.deliver(s, m, min(q.qos, m.QoS), m.Retain && q.retainAsPublished, q.ids)
		s.matched.ids = nil
	}
	clear(hits)
	b.hits = hits
}

// hit adds one subscription to what a message matches (MQTT 5.0 §3.3.4: one copy, the highest QoS, all identifiers).
func (b *Broker) hit(hits []*session, sub *subscription, m *message) []*session {
	if sub.hub != nil {
		sub.hub.put(b, m)
		return hits
	}
	s := sub.session
	if sub.NoLocal && m.origin == s.key {
		return hits
	}
	if s.mark != b.round {
		s.mark, s.matched = b.round, merged{}
		hits = append(hits, s)
	}
	s.matched.qos = max(s.matched.qos, sub.QoS)
	s.matched.retainAsPublished = s.matched.retainAsPublished || sub.RetainAsPublished
	if sub.id > 0 {
		s.matched.ids = append(s.matched.ids, sub.id)
	}
	return hits
}

// choose picks the member of a shared subscription that gets a message: in turn, those that are connected, may read it and
// keep up before those that are not.
func (b *Broker) choose(group *share, m *message) *subscription {
	var second *subscription
	for i := range group.members {
		at := (group.next + i) % len(group.members)
		sub := group.members[at]
		s := sub.session
		if !b.access.MayReceive(s.principal, s.clientID, m.Topic) {
			continue
		}
		if s.conn != nil && s.room(m, false) {
			group.next = at + 1
			return sub
		}
		if second == nil && s.persistent() {
			second = sub
		}
	}
	if second != nil {
		group.next++
	}
	return second
}

// retain keeps m as its topic's last message, or forgets that where m is empty (MQTT 5.0 §3.3.1.3).
func (b *Broker) retain(m *message) fate {
	if len(m.Payload) == 0 {
		if b.retained.remove(m.Topic) {
			b.journal.removeRetained(m.Topic)
		}
		return routed
	}
	m.owner = ownerOf(m)
	if fate := b.retained.set(m); fate != routed {
		b.unkept(m, fate)
		return fate
	}
	b.journal.retained(m)
	return routed
}

// sendRetained gives a new subscription what is retained (MQTT 5.0 §3.3.1.3).
func (b *Broker) sendRetained(s *session, sub *subscription, added bool) {
	if _, _, shared := mqtt.CutShare(sub.Filter); shared || sub.RetainHandling == 2 || sub.RetainHandling == 1 && !added {
		return
	}
	var ids []uint32
	if sub.id > 0 {
		ids = []uint32{sub.id}
	}
	give := func(m *message) bool {
		if !sub.NoLocal || m.origin != s.key {
			b.deliver(s, m, min(sub.QoS, m.QoS), true, ids)
		}
		return true
	}
	if strings.HasPrefix(sub.Filter, "$SYS/") {
		for topic, m := range b.system {
			if mqtt.Match(sub.Filter, topic) {
				give(m)
			}
		}
		return
	}
	b.retained.match(sub.Filter, b.now(), give)
}
