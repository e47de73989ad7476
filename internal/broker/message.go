package broker

import (
	"strings"
	"time"

	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/mqtt"
)

// message is an application message as it was taken. It is shared by all that wait for it and never changed.
type message struct {
	mqtt.Message
	at      time.Time
	from    string    // the sender's name, for people
	origin  key       // for No Local; empty where the hub itself sends
	owner   string    // on whose account it is retained; set before anybody else has it
	expires time.Time // zero: never
}

func newMessage(m mqtt.Message, at time.Time, from string, origin key) *message {
	out := &message{Message: m, at: at, from: from, origin: origin}
	if m.Expiry > 0 || m.ExpiresAtOnce {
		out.expires = at.Add(m.Expiry)
	}
	return out
}

// size is about what m costs, in bytes.
func (m *message) size() int {
	n := len(m.Topic) + len(m.Payload) + len(m.ContentType) + len(m.ResponseTopic) + len(m.Correlation) + 64
	for _, u := range m.UserProperties {
		n += len(u.Name) + len(u.Value)
	}
	return n
}

func (m *message) expired(now time.Time) bool { return !m.expires.IsZero() && !now.Before(m.expires) }

func (m *message) received() messaging.Received {
	r := messaging.Received{Message: m.Message, At: m.at, From: m.from}
	if device, _, _ := strings.Cut(m.origin.principal, "/"); strings.HasPrefix(device, "dev_") {
		r.Device = device
	}
	return r
}

// delivery is a message on its way to one MQTT session. From QoS 1 on it has a Packet Identifier from the moment that it is
// queued, and it stays until the peer has answered.
type delivery struct {
	*message
	qos      byte
	retain   bool
	ids      []uint32 // Subscription Identifiers of the filters that matched
	id       uint16
	position int64 // order of queueing, over all sessions and restarts
	queued   time.Time
	asked    uint64 // the policy by which the peer may have it
	barrier  uint64 // QoS 2: the commit before which it must not leave
	stored   bool   // the database has it, or will
	group    uint64 // the commit that puts it there
	flying   bool   // sent on this connection
	flown    bool   // sent on this or an earlier one, by this hub
	sent     bool   // it may have been sent before, by this hub or the last: DUP
	released bool   // PUBREC has come: PUBREL is what is sent
}

// packet is d as it leaves at a time. It is nil when d has expired before it was ever sent.
func (d *delivery) packet(now time.Time) mqtt.Packet {
	if d.released {
		return &mqtt.Ack{Kind: mqtt.PUBREL, ID: d.id}
	}
	// Of one that expires at once no whole second has passed on its way through a queue to who is connected.
	if d.expired(now) && !d.flown && !(d.ExpiresAtOnce && now.Sub(d.at) < time.Second) {
		return nil
	}
	m := d.Message
	m.QoS, m.Retain = d.qos, d.retain
	if !d.expires.IsZero() && !m.ExpiresAtOnce {
		m.Expiry = max(d.expires.Sub(now), time.Second)
	}
	p := mqtt.NewPublish(m)
	p.ID, p.Dup = d.id, d.sent && d.qos > 0
	for _, id := range d.ids {
		p.Properties = append(p.Properties, mqtt.Property{ID: mqtt.SubscriptionID, Number: id})
	}
	return p
}

// stored5 is d as the database keeps it: a PUBLISH of MQTT 5.0, whatever the peer speaks.
func (d *delivery) stored5() *mqtt.Publish {
	m := d.Message
	m.QoS, m.Retain, m.Expiry, m.ExpiresAtOnce = d.qos, d.retain, 0, false
	p := mqtt.NewPublish(m)
	p.ID = d.id
	for _, id := range d.ids {
		p.Properties = append(p.Properties, mqtt.Property{ID: mqtt.SubscriptionID, Number: id})
	}
	return p
}
