package broker

import (
	"context"
	"strconv"
	"time"

	"github.com/aditdev/adit/internal/mqtt"
)

// systemEvery is how often $SYS tells anew, in ticks of the house (a second).
const systemEvery = 10

// keepHouse sees to what only time brings, until ctx ends.
func (b *Broker) keepHouse(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for n := 0; ; n++ {
		b.mu.Lock()
		now := b.now()
		b.passTime(now, n%60 == 0)
		if n%systemEvery == 0 {
			b.tellSystem(now)
		}
		b.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// passTime sends Wills that are due, ends MQTT sessions whose time is over, and forgets messages whose is.
func (b *Broker) passTime(now time.Time, queues bool) {
	for _, s := range b.sessions {
		if s.conn != nil {
			continue
		}
		over := now.Sub(s.gone) >= s.expiry
		if s.will != nil && (over && s.expiry > 0 || !now.Before(s.will.due)) {
			b.sendWill(s, s.will.publish, now)
			s.will = nil
			if s.persistent() {
				b.journal.session(s, nil)
			}
		}
		if over && s.will == nil {
			b.end(s)
		} else if queues {
			b.dropOld(s, now)
		}
	}
	for _, m := range b.retained.messages {
		if m.expired(now) {
			b.retained.remove(m.Topic)
			b.journal.removeRetained(m.Topic)
		}
	}
}

// leaveWill sends the Will of a connection that has ended, or puts it off by its Will Delay Interval (MQTT 5.0 §3.1.3.2.2).
func (b *Broker) leaveWill(s *session, c *conn, now time.Time) {
	if c.will == nil || c.cleanly || c.stopping {
		return
	}
	delay := min(time.Duration(c.will.Properties.Number(mqtt.WillDelay, 0))*time.Second, s.expiry)
	if delay > 0 {
		s.will = &will{publish: c.will, due: now.Add(delay), owed: true}
		return
	}
	b.sendWill(s, c.will, now)
}

// sendWill publishes a Will if its sender may still write to its topic.
func (b *Broker) sendWill(s *session, p *mqtt.Publish, now time.Time) {
	if !b.access.MayPublish(s.principal, s.clientID, p.Topic) {
		b.drop(s)
		return
	}
	b.stats.received++
	m := newMessage(p.Message(), now, s.principal.Name, s.key)
	switch b.route(m) {
	case notKept, overQuota:
		unkept := *m
		unkept.Retain = false
		b.route(&unkept)
	case queueFull: // nobody is there who could be told: the others get it all the same
		b.drop(s)
		if m.Retain {
			_ = b.retain(m)
		}
		b.spread(m)
	}
}

// followAccess makes each change of the policy felt at once: peers that may no longer be here are sent away, subscriptions
// that are no longer allowed end. Messages that wait are asked about when they leave.
func (b *Broker) followAccess(ctx context.Context) {
	for {
		changed := b.access.Changed()
		b.mu.Lock()
		b.policies++
		for _, s := range b.sessions {
			b.askAgain(s)
		}
		b.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

func (b *Broker) askAgain(s *session) {
	if !b.access.Lives(s.principal) && !b.outlives(s) {
		return
	}
	for filter := range s.subscriptions {
		_, rest, _ := mqtt.CutShare(filter)
		if !b.access.MaySubscribe(s.principal, s.clientID, rest) {
			b.unsubscribe(s, filter)
		}
	}
}

// outlives sends a peer away that may no longer be here, without its Will. Its MQTT session ends too, unless only what it came
// in with has run out, as a sign-in: then it waits for the same person. An application is its credential, and ends with it.
func (b *Broker) outlives(s *session) bool {
	s.principal.Credential = ""
	if c := s.conn; c != nil {
		c.will = nil
		c.close(mqtt.NotAuthorized)
		c.ended()
	}
	if !b.access.Lives(s.principal) {
		b.end(s)
	}
	return !s.ended
}

// tellSystem refreshes $SYS, which is never kept on disk.
func (b *Broker) tellSystem(now time.Time) {
	s := b.figures()
	for topic, value := range map[string]int64{
		"uptime":                      int64(now.Sub(s.Started) / time.Second),
		"clients/connected":           int64(s.Clients),
		"clients/total":               int64(s.Sessions),
		"subscriptions/count":         int64(s.Subscriptions),
		"retained messages/count":     int64(s.Retained),
		"store/messages/bytes":        s.RetainedBytes,
		"publish/messages/received":   s.Received,
		"publish/messages/sent":       s.Sent,
		"publish/messages/dropped":    s.Dropped,
		"clients/strangers/connected": int64(b.strangersAll),
	} {
		topic = "$SYS/broker/" + topic
		m := newMessage(mqtt.Message{Topic: topic, Payload: strconv.AppendInt(nil, value, 10)}, now, "", key{})
		b.system[topic] = m
		b.route(m)
	}
}
