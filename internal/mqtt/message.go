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
	ContentType    string
	ResponseTopic  string
	Correlation    []byte
	Expiry         time.Duration // of whole seconds; 0: none
	UserProperties []UserProperty
}

// UserProperty is one of a message's User Properties (MQTT 5.0 §3.3.2.3.7); their order and repetition count.
type UserProperty struct{ Name, Value string }
