package mqtt

// Flags of CONNECT (5.0 §3.1.2.3).
const (
	flagReserved   = 0x01
	flagClean      = 0x02
	flagWill       = 0x04
	flagWillQoS    = 0x18
	flagWillRetain = 0x20
	flagPassword   = 0x40
	flagUsername   = 0x80
)

const (
	protocolName   = "MQTT"
	protocolName31 = "MQIsdp"
	bridgeBit      = 0x80
)

func (p *Connect) decode(d *decoder) {
	p.protocol(d)
	flags := d.byte()
	p.KeepAlive = d.uint16()
	p.Clean = flags&flagClean != 0
	p.HasUsername, p.HasPassword = flags&flagUsername != 0, flags&flagPassword != 0
	d.checkConnectFlags(flags)
	p.Properties = d.ifV5(CONNECT)
	p.ClientID = d.text()
	if flags&flagWill != 0 {
		p.Will = d.will(flags)
	}
	if p.HasUsername {
		p.Username = d.text()
	}
	if p.HasPassword {
		p.Password = string(d.bytes())
	}
	if d.err == nil && p.ClientID == "" && !p.Clean && d.version != V5 {
		d.err = Errorf(ClientIDNotValid, "a ClientID that is empty needs Clean Session") // 3.1.1 §3.1.3.1
	}
}

// protocol reads Protocol Name and Level.
func (p *Connect) protocol(d *decoder) {
	name, level := string(d.bytes()), d.byte()
	if d.err != nil {
		return
	}
	p.Version, p.Bridge = Version(level&^bridgeBit), level&bridgeBit != 0
	switch {
	case name != protocolName && name != protocolName31:
		d.fail("the Protocol Name is %.20q", name)
	case name == protocolName31 && p.Version == V31, name == protocolName && p.Version == V311, name == protocolName && level == byte(V5):
		d.version = p.Version
	default:
		d.err = Errorf(UnsupportedVersion, "level %d of %s", level, name)
	}
}

func (d *decoder) checkConnectFlags(flags byte) {
	switch {
	case flags&flagReserved != 0 && d.version != V31:
		d.fail("the reserved flag of CONNECT is set")
	case flags&flagWill == 0 && flags&(flagWillQoS|flagWillRetain) != 0:
		d.fail("CONNECT has flags of a Will, and no Will")
	case flags&flagWillQoS == flagWillQoS:
		d.fail("the Will has QoS 3")
	case flags&flagPassword != 0 && flags&flagUsername == 0 && d.version != V5:
		d.fail("CONNECT has a Password without a User Name")
	}
}

func (d *decoder) will(flags byte) *Publish {
	w := &Publish{QoS: flags & flagWillQoS >> 3, Retain: flags&flagWillRetain != 0, Properties: d.ifV5(will), Topic: d.text(), Payload: d.bytes()}
	if !ValidName(w.Topic) {
		d.fail("the Will Topic is no Topic Name")
	}
	return w
}

func (p *Connack) decode(d *decoder) {
	flags := d.byte()
	if flags > 1 && d.version != V31 {
		d.fail("CONNACK has reserved flags")
	}
	p.SessionPresent = flags&1 != 0 && d.version != V31
	if d.version == V5 {
		p.Code = d.code(CONNACK)
		p.Properties = d.properties(CONNACK)
	} else {
		code := d.byte()
		var ok bool
		if p.Code, ok = reasonOfReturn(code); !ok {
			d.fail("CONNACK has the return code %d", code)
		}
	}
	if p.SessionPresent && p.Code != Success {
		d.fail("CONNACK refuses and has a session")
	}
}

func (p *Publish) decode(d *decoder) {
	p.Dup, p.QoS, p.Retain = d.flags&8 != 0, d.flags>>1&3, d.flags&1 != 0
	if p.QoS == 3 {
		d.fail("PUBLISH has QoS 3")
	}
	if p.Dup && p.QoS == 0 && d.version != V31 {
		d.fail("PUBLISH has DUP with QoS 0")
	}
	p.Topic = d.text()
	if p.QoS > 0 {
		p.ID = d.id()
	}
	p.Properties = d.ifV5(PUBLISH)
	if d.err != nil {
		return
	}
	p.Payload, d.rest = d.rest, nil
	_, aliased := p.Properties.Find(TopicAlias)
	switch {
	case p.Topic == "" && d.version == V5 && !aliased:
		d.protocolError("PUBLISH has neither a Topic Name nor a Topic Alias")
	case !ValidName(p.Topic) && (p.Topic != "" || !aliased):
		d.fail("PUBLISH goes to %.100q, which is no Topic Name", p.Topic)
	}
}

func (p *Ack) decode(d *decoder) {
	p.ID = d.id()
	p.Code, p.Properties = d.tail(p.Kind)
}

func (p *Subscribe) decode(d *decoder) {
	p.ID = d.id()
	p.Properties = d.ifV5(SUBSCRIBE)
	for len(d.rest) > 0 && d.err == nil {
		p.Filters = append(p.Filters, d.subscription())
	}
	if len(p.Filters) == 0 {
		d.protocolError("SUBSCRIBE has no Topic Filter")
	}
}

func (d *decoder) subscription() Subscription {
	filter, options := d.filter(), d.byte()
	if reserved := byte(0xc0); d.version == V5 && options&reserved != 0 || d.version == V311 && options > 3 {
		d.fail("a Subscription has reserved options")
	}
	s := Subscription{Filter: filter, QoS: options & 3}
	if d.version == V5 {
		s.NoLocal, s.RetainAsPublished, s.RetainHandling = options&4 != 0, options&8 != 0, options>>4&3
	}
	if s.QoS == 3 {
		d.fail("a Subscription has QoS 3")
	}
	if s.RetainHandling == 3 {
		d.protocolError("a Subscription has Retain Handling 3")
	}
	if _, _, shared := CutShare(filter); shared && s.NoLocal {
		d.protocolError("a Shared Subscription has No Local")
	}
	return s
}

func (d *decoder) filter() string {
	s := d.text()
	if d.err == nil && !ValidFilter(s) {
		d.fail("%.100q is no Topic Filter", s)
	}
	return s
}

func (p *Suback) decode(d *decoder) {
	p.ID = d.id()
	p.Properties = d.ifV5(SUBACK)
	p.Codes = d.codes(SUBACK)
	if d.err == nil && len(p.Codes) == 0 {
		d.protocolError("SUBACK has no code")
	}
}

// codes are all that is left.
func (d *decoder) codes(t Type) (out []ReasonCode) {
	for len(d.rest) > 0 && d.err == nil {
		c := d.code(t)
		if d.version != V5 && c.Failed() && c != Unspecified {
			d.fail("%s has the return code 0x%02x", t, byte(c))
		}
		out = append(out, c)
	}
	return out
}

func (p *Unsubscribe) decode(d *decoder) {
	p.ID = d.id()
	p.Properties = d.ifV5(UNSUBSCRIBE)
	for len(d.rest) > 0 && d.err == nil {
		p.Filters = append(p.Filters, d.filter())
	}
	if len(p.Filters) == 0 {
		d.protocolError("UNSUBSCRIBE has no Topic Filter")
	}
}

func (p *Unsuback) decode(d *decoder) {
	p.ID = d.id()
	if d.version != V5 {
		return
	}
	p.Properties = d.properties(UNSUBACK)
	p.Codes = d.codes(UNSUBACK)
	if d.err == nil && len(p.Codes) == 0 {
		d.protocolError("UNSUBACK has no code")
	}
}

func (*Ping) decode(*decoder) {}

func (p *Disconnect) decode(d *decoder) { p.Code, p.Properties = d.tail(DISCONNECT) }

func (p *Auth) decode(d *decoder) { p.Code, p.Properties = d.tail(AUTH) }
