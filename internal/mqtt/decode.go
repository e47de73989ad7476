package mqtt

import (
	"bufio"
	"io"
)

// MaxRemaining is the largest Remaining Length that can be written (5.0 §1.5.5).
const MaxRemaining = 268_435_455

// ReadFrame reads the bytes of one packet, its fixed header among them. One longer than limit bytes is refused before
// memory is taken for it, with an Error of code PacketTooLarge. io.EOF means an end between packets.
func ReadFrame(r *bufio.Reader, limit int) ([]byte, error) {
	first, err := r.ReadByte()
	if err != nil {
		return nil, err
	}
	frame := []byte{first, 0, 0, 0, 0}[:1]
	remaining := 0
	for shift := 0; ; shift += 7 {
		b, err := r.ReadByte()
		if err != nil {
			return nil, unexpected(err)
		}
		frame = append(frame, b)
		remaining |= int(b&0x7f) << shift
		if b < 0x80 {
			break
		}
		if shift == 21 {
			return nil, malformed("the Remaining Length has more than four bytes")
		}
	}
	if len(frame)+remaining > limit {
		return nil, Errorf(PacketTooLarge, "%s of %d bytes, at most %d", Type(first>>4), len(frame)+remaining, limit)
	}
	head := len(frame)
	frame = append(make([]byte, 0, head+remaining), frame...)[:head+remaining]
	if _, err := io.ReadFull(r, frame[head:]); err != nil {
		return nil, unexpected(err)
	}
	return frame, nil
}

// ReadPacket reads and decodes one packet. v is not used for CONNECT. Errors are those of ReadFrame and Decode.
func ReadPacket(r *bufio.Reader, v Version, limit int) (Packet, error) {
	frame, err := ReadFrame(r, limit)
	if err != nil {
		return nil, err
	}
	return Decode(frame, v)
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Decode reads a whole packet as strictly as its version of the standard lets a receiver be. v is not used for CONNECT, which
// names its own. The packet keeps parts of frame. Errors are *Error: MalformedPacket, ProtocolError, UnsupportedVersion,
// ClientIDNotValid or TopicAliasInvalid.
func Decode(frame []byte, v Version) (Packet, error) {
	d := &decoder{rest: frame, version: V311}
	first := d.byte()
	d.flags = first & 0x0f
	remaining := d.varint()
	if d.err == nil && remaining != len(d.rest) {
		d.fail("the Remaining Length is %d, and %d bytes follow", remaining, len(d.rest))
	}
	t := Type(first >> 4)
	p := newPacket(t)
	if p == nil || t == AUTH && v != V5 {
		d.fail("there is no packet of type %d in MQTT %s", first>>4, v)
	}
	if d.err != nil {
		return nil, d.err
	}
	d.version = v
	if t == CONNECT {
		d.version = V311 // whose rules for flags hold in all
	}
	d.checkFlags(t)
	if d.err == nil {
		p.decode(d)
	}
	if d.err == nil && len(d.rest) > 0 {
		d.fail("%d bytes follow the end of %s", len(d.rest), t)
	}
	if d.err == nil && d.version == V5 && minimal(remaining)+1+remaining != len(frame) {
		d.fail("the Remaining Length is longer than it must be")
	}
	if d.err != nil {
		return nil, d.err
	}
	return p, nil
}

// checkFlags: only PUBLISH has any; three types have a fixed one (5.0 §2.1.3). In 3.1 those carry DUP too, and others were
// never checked.
func (d *decoder) checkFlags(t Type) {
	want := byte(0)
	switch t {
	case PUBLISH:
		return
	case PUBREL, SUBSCRIBE, UNSUBSCRIBE:
		want = 2
	}
	if d.flags != want && d.version != V31 {
		d.fail("%s has the flags %04b", t, d.flags)
	}
}

// decoder takes values from the front of rest until one is wrong; the first thing wrong stays in err, and from there on
// values are zero.
type decoder struct {
	rest    []byte
	version Version
	flags   byte
	err     error
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = malformed(format, args...)
	}
}

func (d *decoder) protocolError(format string, args ...any) {
	if d.err == nil {
		d.err = Errorf(ProtocolError, format, args...)
	}
}

// take cuts n bytes off, or fails and gives nil.
func (d *decoder) take(n int) []byte {
	if d.err != nil || n > len(d.rest) {
		d.fail("the packet ends too early")
		return nil
	}
	b := d.rest[:n:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) uint16() uint16 {
	if b := d.take(2); b != nil {
		return uint16(b[0])<<8 | uint16(b[1])
	}
	return 0
}

func (d *decoder) uint32() uint32 { return uint32(d.uint16())<<16 | uint32(d.uint16()) }

// varint is a Variable Byte Integer (5.0 §1.5.5).
func (d *decoder) varint() int {
	n := 0
	for shift := 0; shift <= 21; shift += 7 {
		b := d.byte()
		n |= int(b&0x7f) << shift
		if b < 0x80 {
			if d.version == V5 && minimal(n) != shift/7+1 {
				d.fail("an integer is longer than it must be")
			}
			return n
		}
	}
	d.fail("an integer has more than four bytes")
	return 0
}

// minimal is how many bytes a Variable Byte Integer of n has.
func minimal(n int) int {
	bytes := 1
	for n >>= 7; n > 0; n >>= 7 {
		bytes++
	}
	return bytes
}

func (d *decoder) bytes() []byte { return d.take(int(d.uint16())) }

func (d *decoder) text() string {
	s := string(d.bytes())
	if !ValidText(s) {
		d.fail("a string is not UTF-8 as MQTT wants it")
	}
	return s
}

// id is a Packet Identifier (5.0 §2.2.1).
func (d *decoder) id() uint16 {
	n := d.uint16()
	if n == 0 {
		d.protocolError("the Packet Identifier is 0")
	}
	return n
}

// code is a Reason Code that a packet of type t may carry.
func (d *decoder) code(t Type) ReasonCode {
	c := ReasonCode(d.byte())
	if d.err == nil && !t.mayCarry(c) {
		d.protocolError("%s cannot carry the Reason Code 0x%02x", t, byte(c))
	}
	return c
}

// ifV5 reads properties where the version has them.
func (d *decoder) ifV5(t Type) Properties {
	if d.version != V5 {
		return nil
	}
	return d.properties(t)
}

// tail is a Reason Code and properties at the end of a packet of 5.0, which may both be missing.
func (d *decoder) tail(t Type) (ReasonCode, Properties) {
	if d.version != V5 || len(d.rest) == 0 || d.err != nil {
		return Success, nil
	}
	c := d.code(t)
	if len(d.rest) == 0 {
		return c, nil
	}
	return c, d.properties(t)
}
