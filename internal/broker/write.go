package broker

import (
	"slices"
	"sync"
	"time"

	"github.com/aditdev/adit/internal/mqtt"
)

// writeAhead is how many bytes go into one write to the network.
const writeAhead = 16 << 10

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, writeAhead+4096); return &b }}

// write sends what is queued until the connection ends, and closes it, at least in its own direction.
func (c *conn) write() {
	defer close(c.finished)
	for range c.wakes {
		for {
			packets, done := c.take()
			if done {
				c.sayGoodbye()
				return
			}
			if len(packets) == 0 {
				break
			}
			if err := c.writeAll(packets); err != nil {
				c.b.mu.Lock()
				c.close(mqtt.Success)
				c.b.mu.Unlock()
				_ = c.net.Close()
				return
			}
		}
	}
}

// outgoing is a packet, with the delivery that it is, if it is one.
type outgoing struct {
	packet   mqtt.Packet
	delivery *delivery
}

// take takes what may leave now, about as much as fits into one write; done means that the connection is to be closed.
func (c *conn) take() (out []outgoing, done bool) {
	b := c.b
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range c.control {
		out = append(out, outgoing{packet: p})
	}
	c.control = nil
	out = c.takeAnswers(out)
	if c.closing {
		return out, len(out) == 0
	}
	if c.session.conn == c {
		out = c.takeDeliveries(out)
	}
	return out, false
}

func (c *conn) takeAnswers(out []outgoing) []outgoing {
	n := 0
	for _, a := range c.answers {
		if a.barrier > c.b.journal.committed {
			if !c.closing {
				c.b.waiting[c] = struct{}{}
			}
			break
		}
		out = append(out, outgoing{packet: a.packet})
		if a.frees && c.underWay > 0 {
			c.free(a.packet)
		}
		n++
	}
	c.answers = slices.Delete(c.answers, 0, n)
	if len(c.answers) == 0 {
		c.answers = nil
	}
	return out
}

// free notes that a message of the peer's is through.
func (c *conn) free(by mqtt.Packet) {
	c.underWay--
	if ack, ok := by.(*mqtt.Ack); ok && ack.Kind != mqtt.PUBACK && c.unreleased > 0 {
		c.unreleased--
	}
	c.room.Signal()
}

// takeDeliveries takes messages while the peer's Receive Maximum lets it (MQTT 5.0 §4.9).
func (c *conn) takeDeliveries(out []outgoing) []outgoing {
	b, s, now := c.b, c.session, c.b.now()
	n, bytes := 0, 0
	for _, d := range s.queue {
		if bytes > writeAhead || d.qos > 0 && s.inflight >= c.window {
			break
		}
		if d.barrier > b.journal.committed {
			b.waiting[c] = struct{}{}
			break
		}
		n++
		p := d.packet(now)
		if p == nil || !b.stillMay(s, d) {
			b.unsendable(s, d)
			continue
		}
		if d.qos > 0 {
			d.flying, d.flown, d.sent = true, true, true
			s.inflight++
		} else {
			s.bytes -= d.size()
		}
		if !d.released {
			b.stats.sent++
		}
		bytes += d.size()
		out = append(out, outgoing{p, d})
	}
	clear(s.queue[:n])
	s.queue = s.queue[n:]
	if len(s.queue) == 0 {
		s.queue = nil
	}
	return out
}

// stillMay asks again about a message that has waited over a change of the policy.
func (b *Broker) stillMay(s *session, d *delivery) bool {
	if d.asked == b.policies || d.released {
		return true
	}
	d.asked = b.policies
	return b.access.MayReceive(s.principal, s.clientID, d.Topic)
}

// unsendable drops a message that has expired, that the peer may no longer read, or that is larger than it takes (MQTT 5.0
// §3.1.2.11.4).
func (b *Broker) unsendable(s *session, d *delivery) {
	s.dropped++
	b.stats.dropped++
	if d.qos > 0 {
		b.complete(s, d)
	} else {
		s.bytes -= d.size()
	}
}

func (c *conn) writeAll(packets []outgoing) error {
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	out := (*buffer)[:0]
	for _, o := range packets {
		fresh := ""
		if p, ok := o.packet.(*mqtt.Publish); ok && c.version == mqtt.V5 {
			fresh = c.alias(p)
		}
		frame, err := mqtt.Encode(c.plain(o.packet), c.version)
		if err != nil {
			return err
		}
		if len(frame) > c.limit {
			c.tooLarge(o)
			continue
		}
		c.gave(fresh)
		switch {
		case len(out) > 0 && len(out)+len(frame) > writeAhead:
			if _, err := c.net.Write(out); err != nil {
				return err
			}
			out = append(out[:0], frame...)
		default:
			out = append(out, frame...)
		}
	}
	_, err := c.net.Write(out)
	if cap(out) <= 4*writeAhead {
		*buffer = out
	}
	return err
}

// tooLarge drops a message that the peer does not take. An acknowledgement is small unless it explains itself.
func (c *conn) tooLarge(o outgoing) {
	if o.delivery == nil {
		return
	}
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	s, d := c.session, o.delivery
	s.dropped++
	c.b.stats.dropped++
	if d.qos > 0 && s.unanswered[d.id] == d {
		c.b.complete(s, d)
	}
}

// plain leaves out explanations that the peer does not want (MQTT 5.0 §3.1.2.11.7).
func (c *conn) plain(p mqtt.Packet) mqtt.Packet {
	if a, ok := p.(*mqtt.Ack); ok && c.quietErrors {
		a.Properties = nil
	}
	return p
}

// sayGoodbye writes DISCONNECT where MQTT 5.0 has one, and closes. A socket with unread bytes in it would be reset, and the
// peer might never read why: so the other direction stays open until it has, for a moment.
func (c *conn) sayGoodbye() {
	c.b.mu.Lock()
	code := c.farewell
	c.b.mu.Unlock()
	half, ok := c.net.(interface{ CloseWrite() error })
	if c.version == mqtt.V5 && code != mqtt.Success {
		frame, err := mqtt.Encode(&mqtt.Disconnect{Code: code}, c.version)
		if err == nil {
			_ = c.net.SetWriteDeadline(time.Now().Add(closeWithin))
			_, err = c.net.Write(frame)
		}
		if err == nil && ok && half.CloseWrite() == nil && c.net.SetReadDeadline(time.Now().Add(closeWithin/2)) == nil {
			return // the reader closes
		}
	}
	_ = c.net.Close()
}

// alias puts an alias in place of a topic that the peer has heard before, or gives it one; fresh is the topic then.
func (c *conn) alias(p *mqtt.Publish) (fresh string) {
	id, known := c.given[p.Topic]
	switch {
	case known:
		p.Topic = ""
	case c.aliasesLeft > 0:
		id, fresh = uint16(len(c.given)+1), p.Topic
	default:
		return ""
	}
	p.Properties = append(p.Properties, mqtt.Property{ID: mqtt.TopicAlias, Number: uint32(id)})
	return fresh
}

// gave notes an alias that is on its way.
func (c *conn) gave(topic string) {
	if topic == "" {
		return
	}
	if c.given == nil {
		c.given = map[string]uint16{}
	}
	c.given[topic] = uint16(len(c.given) + 1)
	c.aliasesLeft--
}
