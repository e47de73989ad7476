package mqtt

// Encode writes a packet as version v has it, CONNECT as its own Version. It refuses, with an *Error, what cannot be written
// (texts above 65,535 bytes, packets above MaxRemaining, properties that the packet may not carry); that a packet makes
// sense is its maker's business.
func Encode(p Packet, v Version) ([]byte, error) {
	if c, ok := p.(*Connect); ok {
		v = c.Version
	}
	e := &encoder{version: v, out: make([]byte, headRoom, headRoom+64)}
	p.encode(e)
	remaining := len(e.out) - headRoom
	if e.err == nil && remaining > MaxRemaining {
		e.err = Errorf(PacketTooLarge, "%s of %d bytes", p.Type(), remaining)
	}
	if e.err != nil {
		return nil, e.err
	}
	start := headRoom - 1 - minimal(remaining)
	head := encoder{out: e.out[start:start]}
	head.byte(byte(p.Type())<<4 | e.flags)
	head.varint(remaining)
	return e.out[start:], nil
}

// headRoom is the longest fixed header.
const headRoom = 5

// encoder appends values to out until one cannot be written.
type encoder struct {
	out     []byte
	version Version
	flags   byte
	err     error
}

func (e *encoder) fail(format string, args ...any) {
	if e.err == nil {
		e.err = malformed(format, args...)
	}
}

func (e *encoder) byte(b byte)     { e.out = append(e.out, b) }
func (e *encoder) uint16(n uint16) { e.out = append(e.out, byte(n>>8), byte(n)) }
func (e *encoder) uint32(n uint32) {
	e.out = append(e.out, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
}

func (e *encoder) varint(n int) {
	for ; n >= 0x80; n >>= 7 {
		e.byte(byte(n) | 0x80)
	}
	e.byte(byte(n))
}

func (e *encoder) bytes(s string) {
	if len(s) > maxText {
		e.fail("a value of %d bytes, at most %d", len(s), maxText)
		return
	}
	e.uint16(uint16(len(s)))
	e.out = append(e.out, s...)
}

func (e *encoder) text(s string) {
	if !ValidText(s) {
		e.fail("a string is not UTF-8 as MQTT wants it")
	}
	e.bytes(s)
}

func (e *encoder) ifV5(t Type, p Properties) {
	if e.version == V5 {
		e.properties(t, p)
	}
}

// tail leaves out what need not be written.
func (e *encoder) tail(t Type, c ReasonCode, p Properties) {
	if e.version != V5 || c == Success && len(p) == 0 {
		return
	}
	e.byte(byte(c))
	if len(p) > 0 {
		e.properties(t, p)
	}
}

func bit(set bool, mask byte) byte {
	if set {
		return mask
	}
	return 0
}

func (p *Connect) encode(e *encoder) {
	name := protocolName
	if p.Version == V31 {
		name = protocolName31
	}
	e.text(name)
	e.byte(byte(p.Version) | bit(p.Bridge, bridgeBit))
	flags := bit(p.Clean, flagClean) | bit(p.HasUsername, flagUsername) | bit(p.HasPassword, flagPassword)
	if w := p.Will; w != nil {
		flags |= flagWill | w.QoS<<3 | bit(w.Retain, flagWillRetain)
	}
	e.byte(flags)
	e.uint16(p.KeepAlive)
	e.ifV5(CONNECT, p.Properties)
	e.text(p.ClientID)
	if w := p.Will; w != nil {
		e.ifV5(will, w.Properties)
		e.text(w.Topic)
		e.bytes(string(w.Payload))
	}
	if p.HasUsername {
		e.text(p.Username)
	}
	if p.HasPassword {
		e.bytes(p.Password)
	}
}

func (p *Connack) encode(e *encoder) {
	e.byte(bit(p.SessionPresent && e.version != V31, 1))
	if e.version == V5 {
		e.byte(byte(p.Code))
		e.properties(CONNACK, p.Properties)
	} else {
		e.byte(p.Code.ReturnCode())
	}
}

func (p *Publish) encode(e *encoder) {
	e.flags = bit(p.Dup, 8) | p.QoS<<1 | bit(p.Retain, 1)
	e.text(p.Topic)
	if p.QoS > 0 {
		e.uint16(p.ID)
	}
	e.ifV5(PUBLISH, p.Properties)
	e.out = append(e.out, p.Payload...)
}

func (p *Ack) encode(e *encoder) {
	e.flags = bit(p.Kind == PUBREL, 2)
	e.uint16(p.ID)
	e.tail(p.Kind, p.Code, p.Properties)
}

func (p *Subscribe) encode(e *encoder) {
	e.flags = 2
	e.uint16(p.ID)
	e.ifV5(SUBSCRIBE, p.Properties)
	for _, s := range p.Filters {
		e.text(s.Filter)
		options := s.QoS
		if e.version == V5 {
			options |= bit(s.NoLocal, 4) | bit(s.RetainAsPublished, 8) | s.RetainHandling<<4
		}
		e.byte(options)
	}
}

func (p *Suback) encode(e *encoder) {
	e.uint16(p.ID)
	e.ifV5(SUBACK, p.Properties)
	for _, c := range p.Codes {
		if e.version != V5 && c.Failed() {
			c = Unspecified
		}
		e.byte(byte(c))
	}
}

func (p *Unsubscribe) encode(e *encoder) {
	e.flags = 2
	e.uint16(p.ID)
	e.ifV5(UNSUBSCRIBE, p.Properties)
	for _, f := range p.Filters {
		e.text(f)
	}
}

func (p *Unsuback) encode(e *encoder) {
	e.uint16(p.ID)
	if e.version != V5 {
		return
	}
	e.properties(UNSUBACK, p.Properties)
	for _, c := range p.Codes {
		e.byte(byte(c))
	}
}

func (*Ping) encode(*encoder) {}

func (p *Disconnect) encode(e *encoder) { e.tail(DISCONNECT, p.Code, p.Properties) }

func (p *Auth) encode(e *encoder) { e.tail(AUTH, p.Code, p.Properties) }
