package bridge

import (
	"context"
	"time"

	"github.com/aditdev/adit/internal/mqtt"
)

// late is when a message counts as one that was kept: it then says when it was published.
const (
	late         = time.Second
	timeProperty = "ts" // user property: RFC 3339 with milliseconds
	waitForDisk  = 5 * time.Second
)

// fromLocal takes a message of the local broker's on its way to the hub. It is acknowledged when the disk has it.
func (b *Bridge) fromLocal(p *mqtt.Publish, spoken dialect, ack func()) {
	if b.stopping.Load() {
		return // not acknowledged
	}
	name, ok := b.route(p.Topic, Topic.toRemote)
	if !ok { // of a subscription that the broker still has of earlier lines
		ack()
		return
	}
	print := fingerprintOf(p.Topic, p.Payload)
	properties, fresh := pass(p.Properties, b.self)
	if !fresh || spoken.version != mqtt.V5 && !spoken.bridge && b.echoed(print) {
		b.count(&b.looped)
		ack()
		return
	}
	if b.circles(print) {
		ack()
		return
	}
	out := &mqtt.Publish{Topic: name, QoS: p.QoS, Retain: p.Retain, Payload: p.Payload, Properties: properties.Without(mqtt.SubscriptionID)}
	if out.QoS == 0 && b.straight(out) {
		return
	}
	if out.QoS == 0 {
		if !b.config.QueueQoS0 {
			b.count(&b.lost)
			return
		}
		out.QoS = 1
	}
	b.keep(out, time.Now(), p, ack)
}

// keep puts a message into the queue. Where the disk takes none, one of QoS 0 is lost, and others are tried again: the local
// broker sends no more while so many are not acknowledged.
func (b *Bridge) keep(out *mqtt.Publish, at time.Time, p *mqtt.Publish, ack func()) {
	var from uint16
	if p.QoS == 2 {
		from = p.ID
	}
	b.queue.push(out, at, from, func(err error) {
		switch {
		case err == nil:
			ack()
		case p.QoS == 0:
			b.count(&b.lost)
		case !b.stopping.Load():
			b.options.Log.Warn("mqtt bridge cannot keep a message", "cause", err)
			time.AfterFunc(waitForDisk, func() { b.keep(out, at, p, ack) })
		}
	})
}

// route finds the first line that maps a topic.
func (b *Bridge) route(name string, by func(Topic, string) (string, bool)) (string, bool) {
	for _, t := range b.topics {
		if mapped, ok := by(t, name); ok {
			return mapped, mqtt.ValidName(mapped)
		}
	}
	return "", false
}

func (b *Bridge) echoed(f fingerprint) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.echoes.heard(f, time.Now())
}

// straight sends a message of QoS 0 at once where the hub is there, nothing waits before it and the breaker is closed.
func (b *Bridge) straight(p *mqtt.Publish) bool {
	c := b.hub.now()
	if c == nil || !b.queue.empty() || b.isPaused() {
		return false
	}
	return c.Enqueue(context.Background(), p, func(mqtt.ReasonCode, error) { b.count(&b.forwards[1]) }) == nil
}

// forward sends what the queue holds to the hub, in order.
func (b *Bridge) forward(ctx context.Context) {
	for {
		c := b.hub.await(ctx)
		if c == nil {
			return
		}
		i, p, ok := b.queue.next()
		if !ok {
			select {
			case <-b.queue.more:
			case <-ctx.Done():
				return
			case <-time.After(time.Minute): // age
			}
			continue
		}
		if time.Since(i.at) > late {
			p.Properties = aged(p.Properties, i.at)
		}
		if !b.put(ctx, c, i, p) {
			b.queue.back(i)
			moment(ctx)
		}
	}
}

// aged adds when a message was published, and takes what it waited off its expiry.
func aged(p mqtt.Properties, at time.Time) mqtt.Properties {
	known := false
	for i, q := range p {
		known = known || q.ID == mqtt.UserPropertyID && q.Text == timeProperty
		if q.ID == mqtt.MessageExpiry {
			p[i].Number = uint32(max(int64(q.Number)-int64(time.Since(at)/time.Second), int64(min(q.Number, 1))))
		}
	}
	if known {
		return p
	}
	return append(p, mqtt.Property{ID: mqtt.UserPropertyID, Text: timeProperty, Value: at.UTC().Format("2006-01-02T15:04:05.000Z07:00")})
}

// put hands a message to the hub's connection, whose session goes on with it where the connection breaks. false means that
// it never got there.
func (b *Bridge) put(ctx context.Context, c *mqtt.Client, i *item, p *mqtt.Publish) bool {
	p.Dup = i.again && p.QoS > 0 && c.Connack().SessionPresent
	err := c.Enqueue(ctx, p, func(code mqtt.ReasonCode, err error) {
		switch {
		case err != nil:
			b.queue.back(i)
			return
		case code.Failed():
			b.count(&b.lost)
			b.say("The hub refuses messages to " + p.Topic + ": " + code.String() + ".")
		default:
			b.count(&b.forwards[1])
		}
		b.queue.done(i)
	})
	if e, ok := err.(*mqtt.Error); ok && (e.Code == mqtt.PacketTooLarge || e.Code == mqtt.TopicNameInvalid || e.Code == mqtt.MalformedPacket) {
		b.count(&b.lost) // it will never pass
		b.say("The hub cannot take a message to " + p.Topic + ": " + e.Error() + ".")
		b.queue.done(i)
		return true
	}
	return err == nil
}

// fromHub takes a message of the hub's on its way to the local broker, and acknowledges it when that has it.
func (b *Bridge) fromHub(p *mqtt.Publish, ack func()) {
	if b.stopping.Load() {
		return // not acknowledged
	}
	if p.QoS == 0 && !b.local.up() || !b.inbox.put(arrival{p: p, ack: ack}) {
		b.count(&b.lost)
		ack()
	}
}

// deliver hands the hub's messages to the local broker, in order.
func (b *Bridge) deliver(ctx context.Context) {
	for ctx.Err() == nil {
		a, ok := b.inbox.take()
		if ok {
			b.handOver(ctx, a)
			continue
		}
		select {
		case <-b.inbox.more:
		case <-ctx.Done():
		}
	}
}

func (b *Bridge) handOver(ctx context.Context, a arrival) {
	name, ok := b.route(a.p.Topic, Topic.toLocal)
	if !ok {
		a.ack()
		return
	}
	properties, fresh := pass(a.p.Properties, b.self)
	print := fingerprintOf(name, a.p.Payload)
	if !fresh {
		b.count(&b.looped)
	}
	if !fresh || !a.known && b.circles(print) {
		a.ack()
		return
	}
	a.known = true
	out := &mqtt.Publish{ID: a.p.ID, Topic: name, QoS: a.p.QoS, Dup: a.p.Dup, Retain: a.p.Retain, Payload: a.p.Payload, Properties: properties.Without(mqtt.SubscriptionID)}
	for ctx.Err() == nil {
		c := b.local.await(ctx)
		if c == nil {
			break
		}
		b.rememberEcho(name, print)
		err := c.Enqueue(ctx, out, func(code mqtt.ReasonCode, err error) {
			if err != nil {
				return // the hub sends it again
			}
			if code.Failed() {
				b.count(&b.lost)
				b.say("The local broker refuses messages to " + name + ": " + code.String() + ".")
			} else {
				b.count(&b.forwards[0])
			}
			a.ack()
		})
		if err == nil {
			return
		}
		if e, refused := err.(*mqtt.Error); refused {
			if e.Code == mqtt.PacketIDInUse { // by a message that a killed agent began: its acknowledgement is due
				moment(ctx)
				continue
			}
			select {
			case <-c.Done(): // the connection broke by it, not the message
				continue
			default:
			}
			b.count(&b.lost)
			a.ack()
			return
		}
	}
	b.inbox.back(a)
}

func moment(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(10 * time.Millisecond):
	}
}

// rememberEcho notes what the local broker may send back: one that knows neither no-local nor bridges.
func (b *Bridge) rememberEcho(name string, f fingerprint) {
	d := b.local.speaks()
	if d.version == mqtt.V5 || d.bridge {
		return
	}
	if _, back := b.route(name, Topic.toRemote); back {
		b.mu.Lock()
		b.echoes.remember(f, time.Now())
		b.mu.Unlock()
	}
}
