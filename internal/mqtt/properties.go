package mqtt

// PropertyID names a property of MQTT 5.0 §2.2.2.2.
type PropertyID byte

// The properties.
const (
	PayloadFormat         PropertyID = 0x01
	MessageExpiry         PropertyID = 0x02 // seconds
	ContentType           PropertyID = 0x03
	ResponseTopic         PropertyID = 0x08
	CorrelationData       PropertyID = 0x09
	SubscriptionID        PropertyID = 0x0B
	SessionExpiry         PropertyID = 0x11 // seconds
	AssignedClientID      PropertyID = 0x12
	ServerKeepAlive       PropertyID = 0x13 // seconds
	AuthenticationMethod  PropertyID = 0x15
	AuthenticationData    PropertyID = 0x16
	RequestProblemInfo    PropertyID = 0x17
	WillDelay             PropertyID = 0x18 // seconds
	RequestResponseInfo   PropertyID = 0x19
	ResponseInfo          PropertyID = 0x1A
	ServerReference       PropertyID = 0x1C
	ReasonString          PropertyID = 0x1F
	ReceiveMaximum        PropertyID = 0x21
	TopicAliasMaximum     PropertyID = 0x22
	TopicAlias            PropertyID = 0x23
	MaximumQoS            PropertyID = 0x24
	RetainAvailable       PropertyID = 0x25
	UserPropertyID        PropertyID = 0x26
	MaximumPacketSize     PropertyID = 0x27 // bytes
	WildcardsAvailable    PropertyID = 0x28
	SubscriptionIDsUsable PropertyID = 0x29
	SharedAvailable       PropertyID = 0x2A
)

// Property is one property. Its value is Number, or Text, which is bytes for Correlation Data and Authentication Data; of a
// User Property Text is the name and Value its value.
type Property struct {
	ID          PropertyID
	Number      uint32
	Text, Value string
}

// Properties are those of a packet, in their order.
type Properties []Property

// Find gives the first property of an id.
func (p Properties) Find(id PropertyID) (Property, bool) {
	for _, q := range p {
		if q.ID == id {
			return q, true
		}
	}
	return Property{}, false
}

// Number is the number of a property, or otherwise where it is absent.
func (p Properties) Number(id PropertyID, otherwise uint32) uint32 {
	if q, ok := p.Find(id); ok {
		return q.Number
	}
	return otherwise
}

// Text is the text of a property; empty where it is absent.
func (p Properties) Text(id PropertyID) string {
	q, _ := p.Find(id)
	return q.Text
}

// With is a copy of p where q takes the place of what had its id.
func (p Properties) With(q Property) Properties { return append(p.Without(q.ID), q) }

// Without is a copy of p without the properties of an id.
func (p Properties) Without(id PropertyID) Properties {
	out := make(Properties, 0, len(p)+1)
	for _, q := range p {
		if q.ID != id {
			out = append(out, q)
		}
	}
	return out
}

// kind is how a property is written.
type kind byte

const (
	unknown kind = iota
	flag         // one byte, 0 or 1
	two          // two bytes
	four         // four bytes
	varint
	text
	binary
	pair
)

// form is how a property is written and which packets may carry it (5.0 table 2-4), a bit for each Type.
func (id PropertyID) form() (k kind, packets uint32) {
	const message = 1<<PUBLISH | 1<<will
	const opening = 1<<CONNECT | 1<<CONNACK
	switch id {
	case PayloadFormat:
		return flag, message
	case MessageExpiry:
		return four, message
	case ContentType, ResponseTopic:
		return text, message
	case CorrelationData:
		return binary, message
	case SubscriptionID:
		return varint, 1<<PUBLISH | 1<<SUBSCRIBE
	case SessionExpiry:
		return four, opening | 1<<DISCONNECT
	case AssignedClientID, ResponseInfo:
		return text, 1 << CONNACK
	case ServerKeepAlive:
		return two, 1 << CONNACK
	case AuthenticationMethod:
		return text, opening | 1<<AUTH
	case AuthenticationData:
		return binary, opening | 1<<AUTH
	case RequestProblemInfo, RequestResponseInfo:
		return flag, 1 << CONNECT
	case WillDelay:
		return four, 1 << will
	case ServerReference:
		return text, 1<<CONNACK | 1<<DISCONNECT
	case ReasonString:
		return text, 1<<CONNACK | 1<<PUBACK | 1<<PUBREC | 1<<PUBREL | 1<<PUBCOMP | 1<<SUBACK | 1<<UNSUBACK | 1<<DISCONNECT | 1<<AUTH
	case ReceiveMaximum, TopicAliasMaximum:
		return two, opening
	case TopicAlias:
		return two, 1 << PUBLISH
	case MaximumQoS, RetainAvailable, WildcardsAvailable, SubscriptionIDsUsable, SharedAvailable:
		return flag, 1 << CONNACK
	case UserPropertyID:
		return pair, 1<<(will+1) - 1
	case MaximumPacketSize:
		return four, opening
	}
	return unknown, 0
}

// repeats reports a property that may stand more than once in a packet of type t.
func (id PropertyID) repeats(t Type) bool {
	return id == UserPropertyID || id == SubscriptionID && t == PUBLISH
}

// properties reads the properties of a packet, or of a Will.
func (d *decoder) properties(t Type) Properties {
	length := d.varint()
	if d.err != nil {
		return nil
	}
	if length > len(d.rest) {
		d.fail("the properties of %s are longer than the packet", t)
		return nil
	}
	outer := d.rest[length:]
	d.rest = d.rest[:length]
	var out Properties
	var seen uint64
	for len(d.rest) > 0 && d.err == nil {
		p := d.property(t)
		if d.err == nil && seen&(1<<p.ID) != 0 && !p.ID.repeats(t) {
			d.protocolError("property 0x%02x stands twice in %s", byte(p.ID), t)
		}
		seen |= 1 << p.ID
		out = append(out, p)
	}
	d.rest = outer
	if d.err == nil && seen&(1<<AuthenticationData) != 0 && seen&(1<<AuthenticationMethod) == 0 {
		d.protocolError("Authentication Data without an Authentication Method")
	}
	return out
}

func (d *decoder) property(t Type) Property {
	p := Property{ID: PropertyID(d.byte())} // all known ids have one byte
	k, packets := p.ID.form()
	if d.err == nil && packets&(1<<t) == 0 {
		d.fail("property 0x%02x in %s", byte(p.ID), t)
		return Property{}
	}
	switch k {
	case flag:
		p.Number = uint32(d.byte())
	case two:
		p.Number = uint32(d.uint16())
	case four:
		p.Number = d.uint32()
	case varint:
		p.Number = uint32(d.varint())
	case text:
		p.Text = d.text()
	case binary:
		p.Text = string(d.bytes())
	case pair:
		p.Text, p.Value = d.text(), d.text()
	}
	if d.err == nil {
		d.checkProperty(k, p)
	}
	return p
}

func (d *decoder) checkProperty(k kind, p Property) {
	switch {
	case k == flag && p.Number > 1,
		p.Number == 0 && (p.ID == ReceiveMaximum || p.ID == MaximumPacketSize || p.ID == SubscriptionID):
		d.protocolError("property 0x%02x cannot be %d", byte(p.ID), p.Number)
	case p.ID == TopicAlias && p.Number == 0:
		d.err = Errorf(TopicAliasInvalid, "a Topic Alias cannot be 0")
	case p.ID == ResponseTopic && !ValidName(p.Text):
		d.protocolError("the Response Topic is no Topic Name")
	}
}

// properties writes those of a packet, or of a Will.
func (e *encoder) properties(t Type, list Properties) {
	var inner encoder
	for _, p := range list {
		k, packets := p.ID.form()
		if packets&(1<<t) == 0 {
			e.fail("property 0x%02x in %s", byte(p.ID), t)
			return
		}
		inner.byte(byte(p.ID))
		switch k {
		case flag:
			inner.byte(byte(p.Number))
		case two:
			inner.uint16(uint16(p.Number))
		case four:
			inner.uint32(p.Number)
		case varint:
			inner.varint(int(p.Number))
		case text:
			inner.text(p.Text)
		case binary:
			inner.bytes(p.Text)
		case pair:
			inner.text(p.Text)
			inner.text(p.Value)
		}
	}
	if inner.err != nil {
		e.err = inner.err
	}
	e.varint(len(inner.out))
	e.out = append(e.out, inner.out...)
}
