package mqtt

// Packet is an MQTT Control Packet: *Connect, *Connack, *Publish, *Ack, *Subscribe, *Suback, *Unsubscribe, *Unsuback, *Ping,
// *Disconnect or *Auth. Properties are those of 5.0; older versions neither read nor write them.
type Packet interface {
	Type() Type
	decode(d *decoder)
	encode(e *encoder)
}

// Connect is CONNECT (5.0 §3.1).
type Connect struct {
	Version    Version
	Bridge     bool // bit 0x80 of the Protocol Level: a bridge of 3.1 or 3.1.1, as Mosquitto says it
	Clean      bool // Clean Start, in older versions Clean Session
	KeepAlive  uint16
	Properties Properties
	ClientID   string
	Will       *Publish // nil for none; its ID and Dup are not used
	Username   string
	Password   string // bytes
	// Whether there is a User Name and a Password: an empty one is not none.
	HasUsername, HasPassword bool
}

// Connack is CONNACK (5.0 §3.2). Code is that of 5.0 in every version; see ReasonCode.ReturnCode.
type Connack struct {
	SessionPresent bool
	Code           ReasonCode
	Properties     Properties
}

// Publish is PUBLISH (5.0 §3.3). Topic is empty where a Topic Alias stands for it.
type Publish struct {
	Dup, Retain bool
	QoS         byte
	ID          uint16 // Packet Identifier; 0 with QoS 0 and at no other
	Topic       string
	Properties  Properties
	Payload     []byte
}

// Ack is PUBACK, PUBREC, PUBREL or PUBCOMP (5.0 §3.4 to §3.7).
type Ack struct {
	Kind       Type
	ID         uint16
	Code       ReasonCode
	Properties Properties
}

// Subscribe is SUBSCRIBE (5.0 §3.8).
type Subscribe struct {
	ID         uint16
	Properties Properties
	Filters    []Subscription
}

// Subscription is a TopicFilter with its Subscription Options (5.0 §3.8.3.1).
type Subscription struct {
	Filter            string
	QoS               byte // the most at which messages shall come
	NoLocal           bool
	RetainAsPublished bool
	RetainHandling    byte // 0: retained messages come; 1: only where the subscription is new; 2: never
}

// Suback is SUBACK (5.0 §3.9): a code for each filter, in order.
type Suback struct {
	ID         uint16
	Properties Properties
	Codes      []ReasonCode
}

// Unsubscribe is UNSUBSCRIBE (5.0 §3.10).
type Unsubscribe struct {
	ID         uint16
	Properties Properties
	Filters    []string
}

// Unsuback is UNSUBACK (5.0 §3.11). Before 5.0 it has no Codes.
type Unsuback struct {
	ID         uint16
	Properties Properties
	Codes      []ReasonCode
}

// Ping is PINGREQ or PINGRESP.
type Ping struct{ Kind Type }

// Disconnect is DISCONNECT (5.0 §3.14).
type Disconnect struct {
	Code       ReasonCode
	Properties Properties
}

// Auth is AUTH (5.0 §3.15).
type Auth struct {
	Code       ReasonCode
	Properties Properties
}

// Type implements Packet, as those below do.
func (*Connect) Type() Type     { return CONNECT }
func (*Connack) Type() Type     { return CONNACK }
func (*Publish) Type() Type     { return PUBLISH }
func (p *Ack) Type() Type       { return p.Kind }
func (*Subscribe) Type() Type   { return SUBSCRIBE }
func (*Suback) Type() Type      { return SUBACK }
func (*Unsubscribe) Type() Type { return UNSUBSCRIBE }
func (*Unsuback) Type() Type    { return UNSUBACK }
func (p *Ping) Type() Type      { return p.Kind }
func (*Disconnect) Type() Type  { return DISCONNECT }
func (*Auth) Type() Type        { return AUTH }

// newPacket is an empty packet of a type; nil for type 0.
func newPacket(t Type) Packet {
	switch t {
	case CONNECT:
		return &Connect{}
	case CONNACK:
		return &Connack{}
	case PUBLISH:
		return &Publish{}
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		return &Ack{Kind: t}
	case SUBSCRIBE:
		return &Subscribe{}
	case SUBACK:
		return &Suback{}
	case UNSUBSCRIBE:
		return &Unsubscribe{}
	case UNSUBACK:
		return &Unsuback{}
	case PINGREQ, PINGRESP:
		return &Ping{Kind: t}
	case DISCONNECT:
		return &Disconnect{}
	case AUTH:
		return &Auth{}
	}
	return nil
}
