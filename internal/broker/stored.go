package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/store"
)

// storedSession is mqtt_sessions.state.
type storedSession struct {
	Principal messaging.Principal `json:"principal"`
	Version   mqtt.Version        `json:"version"`
	Expiry    int64               `json:"expiry_seconds"`
	Since     int64               `json:"since"`
	Bridge    bool                `json:"bridge,omitempty"`
	Will      []byte              `json:"will,omitempty"` // PUBLISH as MQTT 5.0 writes it
	WillDelay int64               `json:"will_delay_seconds,omitempty"`
	gone      *int64
}

// newStoredSession is s as it is now; w is the Will that is sent when it is not heard of again.
func newStoredSession(s *session, w *mqtt.Publish) *storedSession {
	out := &storedSession{Principal: s.principal, Version: s.info.version, Expiry: int64(s.expiry / time.Second),
		Since: store.Millis(s.info.since), Bridge: s.info.bridge}
	if s.conn == nil {
		gone := store.Millis(s.gone)
		out.gone = &gone
	}
	if w != nil {
		plain := *w
		plain.Properties = w.Properties.Without(mqtt.WillDelay)
		plain.ID = min(uint16(w.QoS), 1) // nobody reads it, and QoS 1 must have one
		if packet, err := mqtt.Encode(&plain, mqtt.V5); err == nil {
			out.Will, out.WillDelay = packet, int64(w.Properties.Number(mqtt.WillDelay, 0))
		}
	}
	return out
}

// storedOptions is mqtt_subscriptions.options.
type storedOptions struct {
	QoS               byte   `json:"qos"`
	NoLocal           bool   `json:"no_local,omitempty"`
	RetainAsPublished bool   `json:"retain_as_published,omitempty"`
	RetainHandling    byte   `json:"retain_handling,omitempty"`
	ID                uint32 `json:"id,omitempty"`
}

func newStoredOptions(s *subscription) storedOptions {
	return storedOptions{QoS: s.QoS, NoLocal: s.NoLocal, RetainAsPublished: s.RetainAsPublished, RetainHandling: s.RetainHandling, ID: s.id}
}

// storedProperties is mqtt_retained.properties.
type storedProperties struct {
	UTF8          bool                `json:"utf8,omitempty"`
	ContentType   string              `json:"content_type,omitempty"`
	ResponseTopic string              `json:"response_topic,omitempty"`
	Correlation   []byte              `json:"correlation_data,omitzero"` // an empty one is one
	User          []mqtt.UserProperty `json:"user_properties,omitempty"`
}

func newStoredProperties(m *message) storedProperties {
	return storedProperties{UTF8: m.UTF8, ContentType: m.ContentType, ResponseTopic: m.ResponseTopic, Correlation: m.Correlation, User: m.UserProperties}
}

// load brings back what a hub before this one kept. What can no longer be read is left out and logged: one bad row must
// not keep the hub down.
func (b *Broker) load(ctx context.Context) error {
	if b.store == nil {
		return nil
	}
	for _, step := range []func(context.Context, *store.Queries) error{b.loadSessions, b.loadSubscriptions, b.loadInflight, b.loadRetained} {
		if err := step(ctx, b.store.Read()); err != nil {
			return fmt.Errorf("load mqtt: %w", err)
		}
	}
	return nil
}

func (b *Broker) loadSessions(ctx context.Context, q *store.Queries) error {
	rows, err := q.MQTTSessions(ctx)
	for _, r := range rows {
		var stored storedSession
		if err := json.Unmarshal([]byte(r.State), &stored); err != nil {
			b.log.Error("mqtt: a stored session cannot be read", "client_id", r.ClientID, "error", err)
			continue
		}
		s := b.newSession(key{r.Principal, r.ClientID}, stored.Principal)
		s.info.version, s.info.since, s.info.bridge = stored.Version, store.Time(stored.Since), stored.Bridge
		s.expiry, s.stored = time.Duration(stored.Expiry)*time.Second, true
		s.gone = b.now()
		if r.DisconnectedAt != nil {
			s.gone = store.Time(*r.DisconnectedAt)
		}
		s.will = b.storedWill(stored, r.DisconnectedAt, s.gone)
	}
	return err
}

// storedWill is the Will of a stored session. Who was connected when the hub went has a while to come back.
func (b *Broker) storedWill(stored storedSession, disconnected *int64, gone time.Time) *will {
	if len(stored.Will) == 0 {
		return nil
	}
	p, err := mqtt.Decode(stored.Will, mqtt.V5)
	publish, ok := p.(*mqtt.Publish)
	if err != nil || !ok {
		b.log.Error("mqtt: a stored Will cannot be read", "error", err)
		return nil
	}
	delay := time.Duration(stored.WillDelay) * time.Second
	if disconnected == nil {
		delay = max(delay, comeBackWithin)
	}
	return &will{publish: publish, due: gone.Add(delay), owed: disconnected != nil}
}

func (b *Broker) loadSubscriptions(ctx context.Context, q *store.Queries) error {
	rows, err := q.MQTTSubscriptions(ctx)
	for _, r := range rows {
		s := b.sessions[key{r.Principal, r.ClientID}]
		var o storedOptions
		if s == nil || json.Unmarshal([]byte(r.Options), &o) != nil || !mqtt.ValidFilter(r.Filter) {
			continue
		}
		sub := &subscription{session: s, id: o.ID, Subscription: mqtt.Subscription{Filter: r.Filter, QoS: o.QoS, NoLocal: o.NoLocal,
			RetainAsPublished: o.RetainAsPublished, RetainHandling: o.RetainHandling}}
		s.subscriptions[r.Filter] = sub
		b.tree.add(sub)
	}
	return err
}

func (b *Broker) loadInflight(ctx context.Context, q *store.Queries) error {
	rows, err := q.MQTTInflight(ctx)
	for _, r := range rows {
		b.lastPosition = max(b.lastPosition, r.Position)
		s, id := b.sessions[key{r.Principal, r.ClientID}], uint16(r.PacketID)
		if s == nil {
			continue
		}
		if r.Incoming == 1 {
			s.incoming[id] = struct{}{}
			continue
		}
		d := &delivery{id: id, position: r.Position, queued: store.Time(r.At), stored: true, sent: true, released: r.Released == 1, message: &message{}}
		if d.released {
			d.qos = 2
		} else if !b.loadPacket(d, r) {
			continue
		}
		s.unanswered[id], s.lastID = d, id
		s.bytes += d.size()
	}
	return err
}

func (b *Broker) loadPacket(d *delivery, r store.MQTTInflight) bool {
	p, err := mqtt.Decode(r.Packet, mqtt.V5)
	publish, ok := p.(*mqtt.Publish)
	if err != nil || !ok {
		b.log.Error("mqtt: a stored message cannot be read", "client_id", r.ClientID, "error", err)
		return false
	}
	m := publish.Message()
	d.message = &message{Message: m, at: store.Time(r.At), from: r.Sender}
	if r.ExpiresAt != nil {
		d.expires = store.Time(*r.ExpiresAt)
	}
	d.qos, d.retain = m.QoS, m.Retain
	for _, p := range publish.Properties {
		if p.ID == mqtt.SubscriptionID {
			d.ids = append(d.ids, p.Number)
		}
	}
	return true
}

func (b *Broker) loadRetained(ctx context.Context, q *store.Queries) error {
	rows, err := q.MQTTRetained(ctx)
	for _, r := range rows {
		var p storedProperties
		if json.Unmarshal([]byte(r.Properties), &p) != nil {
			continue
		}
		m := &message{Message: mqtt.Message{Topic: r.Topic, Payload: r.Payload, QoS: byte(r.Qos), Retain: true, UTF8: p.UTF8,
			ContentType: p.ContentType, ResponseTopic: p.ResponseTopic, Correlation: p.Correlation, UserProperties: p.User},
			at: store.Time(r.At), from: r.Sender, owner: r.Owner}
		if r.ExpiresAt != nil {
			m.expires = store.Time(*r.ExpiresAt)
			m.Expiry = m.expires.Sub(m.at)
		}
		b.retained.put(m)
	}
	return err
}
