package broker

import (
	"github.com/aditdev/adit/internal/mqtt"
)

// handle does what a packet of the peer asks for. An *mqtt.Error ends the connection with its code.
func (c *conn) handle(p mqtt.Packet) error {
	switch p := p.(type) {
	case *mqtt.Publish:
		return c.publish(p)
	case *mqtt.Ack:
		return c.acknowledged(p)
	case *mqtt.Subscribe:
		return c.subscribe(p)
	case *mqtt.Unsubscribe:
		return c.unsubscribe(p)
	case *mqtt.Ping:
		if p.Kind == mqtt.PINGREQ {
			return c.locked(func() { c.send(&mqtt.Ping{Kind: mqtt.PINGRESP}) })
		}
	case *mqtt.Disconnect:
		return c.disconnect(p)
	}
	return mqtt.Errorf(mqtt.ProtocolError, "%s is not for a server, or not now", p.Type())
}

// locked runs fn under the broker's lock. While it does, the connection has its session, unless the error says that it has not.
func (c *conn) locked(fn func()) error {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	if c.closing {
		return mqtt.Errorf(c.farewell, "")
	}
	fn()
	return nil
}

// publish takes a message. Its acknowledgement leaves when all that must outlive the hub is on disk.
func (c *conn) publish(p *mqtt.Publish) error {
	if _, ok := p.Properties.Find(mqtt.SubscriptionID); ok {
		return mqtt.Errorf(mqtt.ProtocolError, "a Subscription Identifier in a client's PUBLISH") // MQTT 5.0 §3.3.4-6
	}
	if err := c.resolveAlias(p); err != nil {
		return err
	}
	if p.QoS > 0 {
		if again, err := c.begin(p); again || err != nil {
			return err
		}
	}
	s, b := c.session, c.b
	p.Topic = mapBridgeState(c.principal, p.Topic)
	code := mqtt.Success
	if err := b.checkTopic(p.Topic); err != nil {
		code = err.(*mqtt.Error).Code
	} else if !b.access.MayPublish(c.principal, s.clientID, p.Topic) {
		code = mqtt.NotAuthorized
	}
	m := newMessage(p.Message(), b.now(), c.principal.Name, s.key)
	return c.locked(func() {
		since := b.journal.changes
		b.stats.received++
		if code == mqtt.Success {
			code = c.accept(m)
		} else {
			b.drop(s)
		}
		if code == mqtt.QuotaExceeded && c.version != mqtt.V5 {
			c.close(code) // which is not acknowledged, so it comes again with the next connection
			return
		}
		c.confirm(p, code, since)
	})
}

// accept gives a message on, under the lock. Older versions cannot be told that there is no room to retain it: it is delivered all the same.
// What the Taker has no room for is refused, but of QoS 0, of which nobody awaits an answer.
func (c *conn) accept(m *message) mqtt.ReasonCode {
	switch c.b.route(m) {
	case routed:
		return mqtt.Success
	case queueFull:
		c.b.drop(c.session)
		if m.QoS == 0 {
			return mqtt.Success
		}
		return mqtt.QuotaExceeded
	}
	c.b.drop(c.session)
	if c.version == mqtt.V5 && m.QoS > 0 {
		return mqtt.QuotaExceeded
	}
	unkept := *m
	unkept.Retain = false
	c.b.route(&unkept)
	return mqtt.Success
}

func (b *Broker) drop(s *session) {
	s.dropped++
	b.stats.dropped++
}

// confirm queues what acknowledges a PUBLISH. 3.1.1 has no word for a refusal and says to acknowledge (§3.3.5).
func (c *conn) confirm(p *mqtt.Publish, code mqtt.ReasonCode, since uint64) {
	if c.version != mqtt.V5 {
		code = mqtt.Success
	}
	b, s := c.b, c.session
	switch p.QoS {
	case 1:
		c.answer(&mqtt.Ack{Kind: mqtt.PUBACK, ID: p.ID, Code: code}, b.journal.barrier(since), true)
	case 2:
		if !code.Failed() {
			s.incoming[p.ID] = struct{}{}
			if s.persistent() {
				b.journal.incoming(s.key, p.ID)
			}
		}
		c.answer(&mqtt.Ack{Kind: mqtt.PUBREC, ID: p.ID, Code: code}, b.journal.barrier(since), code.Failed() || c.version != mqtt.V5)
	}
}

// begin counts a message of QoS 1 or 2 as under way. One of QoS 2 that we have and whose PUBREL has not come is
// acknowledged again and no message (MQTT 5.0 §4.3.3).
func (c *conn) begin(p *mqtt.Publish) (again bool, err error) {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	if _, known := c.session.incoming[p.ID]; known && p.QoS == 2 {
		c.answer(&mqtt.Ack{Kind: mqtt.PUBREC, ID: p.ID}, c.b.journal.everything(), false)
		return true, nil
	}
	if c.unreleased >= receiveMaximum && c.version == mqtt.V5 {
		return false, mqtt.Errorf(mqtt.ReceiveMaximumExceeded, "more than %d messages under way", receiveMaximum)
	}
	// Older versions know no Receive Maximum, and a bridge of Mosquitto 2.0 forgets ours when it connects again and sends all
	// that it has. What waits for us and not for the peer is no reason to part, and to get all of it again: the peer waits.
	for c.underWay >= 4*receiveMaximum && !c.closing {
		c.room.Wait()
	}
	c.underWay++
	if p.QoS == 2 {
		c.unreleased++
	}
	return false, nil
}

// resolveAlias puts the Topic Name in place of its alias (MQTT 5.0 §3.3.2.3.4).
func (c *conn) resolveAlias(p *mqtt.Publish) error {
	alias, ok := p.Properties.Find(mqtt.TopicAlias)
	if !ok {
		return nil
	}
	if alias.Number > aliasMaximum {
		return mqtt.Errorf(mqtt.TopicAliasInvalid, "topic alias %d, at most %d", alias.Number, aliasMaximum)
	}
	if c.aliases == nil {
		c.aliases = map[uint16]string{}
	}
	id := uint16(alias.Number)
	if len(p.Topic) > maxTopic { // it is refused, and must not be kept either
		delete(c.aliases, id)
		return nil
	}
	if p.Topic != "" {
		c.aliases[id] = p.Topic
	}
	if p.Topic = c.aliases[id]; p.Topic == "" {
		return mqtt.Errorf(mqtt.ProtocolError, "topic alias %d stands for nothing", id)
	}
	return nil
}

// acknowledged takes a step of a QoS 1 or 2 exchange (MQTT 5.0 §4.3).
func (c *conn) acknowledged(p *mqtt.Ack) error {
	b, s := c.b, c.session
	return c.locked(func() {
		since := b.journal.changes
		if p.Kind == mqtt.PUBREL {
			c.release(p, since)
			return
		}
		d := s.unanswered[p.ID]
		mine := d != nil && d.flying && d.qos == map[mqtt.Type]byte{mqtt.PUBACK: 1, mqtt.PUBREC: 2, mqtt.PUBCOMP: 2}[p.Kind]
		switch {
		case p.Kind == mqtt.PUBREC && !mine:
			if !p.Code.Failed() {
				c.answer(&mqtt.Ack{Kind: mqtt.PUBREL, ID: p.ID, Code: mqtt.PacketIDNotFound}, 0, false)
			}
		case !mine:
		case p.Kind == mqtt.PUBREC && !p.Code.Failed():
			c.received(s, d, since)
		case p.Kind == mqtt.PUBCOMP && !d.released:
		default:
			b.complete(s, d)
		}
	})
}

// received notes that the peer has a QoS 2 message, and answers PUBREL.
func (c *conn) received(s *session, d *delivery, since uint64) {
	if !d.released {
		d.released = true
		if d.stored {
			c.b.journal.released(s.key, d)
		}
	}
	c.answer(&mqtt.Ack{Kind: mqtt.PUBREL, ID: d.id}, c.b.journal.barrier(since), false)
}

// release ends a QoS 2 message of the peer.
func (c *conn) release(p *mqtt.Ack, since uint64) {
	b, s := c.b, c.session
	ack := &mqtt.Ack{Kind: mqtt.PUBCOMP, ID: p.ID}
	if _, known := s.incoming[p.ID]; !known {
		ack.Code = mqtt.PacketIDNotFound
	} else {
		delete(s.incoming, p.ID)
		if s.persistent() {
			b.journal.removeIncoming(s.key, p.ID)
		}
	}
	c.answer(ack, b.journal.barrier(since), ack.Code == mqtt.Success && c.version == mqtt.V5)
}

func (c *conn) subscribe(p *mqtt.Subscribe) error {
	b, s := c.b, c.session
	id := p.Properties.Number(mqtt.SubscriptionID, 0)
	codes := make([]mqtt.ReasonCode, len(p.Filters))
	for i, f := range p.Filters {
		codes[i] = c.checkFilter(f, i)
	}
	return c.locked(func() {
		since := b.journal.changes
		for i, f := range p.Filters {
			if codes[i].Failed() {
				continue
			}
			if _, has := s.subscriptions[f.Filter]; !has && (len(s.subscriptions) >= maxSubscriptions || b.tree.count >= maxAllSubscriptions) {
				codes[i] = mqtt.QuotaExceeded
				continue
			}
			if s.info.bridge { // what Mosquitto does for its bridges of 3.1 and 3.1.1
				f.NoLocal, f.RetainAsPublished = true, true
			}
			sub := &subscription{Subscription: f, id: id, session: s}
			b.sendRetained(s, sub, b.subscribe(s, sub))
		}
		c.answer(&mqtt.Suback{ID: p.ID, Codes: codes}, b.journal.barrier(since), false)
	})
}

// checkFilter is the code for one filter of SUBSCRIBE: the QoS granted, or why not.
func (c *conn) checkFilter(f mqtt.Subscription, nth int) mqtt.ReasonCode {
	_, filter, _ := mqtt.CutShare(f.Filter)
	switch {
	case nth >= maxFilters:
		return mqtt.QuotaExceeded
	case len(filter) > maxTopic || tooDeep(filter):
		return mqtt.TopicFilterInvalid
	case !c.b.access.MaySubscribe(c.principal, c.session.clientID, filter):
		return mqtt.NotAuthorized
	}
	return mqtt.ReasonCode(f.QoS)
}

// unsubscribe is always answered: Mosquitto's bridges ask for it at every start, whatever they may.
func (c *conn) unsubscribe(p *mqtt.Unsubscribe) error {
	b, s := c.b, c.session
	return c.locked(func() {
		since := b.journal.changes
		codes := make([]mqtt.ReasonCode, len(p.Filters))
		for i, f := range p.Filters {
			if !b.unsubscribe(s, f) {
				codes[i] = mqtt.NoSubscriptionExisted
			}
		}
		c.answer(&mqtt.Unsuback{ID: p.ID, Codes: codes}, b.journal.barrier(since), false)
	})
}

func (c *conn) disconnect(p *mqtt.Disconnect) error {
	s := c.session
	if expiry, ok := p.Properties.Find(mqtt.SessionExpiry); ok {
		if expiry.Number > 0 && s.expiry == 0 {
			return mqtt.Errorf(mqtt.ProtocolError, "a Session Expiry Interval where CONNECT had none")
		}
		if err := c.locked(func() { s.expiry = sessionExpiry(expiry.Number) }); err != nil {
			return err
		}
	}
	if p.Code != mqtt.Success { // 0x04 wants the Will, and failures leave it (MQTT 5.0 §3.14.4)
		return errGoodbye
	}
	_ = c.locked(func() { c.cleanly = true })
	return errGoodbye
}
