package broker

import "github.com/aditdev/adit/internal/mqtt"

// outAliases are the Topic Aliases that a peer of 5.0 has been given on its connection (MQTT 5.0 §3.3.2.3.4): the first
// topics that it gets keep theirs. They are put on packets as these leave and never on what is kept, so that what comes again
// on another connection has its name. Only the connection's writer uses them.
type outAliases struct {
	most  int // the peer's Topic Alias Maximum, or ours
	given map[string]uint16
}

// alias puts an alias on a PUBLISH, in place of its Topic Name where the peer knows it. The packet is the caller's alone.
// fresh is what it is to be given once it has left.
func (a *outAliases) alias(p *mqtt.Publish) (fresh uint16) {
	id, known := a.given[p.Topic]
	switch {
	case known:
		p.Topic = ""
	case len(a.given) < a.most:
		id = uint16(len(a.given) + 1)
		fresh = id
	default:
		return 0
	}
	p.Properties = append(p.Properties, mqtt.Property{ID: mqtt.TopicAlias, Number: uint32(id)})
	return fresh
}

// give notes that a topic and its alias have left.
func (a *outAliases) give(topic string, id uint16) {
	if a.given == nil {
		a.given = map[string]uint16{}
	}
	a.given[topic] = id
}

// encode is a packet as this peer gets it; nil where it is larger than the peer takes.
func (c *conn) encode(o outgoing) ([]byte, error) {
	p, ok := o.packet.(*mqtt.Publish)
	if !ok || c.outgoing.most == 0 {
		return c.fits(mqtt.Encode(c.plain(o.packet), c.version))
	}
	topic := p.Topic
	fresh := c.outgoing.alias(p)
	frame, err := c.fits(mqtt.Encode(p, c.version))
	if fresh > 0 && frame != nil {
		c.outgoing.give(topic, fresh)
	}
	return frame, err
}

func (c *conn) fits(frame []byte, err error) ([]byte, error) {
	if len(frame) > c.limit {
		return nil, err
	}
	return frame, err
}
