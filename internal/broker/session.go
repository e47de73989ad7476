package broker

import (
	"slices"
	"time"

	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/mqtt"
)

// key names an MQTT session: the same ClientID of another principal is another session.
type key struct{ principal, clientID string }

// session is an MQTT session (MQTT 5.0 §4.1). The broker's lock guards all of it.
type session struct {
	key
	principal messaging.Principal
	conn      *conn // nil while the peer is away
	info      info
	expiry    time.Duration // how long it outlives its connection; 0: not
	ended     bool
	stored    bool      // the database has it, or will
	gone      time.Time // since when the peer is away
	will      *will     // of a peer that is away, until it is due

	subscriptions map[string]*subscription
	queue         []*delivery          // not sent on this connection yet, in order
	unanswered    map[uint16]*delivery // QoS 1 and 2, queued or sent
	inflight      int                  // of those, how many were sent on this connection
	incoming      map[uint16]struct{}  // QoS 2 packets of the peer that await PUBREL
	lastID        uint16
	bytes         int // of what is queued or unanswered
	dropped       int64

	// A message that several filters match is delivered once; see route.
	mark    uint64
	matched merged
}

// info is what a peer was when it was last connected.
type info struct {
	version   mqtt.Version
	door      messaging.Door
	since     time.Time
	keepAlive time.Duration
	clean     bool
	bridge    bool
}

// will is a Will Message that awaits its Will Delay Interval (MQTT 5.0 §3.1.3.2.2).
type will struct {
	publish *mqtt.Publish
	due     time.Time
	owed    bool // also where the session ends first; not where the hub went, and the peer may just be coming back
}

func (s *session) persistent() bool { return s.expiry > 0 }

// deliver queues a message for s.
func (b *Broker) deliver(s *session, m *message, qos byte, retain bool, ids []uint32) {
	if s.ended || s.conn == nil && (qos == 0 || !s.persistent()) {
		return
	}
	if !b.access.MayReceive(s.principal, s.clientID, m.Topic) {
		return
	}
	d := &delivery{message: m, qos: qos, retain: retain, ids: ids, queued: m.at, asked: b.policies}
	if s.conn == nil && m.ExpiresAtOnce || !s.room(m, retain) || qos > 0 && !s.assignID(d) {
		s.dropped++
		b.stats.dropped++
		return
	}
	s.bytes += m.size()
	s.queue = append(s.queue, d)
	if qos > 0 {
		b.lastPosition++
		d.position = b.lastPosition
		s.unanswered[d.id] = d
		if s.persistent() {
			d.stored = true
			b.journal.delivery(s.key, d)
			if qos == 2 {
				d.barrier = b.journal.collecting
			}
		}
	}
	s.wake()
}

// room reports whether one more message may wait. Retained ones for a new subscription always may, as long as somebody
// takes them: there are never more of them than maxRetained.
func (s *session) room(m *message, retained bool) bool {
	messages, bytes := len(s.queue)+s.inflight, s.bytes+m.size()
	if s.conn == nil {
		return messages < maxAwayMessages && bytes <= maxAwayBytes
	}
	if retained && messages < 2*maxRetained {
		return true
	}
	return messages < maxHereMessages && bytes <= maxHereBytes
}

// assignID gives d a Packet Identifier that nothing of the session uses (MQTT 5.0 §2.2.1).
func (s *session) assignID(d *delivery) bool {
	for range 1 << 16 {
		s.lastID++
		if _, used := s.unanswered[s.lastID]; !used && s.lastID != 0 {
			d.id = s.lastID
			return true
		}
	}
	return false
}

// complete forgets a delivery that the peer has answered for good, or that cannot be sent.
func (b *Broker) complete(s *session, d *delivery) {
	delete(s.unanswered, d.id)
	s.bytes -= d.size()
	if d.flying {
		s.inflight--
	}
	if d.stored {
		b.journal.removeDelivery(s.key, d.id)
	}
	s.wake()
}

// attach gives s a connection: what was sent on the last one and not answered goes first, in its order (MQTT 5.0 §4.4).
func (s *session) attach(c *conn) {
	s.conn, s.will, s.gone = c, nil, time.Time{}
	again := make([]*delivery, 0, len(s.unanswered))
	for _, d := range s.unanswered {
		d.flying = false
		again = append(again, d)
	}
	slices.SortFunc(again, func(x, y *delivery) int { return int(x.position - y.position) })
	s.queue, s.inflight = again, 0
}

// detach takes a connection away: what had QoS 0 is not kept.
func (s *session) detach(now time.Time) {
	s.conn, s.gone = nil, now
	kept := s.queue[:0]
	for _, d := range s.queue {
		if d.qos == 0 {
			s.bytes -= d.size()
			continue
		}
		kept = append(kept, d)
	}
	clear(s.queue[len(kept):])
	s.queue = kept
}

func (s *session) wake() {
	if s.conn != nil {
		s.conn.wakeUp()
	}
}

// dropOld drops what a peer that is away has waited for too long, or what has expired.
func (b *Broker) dropOld(s *session, now time.Time) {
	for _, d := range s.unanswered {
		if now.Sub(d.queued) > maxQueueAge || d.expired(now) && !d.flown {
			delete(s.unanswered, d.id)
			s.bytes -= d.size()
			if d.stored {
				b.journal.removeDelivery(s.key, d.id)
			}
			s.dropped++
			b.stats.dropped++
		}
	}
	s.queue = slices.DeleteFunc(s.queue, func(d *delivery) bool { return s.unanswered[d.id] != d })
}

// makeRoom ends a kept MQTT session where there are as many as there may be: the one whose peer is away for longest, of the
// principal that has most of them. So nobody loses one to somebody who connects by ever new ClientIDs.
func (b *Broker) makeRoom() {
	if len(b.sessions) < maxSessions {
		return
	}
	count := map[string]int{}
	for k, s := range b.sessions {
		if s.conn == nil {
			count[k.principal]++
		}
	}
	var oldest *session
	for k, s := range b.sessions {
		n := count[k.principal]
		if s.conn == nil && (oldest == nil || n > count[oldest.key.principal] ||
			n == count[oldest.key.principal] && s.gone.Before(oldest.gone)) {
			oldest = s
		}
	}
	if oldest != nil { // there is one: fewer than half may be connected
		b.log.Warn("mqtt: too many sessions are kept; the oldest ends", "name", oldest.principal.Name, "client_id", oldest.clientID)
		b.end(oldest)
	}
}

// end ends an MQTT session for good, and sends the Will that waits; its connection, if any, is the caller's to close.
func (b *Broker) end(s *session) {
	if w := s.will; w != nil && w.owed {
		s.will = nil
		b.sendWill(s, w.publish, b.now())
	}
	for _, sub := range s.subscriptions {
		b.tree.remove(sub)
	}
	s.ended, s.subscriptions, s.queue, s.unanswered = true, map[string]*subscription{}, nil, map[uint16]*delivery{}
	s.inflight, s.bytes = 0, 0
	if b.sessions[s.key] == s {
		delete(b.sessions, s.key)
		if s.stored {
			b.journal.forget(s.key)
		}
	}
}

// subscribe puts a subscription in place of what had its filter, and reports whether it is a new one.
func (b *Broker) subscribe(s *session, sub *subscription) (added bool) {
	old := s.subscriptions[sub.Filter]
	if old != nil {
		b.tree.remove(old)
	}
	s.subscriptions[sub.Filter] = sub
	b.tree.add(sub)
	if s.persistent() {
		b.journal.subscription(s.key, sub)
	}
	return old == nil
}

func (b *Broker) unsubscribe(s *session, filter string) (was bool) {
	old := s.subscriptions[filter]
	if old == nil {
		return false
	}
	delete(s.subscriptions, filter)
	b.tree.remove(old)
	if s.stored {
		b.journal.removeSubscription(s.key, filter)
	}
	return true
}
