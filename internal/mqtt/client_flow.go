package mqtt

import (
	"context"
	"time"
)

// Publish sends m and waits until the server has it as safely as its QoS asks, ctx ends or the connection does. With a Session
// of Options a message of QoS 1 or 2 may still arrive after an error. A refusal is an *Error with the server's code.
func (c *Client) Publish(ctx context.Context, m Message) error {
	return c.PublishPacket(ctx, NewPublish(m))
}

// PublishPacket is Publish for what no Message holds.
func (c *Client) PublishPacket(ctx context.Context, p *Publish) error {
	result := make(chan error, 1)
	err := c.Enqueue(ctx, p, func(code ReasonCode, err error) {
		if err == nil && code.Failed() {
			err = &Error{Code: code}
		}
		result <- err
	})
	if err != nil {
		return err
	}
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-c.done:
		return c.err
	}
}

// Enqueue sends p and calls done when it is through: of QoS 0 when it is on its way, else when the server acknowledged it,
// with the server's code. It waits only while Inflight others are under way. p's ID is given here, or, where it is not 0, asked for: an
// *Error of code PacketIDInUse says that it is not free. done is called with an error
// where the connection ended and the session with it; with a Session of Options a later connection goes on. done must not block.
func (c *Client) Enqueue(ctx context.Context, p *Publish, done func(ReasonCode, error)) error {
	if !ValidName(p.Topic) {
		return Errorf(TopicNameInvalid, "%.100q is no Topic Name", p.Topic)
	}
	p.QoS = min(p.QoS, byte(c.connack.Properties.Number(MaximumQoS, 2)))
	if p.QoS == 0 {
		p.ID = 0
		frame, err := c.encode(p)
		if err == nil {
			err = c.send(frame)
		}
		if err == nil {
			done(Success, nil)
		}
		return err
	}
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-c.done:
		return c.err
	}
	err := c.request(p.ID, func(id uint16) Packet { p.ID = id; return p }, true, func(a Packet, err error) {
		if err != nil {
			done(Unspecified, err)
		} else {
			done(codeOf(a, nil), nil)
		}
	})
	if err != nil {
		<-c.slots
	}
	return err
}

func (c *Client) encode(p Packet) ([]byte, error) {
	frame, err := Encode(p, c.options.Version)
	if err == nil && len(frame) > c.limit {
		err = Errorf(PacketTooLarge, "%s of %d bytes, the server takes %d", p.Type(), len(frame), c.limit)
	}
	return frame, err
}

// request sends a packet with a Packet Identifier, want or any where that is 0; done is called with what answers it.
func (c *Client) request(want uint16, make func(id uint16) Packet, repeat bool, done func(Packet, error)) error {
	s := c.options.Session
	s.mu.Lock()
	if s.client != c {
		s.mu.Unlock()
		<-c.done
		return c.err
	}
	frame, err := s.add(want, done, func(id uint16) ([]byte, error) { return c.encode(make(id)) }, repeat)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	_ = c.send(frame) // where the connection ended, whoever ended it tells done
	return nil
}

// Subscribe asks for filters and gives the server's code for each.
func (c *Client) Subscribe(ctx context.Context, filters ...Subscription) ([]ReasonCode, error) {
	return c.SubscribeAs(ctx, 0, filters...)
}

// SubscribeAs is Subscribe with a Subscription Identifier (5.0 §3.8.2.1.2), which messages carry that come by it; 0 is none.
func (c *Client) SubscribeAs(ctx context.Context, subscription uint32, filters ...Subscription) ([]ReasonCode, error) {
	var properties Properties
	if subscription != 0 {
		properties = Properties{{ID: SubscriptionID, Number: subscription}}
	}
	p, err := c.ask(ctx, func(id uint16) Packet { return &Subscribe{ID: id, Properties: properties, Filters: filters} })
	if err != nil {
		return nil, err
	}
	a, ok := p.(*Suback)
	if !ok || len(a.Codes) != len(filters) {
		return nil, Errorf(ProtocolError, "SUBACK does not answer each filter")
	}
	return a.Codes, nil
}

// Unsubscribe takes filters back. Codes are nil before 5.0.
func (c *Client) Unsubscribe(ctx context.Context, filters ...string) ([]ReasonCode, error) {
	p, err := c.ask(ctx, func(id uint16) Packet { return &Unsubscribe{ID: id, Filters: filters} })
	if err != nil {
		return nil, err
	}
	a, ok := p.(*Unsuback)
	if !ok {
		return nil, Errorf(ProtocolError, "%s in answer to UNSUBSCRIBE", p.Type())
	}
	return a.Codes, nil
}

func (c *Client) ask(ctx context.Context, make func(id uint16) Packet) (Packet, error) {
	type answer struct {
		p   Packet
		err error
	}
	answers := newChan[answer]()
	if err := c.request(0, make, false, func(p Packet, err error) { answers <- answer{p, err} }); err != nil {
		return nil, err
	}
	select {
	case a := <-answers:
		return a.p, a.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func newChan[T any]() chan T { return make(chan T, 1) }

func (c *Client) read() error {
	for {
		p, err := ReadPacket(c.reader, c.options.Version, c.options.MaxPacket)
		if err != nil {
			return err
		}
		c.heard.Store(time.Now().UnixNano())
		if err := c.take(p); err != nil {
			return err
		}
	}
}

func (c *Client) take(p Packet) error {
	switch p := p.(type) {
	case *Publish:
		return c.arrived(p)
	case *Ack:
		return c.acknowledged(p)
	case *Suback:
		c.answered(p.ID, p)
	case *Unsuback:
		c.answered(p.ID, p)
	case *Ping:
		c.pinged.Store(0)
	case *Disconnect:
		return &Error{Code: p.Code, Message: p.Properties.Text(ReasonString)}
	default:
		return Errorf(ProtocolError, "%s from a server", p.Type())
	}
	return nil
}

// answered ends what waited for p.
func (c *Client) answered(id uint16, p Packet) {
	s := c.options.Session
	s.mu.Lock()
	o := s.finish(id)
	s.mu.Unlock()
	if o == nil {
		return // an acknowledgement of what a lost session had
	}
	if o.frame != nil {
		<-c.slots
	}
	o.end(p, nil)
}

func (c *Client) acknowledged(a *Ack) error {
	switch a.Kind {
	case PUBREL:
		return c.released(a)
	case PUBREC:
		if !a.Code.Failed() {
			return c.received(a)
		}
	}
	c.answered(a.ID, a)
	return nil
}

// received answers PUBREC with PUBREL, which is repeated from now on.
func (c *Client) received(a *Ack) error {
	s := c.options.Session
	s.mu.Lock()
	o := s.out[a.ID]
	code := Success
	if o == nil {
		code = PacketIDNotFound
	}
	frame, err := Encode(&Ack{Kind: PUBREL, ID: a.ID, Code: code}, c.options.Version)
	again := o != nil && o.released
	now := true
	if err == nil && o != nil {
		o.frame, o.released = frame, true
		now = again || s.store == nil || s.store.Save(true, a.ID, frame, func() { _ = c.send(frame) })
	}
	s.mu.Unlock()
	if err == nil && now {
		err = c.send(frame)
	}
	return err
}

// released answers PUBREL: the identifier is free from then on, and must not be known any more when its next message comes.
func (c *Client) released(a *Ack) error {
	s := c.options.Session
	s.mu.Lock()
	code := Success
	if s.in[a.ID] == nil {
		code = PacketIDNotFound
	}
	frame, err := Encode(&Ack{Kind: PUBCOMP, ID: a.ID, Code: code}, c.options.Version)
	now := s.forgetIncoming(a.ID, func() { _ = c.send(frame) })
	s.mu.Unlock()
	if err == nil && now {
		err = c.send(frame)
	}
	return err
}

// arrived hands a message on, once: what its handler still has, or has had, is only acknowledged.
func (c *Client) arrived(p *Publish) error {
	if p.Topic == "" {
		return Errorf(TopicAliasInvalid, "the server uses a Topic Alias, and none was allowed")
	}
	if p.QoS == 0 {
		c.options.OnPublish(p, func() {})
		return nil
	}
	s := c.options.Session
	s.mu.Lock()
	known := s.in[p.ID]
	if known != nil && !p.Dup && known.qos == 1 {
		known = nil // the identifier is free again, as the server sees it
	}
	again := known != nil
	if !again {
		known = &incoming{qos: p.QoS}
		s.in[p.ID] = known
	}
	acked := known.acked
	s.mu.Unlock()
	d := &delivery{id: p.ID, qos: p.QoS, acked: acked}
	c.mu.Lock()
	c.acks = append(c.acks, d)
	c.mu.Unlock()
	if again {
		return c.flushAcks()
	}
	c.options.OnPublish(p, func() { s.ack(known, p.ID) })
	return nil
}

// ack notes that a message is safe and tells the server; of QoS 2 that it was here must be safe too.
func (s *Session) ack(p *incoming, id uint16) {
	s.mu.Lock()
	if s.in[id] != p || p.acked {
		s.mu.Unlock()
		return
	}
	now := p.qos != 2 || s.store == nil || s.store.Save(false, id, nil, func() { s.acked(p, id) })
	s.mu.Unlock()
	if now {
		s.acked(p, id)
	}
}

// acked tells the server, by the connection that the session has now.
func (s *Session) acked(p *incoming, id uint16) {
	s.mu.Lock()
	if s.in[id] != p {
		s.mu.Unlock()
		return
	}
	p.acked = true
	c := s.client
	s.mu.Unlock()
	if c == nil {
		return
	}
	c.mu.Lock()
	for _, d := range c.acks {
		if d.id == id {
			d.acked = true
		}
	}
	c.mu.Unlock()
	_ = c.flushAcks()
}

// flushAcks sends the acknowledgements that are due, in the order of the messages (5.0 §4.6).
func (c *Client) flushAcks() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.acks) > 0 && c.acks[0].acked {
		d := c.acks[0]
		c.acks = c.acks[1:]
		kind := PUBREC
		if d.qos == 1 {
			kind = PUBACK
			s := c.options.Session
			s.mu.Lock()
			if s.in[d.id] != nil && s.in[d.id].acked {
				s.forgetIncoming(d.id, func() {})
			}
			s.mu.Unlock()
		}
		frame, err := Encode(&Ack{Kind: kind, ID: d.id}, c.options.Version)
		if err == nil {
			err = c.send(frame)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
