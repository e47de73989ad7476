// Package mqtt is MQTT 3.1, 3.1.1 and 5.0 as the agent, the command line and the hub share it: packets and their strict
// reading, topic names and filters, and a small client. It stands on the standard library; the hub's broker is
// internal/broker.
package mqtt

import "time"

// Message is an application message with what MQTT 5.0 §3.3.2.3 lets it carry. Nobody changes one that is shared.
type Message struct {
	Topic          string
	Payload        []byte
	QoS            byte // 0, 1, 2
	Retain         bool
	UTF8           bool // the Payload Format Indicator: the payload is UTF-8
	ContentType    string
	ResponseTopic  string
	Correlation    []byte        // nil: none, which an empty one is not
	Expiry         time.Duration // of whole seconds; 0: none
	ExpiresAtOnce  bool          // Expiry is 0 and said so: for those who are there now
	UserProperties []UserProperty
}

// UserProperty is one of a message's User Properties (MQTT 5.0 §3.3.2.3.7); their order and repetition count.
type UserProperty struct{ Name, Value string }

// NewPublish is the packet that carries m; its ID is still to be set. Before 5.0 all but topic, payload and flags is lost.
func NewPublish(m Message) *Publish {
	p := &Publish{Topic: m.Topic, Payload: m.Payload, QoS: m.QoS, Retain: m.Retain}
	add := func(id PropertyID, number uint32, text string) {
		if number > 0 || text != "" {
			p.Properties = append(p.Properties, Property{ID: id, Number: number, Text: text})
		}
	}
	if m.UTF8 {
		add(PayloadFormat, 1, "")
	}
	if m.ExpiresAtOnce {
		p.Properties = append(p.Properties, Property{ID: MessageExpiry})
	} else {
		add(MessageExpiry, seconds(m.Expiry), "")
	}
	add(ContentType, 0, m.ContentType)
	add(ResponseTopic, 0, m.ResponseTopic)
	if m.Correlation != nil {
		p.Properties = append(p.Properties, Property{ID: CorrelationData, Text: string(m.Correlation)})
	}
	for _, u := range m.UserProperties {
		p.Properties = append(p.Properties, Property{ID: UserPropertyID, Text: u.Name, Value: u.Value})
	}
	return p
}

// seconds rounds up: what still has a moment to live must not become what lives for ever.
func seconds(d time.Duration) uint32 {
	return uint32(min((max(d, 0)+time.Second-1)/time.Second, 1<<32-1))
}

// Message is what p carries.
func (p *Publish) Message() Message {
	m := Message{Topic: p.Topic, Payload: p.Payload, QoS: p.QoS, Retain: p.Retain}
	for _, q := range p.Properties {
		switch q.ID {
		case PayloadFormat:
			m.UTF8 = q.Number == 1
		case MessageExpiry:
			m.Expiry, m.ExpiresAtOnce = time.Duration(q.Number)*time.Second, q.Number == 0
		case ContentType:
			m.ContentType = q.Text
		case ResponseTopic:
			m.ResponseTopic = q.Text
		case CorrelationData:
			m.Correlation = []byte(q.Text)
		case UserPropertyID:
			m.UserProperties = append(m.UserProperties, UserProperty{q.Text, q.Value})
		}
	}
	return m
}
