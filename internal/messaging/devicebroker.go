package messaging

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/wire"
	"github.com/aditdev/adit/tunnelhub"
)

// How the hub deals with devices' own brokers.
const (
	brokerTimeout   = 10 * time.Second // for opening the stream and for each answer
	brokerKeepAlive = 30 * time.Second
	retryFirst      = 2 * time.Second
	retryMost       = 30 * time.Second
)

// dialBroker connects to a device's own broker as somebody's console: with 5.0, and where the broker is older with 3.1.1.
// Errors are *wire.Error: offline where it cannot be reached, forbidden where it lets nobody in unnamed.
func (e *Exchange) dialBroker(ctx context.Context, device, user string, o mqtt.Options) (*mqtt.Client, error) {
	o.Version = mqtt.V5
	o = brokerOptions(o)
	client, err := e.dialVersion(ctx, device, user, o)
	if olderBroker(err) {
		o.Version = mqtt.V311
		client, err = e.dialVersion(ctx, device, user, o)
	}
	return client, err
}

// brokerOptions are those of a connection that leaves nothing behind.
func brokerOptions(o mqtt.Options) mqtt.Options {
	o.ClientID, o.Clean, o.KeepAlive = "adit-hub-"+wire.NewID()[:10], true, brokerKeepAlive
	return o
}

func (e *Exchange) dialVersion(ctx context.Context, device, user string, o mqtt.Options) (*mqtt.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, brokerTimeout)
	defer cancel()
	conn, err := e.Dial(ctx, tunnelhub.Request{Device: device, Target: wire.TargetMQTT, User: user, Via: tunnelhub.ViaMQTT})
	if err != nil {
		return nil, err
	}
	client, err := mqtt.NewClient(ctx, conn, o)
	if err != nil {
		return nil, brokerError(err)
	}
	return client, nil
}

// olderBroker reports whether a refusal may mean that the broker does not know 5.0.
func olderBroker(err error) bool {
	e, ok := errors.AsType[*mqtt.Error](err)
	return ok && (e.Code == mqtt.UnsupportedVersion || e.Code == mqtt.MalformedPacket || e.Code == mqtt.ProtocolError)
}

// brokerError is what a person can do about what a device's broker said.
func brokerError(err error) error {
	e, ok := errors.AsType[*mqtt.Error](err)
	switch {
	case wire.CodeOf(err) != wire.Internal:
		return err
	case !ok:
		return wire.Wrap(err, wire.Offline, "The connection to the device's broker broke: %v.", err)
	case e.Code == mqtt.BadUserNameOrPassword || e.Code == mqtt.NotAuthorized:
		return wire.Wrap(err, wire.Forbidden, "The device's broker wants a username and password, and the hub has none for it. "+
			"Its listener on 127.0.0.1 may allow anonymous clients: only who may open mqtt on the device reaches it.")
	}
	return wire.Wrap(err, wire.Offline, "The device's broker refused: %s.", wire.Printable(e.Error(), 200))
}

// deviceTap names what one connection to a device's broker shows.
type deviceTap struct{ device, filter string }

// deviceBrokers are the connections to devices' own brokers that somebody looks at: one for each device and filter.
type deviceBrokers struct {
	exchange *Exchange

	mu   sync.Mutex
	open map[deviceTap]*deviceBroker
}

// deviceBroker is such a connection. It lasts for as long as it has readers.
type deviceBroker struct {
	deviceTap
	exchange *Exchange
	last     *lastValues
	cancel   context.CancelFunc
	done     chan struct{}

	mu      sync.Mutex
	readers map[*tap]string // with the user who reads
	problem error           // why it is not connected
	joined  bool            // it is; before the first try it is neither
}

// join feeds a tap from a device's broker until leave is called.
func (d *deviceBrokers) join(device, user string, t *tap) (leave func()) {
	key := deviceTap{device, t.filter}
	d.mu.Lock()
	defer d.mu.Unlock()
	b := d.open[key]
	if b == nil {
		ctx, cancel := context.WithCancel(context.Background())
		b = &deviceBroker{deviceTap: key, exchange: d.exchange, last: newLastValues(), cancel: cancel, done: make(chan struct{}), readers: map[*tap]string{}}
		d.open[key] = b
		go func() { defer close(b.done); b.run(ctx) }()
	}
	b.enter(user, t)
	return func() { d.leave(b, t) }
}

func (d *deviceBrokers) leave(b *deviceBroker, t *tap) {
	d.mu.Lock()
	b.mu.Lock()
	delete(b.readers, t)
	last := len(b.readers) == 0
	b.mu.Unlock()
	if last {
		delete(d.open, b.deviceTap)
	}
	d.mu.Unlock()
	if last {
		b.cancel()
		<-b.done
	}
}

func (b *deviceBroker) enter(user string, t *tap) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.readers[t] = user
	if b.problem != nil || b.joined {
		t.fail(b.problem)
	}
	for _, s := range b.last.matching(b.filter, maxTopics, t.may) {
		t.seed(s)
	}
}

var errAway = wire.Errorf(wire.Offline, "The device is offline. What its broker has shows when it is back.")

// run keeps the connection up until ctx ends.
func (b *deviceBroker) run(ctx context.Context) {
	for wait := retryFirst; ; wait = min(2*wait, retryMost) {
		began, err := time.Now(), error(errAway)
		if b.exchange.Online(b.device) {
			err = b.connect(ctx)
		}
		if ctx.Err() != nil {
			return
		}
		b.tell(err)
		if time.Since(began) > retryMost || err == errAway {
			wait = retryFirst
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

// connect shows what the broker sends until the connection ends.
func (b *deviceBroker) connect(ctx context.Context) error {
	client, err := b.exchange.dialBroker(ctx, b.device, b.user(), mqtt.Options{Inflight: 1000, OnPublish: b.take})
	if err != nil {
		return err
	}
	defer client.Close()
	asked, cancel := context.WithTimeout(ctx, brokerTimeout)
	defer cancel()
	codes, err := client.Subscribe(asked, mqtt.Subscription{Filter: b.filter, QoS: 2, RetainAsPublished: true})
	if err == nil && codes[0].Failed() {
		return wire.Errorf(wire.Forbidden, "The device's broker refuses the subscription to %s.", wire.Printable(b.filter, 100))
	}
	if err != nil {
		return brokerError(err)
	}
	b.tell(nil)
	select {
	case <-client.Done():
		return brokerError(client.Err())
	case <-ctx.Done():
		return nil
	}
}

// user is somebody who looks: the stream is opened in their name.
func (b *deviceBroker) user() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, user := range b.readers {
		return user
	}
	return ""
}

// take hands a message on; it waits for nobody.
func (b *deviceBroker) take(p *mqtt.Publish, ack func()) {
	defer ack()
	s := SampleOf(Received{Message: p.Message(), At: b.exchange.Now()})
	b.last.put(s)
	b.mu.Lock()
	defer b.mu.Unlock()
	for t := range b.readers {
		t.take(s)
	}
}

func (b *deviceBroker) tell(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.problem, b.joined = err, err == nil
	for t := range b.readers {
		t.fail(err)
	}
}

// DeviceRetained lists what a device's own broker retains below filter, by topic. Mosquitto gives at most 1,000 at once
// unless its max_queued_messages allows more.
func (e *Exchange) DeviceRetained(ctx context.Context, device, user, filter string) ([]Received, error) {
	var mu sync.Mutex
	byTopic := map[string]Received{}
	size := 0
	client, err := e.dialBroker(ctx, device, user, mqtt.Options{Inflight: 1000, OnPublish: func(p *mqtt.Publish, ack func()) {
		defer ack()
		mu.Lock()
		defer mu.Unlock()
		if size += len(p.Payload) + len(p.Topic); p.Retain && len(byTopic) < maxTopics && size < maxKept {
			byTopic[p.Topic] = Received{Message: p.Message(), At: e.Now()}
		}
	}})
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, brokerTimeout)
	defer cancel()
	codes, err := client.Subscribe(ctx, mqtt.Subscription{Filter: filter, QoS: 1})
	if err == nil && codes[0].Failed() {
		return nil, wire.Errorf(wire.Forbidden, "The device's broker refuses the subscription to %s.", wire.Printable(filter, 100))
	}
	if err == nil { // retained messages leave the broker before its next answer
		_, err = client.Unsubscribe(ctx, filter)
	}
	if err != nil {
		return nil, brokerError(err)
	}
	mu.Lock()
	defer mu.Unlock()
	return byName(byTopic), nil
}

// DeviceClear clears retained messages on a device's own broker.
func (e *Exchange) DeviceClear(ctx context.Context, device, user string, topics []string) error {
	client, err := e.dialBroker(ctx, device, user, mqtt.Options{})
	if err != nil {
		return err
	}
	defer client.Close()
	for _, topic := range topics {
		if err := client.Publish(ctx, mqtt.Message{Topic: topic, QoS: 1, Retain: true}); err != nil {
			return fmt.Errorf("clear %.100q: %w", topic, brokerError(err))
		}
	}
	return nil
}
