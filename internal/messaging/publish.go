package messaging

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/wire"
)

// MaxPayload is the most that one message carries, in bytes: with its topic and properties it fits the packet's mebibyte.
const MaxPayload = 1<<20 - 16<<10

// Reply is what somebody answered.
type Reply struct {
	Received
	Took time.Duration
}

// ErrSilent is the cause of the Error for a request that nobody answered in time.
var ErrSilent = errors.New("no answer came")

// Publish sends a message for a person, to the hub's broker or where device is set to that device's own, and where wait is
// not 0 waits so long for an answer. Errors: invalid, forbidden, too_large, rate_limited; offline where nobody who is
// connected listens, or with ErrSilent behind it where nobody answered.
func (e *Exchange) Publish(ctx context.Context, p *auth.Principal, device string, m mqtt.Message, wait time.Duration) (*Reply, error) {
	who := PrincipalOf(p)
	if err := e.check(who, device, m); err != nil {
		return nil, err
	}
	ctx, done, err := e.during(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	if wait == 0 {
		if device != "" {
			return nil, e.publishToDevice(ctx, device, who.User, m)
		}
		return nil, e.Backend.Publish(ctx, m, who.Name)
	}
	q, err := e.request(who, device, m, wait)
	if err != nil {
		return nil, err
	}
	defer q.done()
	ctx, cancel := context.WithTimeoutCause(ctx, wait, ErrSilent)
	defer cancel()
	if device != "" {
		return q.askDevice(ctx, device, who.User)
	}
	return q.ask(ctx, who.Name)
}

func (e *Exchange) check(who Principal, device string, m mqtt.Message) error {
	switch {
	case !access.ValidTopic(m.Topic) || !mqtt.ValidName(m.Topic):
		return invalidField("topic", "A topic to publish to has 1 to 256 bytes, at most 16 levels, and neither + nor #.")
	case m.ResponseTopic != "" && (!access.ValidTopic(m.ResponseTopic) || !mqtt.ValidName(m.ResponseTopic)):
		return invalidField("response_topic", "A response topic has 1 to 256 bytes, at most 16 levels, and neither + nor #.")
	case len(m.Payload) > MaxPayload:
		return wire.Errorf(wire.TooLarge, "The payload has %d bytes; a message carries %d.", len(m.Payload), MaxPayload)
	case device == "" && !e.Registry.MayPublish(who, "", m.Topic):
		return wire.Errorf(wire.Forbidden, "You may not publish to %s. GET /api/v1/mqtt/rules lists what roles may; an admin can add a rule.",
			wire.Printable(m.Topic, 100))
	case device == "" && m.ResponseTopic != "" && !e.Registry.MaySubscribe(who, "", m.ResponseTopic):
		return wire.Errorf(wire.Forbidden, "You may not read the answer on %s.", wire.Printable(m.ResponseTopic, 100))
	}
	return nil
}

// clearAtOnce is how many messages are cleared together: the broker writes what comes at once to the disk at once.
const clearAtOnce = 256

// Clear clears retained messages on the hub's broker. Whoever calls has asked for each whether it may be written.
func (e *Exchange) Clear(ctx context.Context, p *auth.Principal, topics []string) error {
	ctx, done, err := e.during(ctx)
	if err != nil {
		return err
	}
	defer done()
	var group errgroup.Group
	group.SetLimit(clearAtOnce)
	for _, topic := range topics {
		group.Go(func() error {
			return e.Backend.Publish(ctx, mqtt.Message{Topic: topic, QoS: 1, Retain: true}, p.User.Handle)
		})
	}
	return group.Wait()
}

// request is a message that waits for its answer.
type request struct {
	*Exchange
	message mqtt.Message
	own     bool // the response topic is this request's alone
	began   time.Time
	answers chan Received
	done    func()
}

// request chooses a response topic where there is none: whoever may receive the request may write that one, until done.
func (e *Exchange) request(who Principal, device string, m mqtt.Message, wait time.Duration) (*request, error) {
	q := &request{Exchange: e, message: m, began: time.Now(), answers: make(chan Received, 1), done: func() {}}
	if m.ResponseTopic == "" {
		q.own, q.message.ResponseTopic = true, e.ReplyTopic(wire.NewID())
	}
	if len(m.Correlation) == 0 {
		q.message.Correlation = make([]byte, 16)
		_, _ = rand.Read(q.message.Correlation) // never fails
	}
	if m.Expiry == 0 || m.Expiry > wait {
		q.message.Expiry = (wait + time.Second - 1).Truncate(time.Second) // a command that nobody waits for is not carried out later
	}
	if device == "" && !e.listened(m.Topic) {
		return nil, wire.Errorf(wire.Offline, "Nobody who is connected listens to %s. Nothing was sent.", wire.Printable(m.Topic, 100))
	}
	topic := q.message.ResponseTopic
	if !q.own || device != "" {
		topic = "\x00" + wire.NewID() // no topic: a caller's own choice gives nobody a right
	}
	done, ok := e.Registry.replies.add(who.User, topic, m.Topic)
	if !ok {
		return nil, wire.Errorf(wire.RateLimited, "Too many requests wait for their answers: %d may, and %d of one user.", maxPending, maxPendingByUser)
	}
	q.done = done
	return q, nil
}

// listened reports whether somebody who is connected has a subscription to a topic, or may have: of an external broker's
// subscriptions the hub knows nothing.
func (e *Exchange) listened(topic string) bool {
	return e.Listens(topic, func(Principal) bool { return true })
}

// take is given what comes on the response topic: the first that answers this request counts.
func (q *request) take(r Received) {
	same := bytes.Equal(r.Correlation, q.message.Correlation)
	if !same && !(q.own && len(r.Correlation) == 0) {
		q.Log.Debug("answer to another request", "topic", r.Topic)
		return
	}
	select {
	case q.answers <- r:
	default:
	}
}

func (q *request) ask(ctx context.Context, from string) (*Reply, error) {
	end, err := q.Backend.Subscribe(q.message.ResponseTopic, q.take)
	if err != nil {
		return nil, err
	}
	defer end()
	if err := q.Backend.Publish(ctx, q.message, from); err != nil {
		return nil, err
	}
	return q.await(ctx)
}

func (q *request) await(ctx context.Context) (*Reply, error) {
	select {
	case r := <-q.answers:
		return &Reply{Received: r, Took: time.Since(q.began)}, nil
	case <-ctx.Done():
	}
	if cause := context.Cause(ctx); !errors.Is(cause, ErrSilent) {
		return nil, cause
	}
	return nil, wire.Wrap(ErrSilent, wire.Offline, "The message was sent, and no answer came in time. Who answers must speak MQTT 5: "+
		"older clients do not see where to.")
}

func (q *request) askDevice(ctx context.Context, device, user string) (*Reply, error) {
	client, err := q.dialVersion(ctx, device, user, brokerOptions(mqtt.Options{Version: mqtt.V5, OnPublish: func(p *mqtt.Publish, ack func()) {
		defer ack()
		q.take(Received{Message: p.Message(), At: q.Now()})
	}}))
	if olderBroker(err) {
		return nil, wire.Wrap(err, wire.Invalid, "The device's broker does not speak MQTT 5, which an answer needs.")
	}
	if err != nil {
		return nil, err
	}
	defer client.Close()
	if codes, err := client.Subscribe(ctx, mqtt.Subscription{Filter: q.message.ResponseTopic, QoS: 1, RetainHandling: 2}); err != nil {
		return nil, brokerError(err)
	} else if codes[0].Failed() {
		return nil, wire.Errorf(wire.Forbidden, "The device's broker does not let the hub read answers on %s.", wire.Printable(q.message.ResponseTopic, 100))
	}
	if err := client.Publish(ctx, q.message); err != nil {
		return nil, brokerError(err)
	}
	return q.await(ctx)
}

func (e *Exchange) publishToDevice(ctx context.Context, device, user string, m mqtt.Message) error {
	client, err := e.dialBroker(ctx, device, user, mqtt.Options{})
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, brokerTimeout)
	defer cancel()
	if err := client.Publish(ctx, m); err != nil {
		return brokerError(err)
	}
	return nil
}

func byName(byTopic map[string]Received) []Received {
	out := make([]Received, 0, len(byTopic))
	for _, topic := range slices.Sorted(maps.Keys(byTopic)) {
		out = append(out, byTopic[topic])
	}
	return out
}
