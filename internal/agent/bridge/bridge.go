// Package bridge joins an MQTT broker in the device's reach with the hub's, in the words of Mosquitto's bridges: what goes to
// the hub is kept on disk until the hub has it, and nothing goes round in circles.
package bridge

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aditdev/adit/internal/api"
	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/wire"
)

// Config is one [[mqtt.bridge]] of agent.toml; docs/mqtt-device.md explains each key.
type Config struct {
	Name               string
	Broker             string // HOST:PORT
	Username, Password string
	ClientID           string
	Topics             []string
	Version            string // "", 5, 3.1.1, 3.1
	CleanSession       bool
	QueueMessages      int
	QueueBytes         int
	QueueAge           string // a duration, or days as 7d
	QueueQoS0          bool
}

// Defaults of a Config.
const (
	DefaultQueueMessages = 10_000
	DefaultQueueBytes    = 32 << 20
	DefaultQueueAge      = "7d"
)

// DefaultConfig is a Config with nothing but its defaults.
func DefaultConfig() Config {
	return Config{QueueMessages: DefaultQueueMessages, QueueBytes: DefaultQueueBytes, QueueAge: DefaultQueueAge, QueueQoS0: true}
}

// Check refuses, with an Error of code Invalid, what cannot work. Notes are what probably is not meant.
func (c Config) Check() (notes []string, err error) {
	bad := func(format string, args ...any) ([]string, error) {
		return nil, wire.Errorf(wire.Invalid, "mqtt.bridge "+c.Name+": "+format, args...)
	}
	_, _, broker := net.SplitHostPort(c.Broker)
	switch {
	case !wire.ValidDeviceName(c.Name):
		return nil, wire.Errorf(wire.Invalid, "mqtt.bridge %q needs a name of a to z, 0 to 9 and dashes inside.", c.Name)
	case broker != nil:
		return bad(`broker %q is not HOST:PORT, as "127.0.0.1:1883".`, c.Broker)
	case len(c.Topics) == 0:
		return bad(`topics is missing, as topics = ['sensors/# out 1 "" devices/NAME/'].`)
	case c.versions() == nil:
		return bad(`version %q is neither "5", "3.1.1" nor "3.1".`, c.Version)
	case c.QueueMessages < 1 || c.QueueMessages > 1_000_000 || c.QueueBytes < 64<<10 || c.QueueBytes > 1<<30:
		return bad("queue_messages is 1 to 1000000, queue_bytes 65536 to 1073741824.")
	}
	if age, err := parseAge(c.QueueAge); err != nil || age < time.Minute {
		return bad(`queue_age %q is no time of at least a minute, as "7d" or "12h".`, c.QueueAge)
	}
	if _, notes, err = ParseTopics(c.Topics); err != nil {
		return bad("%s", wire.MessageOf(err))
	}
	return notes, nil
}

func parseAge(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		d, err := time.ParseDuration(days + "h")
		return d * 24, err
	}
	return time.ParseDuration(s)
}

// dialect is a way to speak to the local broker.
type dialect struct {
	version mqtt.Version
	bridge  bool
}

// versions are the dialects to try, in order; nil for a version that there is none.
func (c Config) versions() []dialect {
	switch c.Version {
	case "":
		return []dialect{{mqtt.V5, false}, {mqtt.V311, true}, {mqtt.V311, false}}
	case "5", "5.0":
		return []dialect{{mqtt.V5, false}}
	case "3.1.1":
		return []dialect{{mqtt.V311, true}, {mqtt.V311, false}}
	case "3.1":
		return []dialect{{mqtt.V31, true}, {mqtt.V31, false}}
	}
	return nil
}

// Options are what a Bridge needs of the agent.
type Options struct {
	Log    *slog.Logger
	Device string // id
	Dir    string // where queues lie
	// Dial opens a connection to the hub's broker that speaks as this device and ends with ctx. Online says whether the hub
	// is reached at all.
	Dial   func(ctx context.Context) (net.Conn, error)
	Online func() bool

	pause time.Duration // of the breaker; breakerPause where it is 0
}

// Bridge is a running one.
type Bridge struct {
	config  Config
	options Options
	topics  []Topic
	self    string // in paths
	queue   *queue
	hub     *link
	local   *link
	inbox   *inbox

	stopping atomic.Bool // what comes now is for the next start

	mu       sync.Mutex
	breaker  breaker
	echoes   echoes               // of what was handed to the local broker
	paused   time.Time            // until when the breaker is open
	circling map[fingerprint]bool // what opened it, and what came as often meanwhile
	problem  string
	forwards [2]int64 // in, out
	looped   int64
	lost     int64
}

// New opens the bridge's queue. The Config must have passed Check. Close must be called.
func New(c Config, o Options) (*Bridge, error) {
	topics, _, err := ParseTopics(c.Topics)
	if err != nil {
		return nil, err
	}
	age, err := parseAge(c.QueueAge)
	if err != nil {
		return nil, err
	}
	q, err := openQueue(filepath.Join(o.Dir, c.Name), Limits{Messages: c.QueueMessages, Bytes: int64(c.QueueBytes), Age: age})
	if err != nil {
		return nil, err
	}
	o.Log = o.Log.With("bridge", c.Name)
	if o.pause == 0 {
		o.pause = breakerPause
	}
	b := &Bridge{config: c, options: o, topics: topics, self: o.Device + "/" + c.Name, queue: q, inbox: newInbox()}
	b.hub = &link{what: "hub", log: o.Log, connect: b.connectHub, session: mqtt.NewSession(store{q, hubIn, hubOut})}
	b.local = &link{what: "local broker", log: o.Log, connect: b.connectLocal, session: mqtt.NewSession(store{q, localIn, localOut})}
	q.restore(b.local.session, b.hub.session)
	return b, nil
}

// Run carries messages until ctx ends, and lets what is under way come to its end.
func (b *Bridge) Run(ctx context.Context) {
	linked, hangUp := context.WithCancel(context.WithoutCancel(ctx))
	var links sync.WaitGroup
	links.Go(func() { b.hub.keep(linked) })
	links.Go(func() { b.local.keep(linked) })
	for ctx.Err() == nil {
		b.round(ctx)
		b.rest(ctx)
	}
	b.stopping.Store(true)
	b.drain()
	hangUp()
	links.Wait()
	b.queue.close()
}

// round carries messages until the breaker opens or ctx ends.
func (b *Bridge) round(ctx context.Context) {
	carrying, stop := context.WithCancel(ctx)
	var carriers sync.WaitGroup
	carriers.Go(func() { b.deliver(carrying) })
	carriers.Go(func() { b.forward(carrying) })
	b.awaitBreaker(ctx)
	stop()
	carriers.Wait()
}

// drain waits for what is on its way: what is acknowledged now does not come twice after the next start.
func (b *Bridge) drain() {
	b.queue.flush()
	for deadline := time.Now().Add(farewell); time.Now().Before(deadline); {
		if (!b.hub.up() || b.hub.session.Inflight() == 0) && (!b.local.up() || b.local.session.Inflight() == 0) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

const farewell = 2 * time.Second

// awaitBreaker returns when the breaker opened or ctx ended.
func (b *Bridge) awaitBreaker(ctx context.Context) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !b.isPaused() {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (b *Bridge) isPaused() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Now().Before(b.paused)
}

// rest waits while the breaker is open. Both connections stay: what the local broker sends meanwhile goes into the queue, and the
// hub keeps what it has no acknowledgement for.
func (b *Bridge) rest(ctx context.Context) {
	b.mu.Lock()
	wait := time.Until(b.paused)
	b.mu.Unlock()
	select {
	case <-ctx.Done():
	case <-time.After(wait):
	}
}

// circles reports a message that the breaker stops, and counts it: one that came too often, until the pause is over. Others wait.
func (b *Bridge) circles(f fingerprint) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	open := now.Before(b.paused)
	if !open && b.circling != nil {
		b.circling, b.breaker = nil, breaker{}
	}
	if !b.circling[f] {
		if !b.breaker.trips(f, now) {
			return false
		}
		if !open {
			b.paused, b.circling = now.Add(b.options.pause), map[fingerprint]bool{}
			b.options.Log.Warn("mqtt bridge pauses: the same message came round and round", "for", b.options.pause)
		}
		b.circling[f] = true
	}
	b.looped++
	return true
}

func (b *Bridge) count(counter *int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	*counter++
}

func (b *Bridge) say(problem string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.problem = problem
}

// Status is what the hub and `adit agent status` are told.
func (b *Bridge) Status() api.AgentMQTTBridge {
	messages, bytes, dropped, err := b.queue.state()
	b.mu.Lock()
	defer b.mu.Unlock()
	s := api.AgentMQTTBridge{
		Name: b.config.Name, Broker: b.config.Broker, Local: b.local.up(), Remote: b.hub.up(), Queued: messages, QueuedBytes: bytes,
		Dropped: dropped + b.lost, ForwardedIn: b.forwards[0], ForwardedOut: b.forwards[1], Looped: b.looped,
	}
	problem := b.problem
	switch {
	case err != nil:
		problem = "The queue cannot be kept on disk: " + err.Error()
	case problem == "" && !s.Local:
		problem = b.local.why()
	case problem == "" && !s.Remote:
		problem = b.hub.why()
	}
	if time.Now().Before(b.paused) {
		s.Paused = new(true)
	}
	if problem != "" {
		s.Problem = new(wire.Printable(problem, 300))
	}
	return s
}

func (b *Bridge) clientID(otherwise string) string {
	if b.config.ClientID != "" {
		return b.config.ClientID
	}
	return otherwise
}

func (b *Bridge) connectHub(ctx context.Context, session *mqtt.Session) (*mqtt.Client, error) {
	if !b.options.Online() {
		return nil, wire.Errorf(wire.Offline, "The hub is not reached.")
	}
	conn, err := b.options.Dial(ctx)
	if err != nil {
		return nil, err
	}
	c, err := b.open(ctx, conn, mqtt.Options{
		ClientID: b.clientID("bridge-" + b.config.Name), Session: session, SessionExpiry: sessionExpiry, OnPublish: b.fromHub, Inflight: inflight,
	})
	if err != nil {
		return nil, err
	}
	return c, b.subscribe(ctx, c, b.hub, Topic.RemoteFilter, func(t Topic) bool { return t.In })
}

const (
	sessionExpiry  = 7 * 24 * time.Hour
	connectTimeout = 10 * time.Second
)

func (b *Bridge) open(ctx context.Context, conn net.Conn, o mqtt.Options) (*mqtt.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	return mqtt.NewClient(ctx, conn, o)
}

// connectLocal tries what the local broker may speak: 5.0, then 3.1.1 as a bridge, then 3.1.1.
func (b *Bridge) connectLocal(ctx context.Context, session *mqtt.Session) (*mqtt.Client, error) {
	var failed error
	for _, d := range b.config.versions() {
		dialer := net.Dialer{Timeout: connectTimeout}
		conn, err := dialer.DialContext(ctx, "tcp", b.config.Broker)
		if err != nil {
			return nil, wire.Wrap(err, wire.Offline, "No MQTT broker answers at %s", b.config.Broker)
		}
		c, err := b.open(ctx, conn, mqtt.Options{
			Version: d.version, Bridge: d.bridge, ClientID: b.clientID("adit-" + b.config.Name), Username: b.config.Username, Password: b.config.Password,
			Clean: b.config.CleanSession && session.Inflight() == 0, SessionExpiry: sessionExpiry, Session: session,
			OnPublish: func(p *mqtt.Publish, ack func()) { b.fromLocal(p, d, ack) },
		})
		if err == nil {
			b.local.speak(d)
			return c, b.subscribe(ctx, c, b.local, Topic.LocalFilter, func(t Topic) bool { return t.Out })
		}
		failed = err
		e, refused := errors.AsType[*mqtt.Error](err)
		if refused && e.Code != mqtt.UnsupportedVersion && e.Code != mqtt.MalformedPacket && e.Code != mqtt.ProtocolError || !refused && !errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
	}
	return nil, failed
}

// subscribe asks for what flows this way, once for each session of the broker's: it sends retained messages again otherwise.
func (b *Bridge) subscribe(ctx context.Context, c *mqtt.Client, l *link, filter func(Topic) string, wanted func(Topic) bool) error {
	if c.Connack().SessionPresent && l.subscribed {
		return nil
	}
	var list []mqtt.Subscription
	for _, t := range b.topics {
		if wanted(t) {
			list = append(list, mqtt.Subscription{Filter: filter(t), QoS: t.QoS, NoLocal: true, RetainAsPublished: true, RetainHandling: 1})
		}
	}
	if len(list) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	codes, err := c.Subscribe(ctx, list...)
	if err != nil {
		_ = c.Close()
		return err
	}
	l.subscribed = true
	for i, code := range codes {
		if code.Failed() {
			b.say("The " + l.what + " refuses to let the bridge read " + list[i].Filter + ": " + code.String() + ".")
		}
	}
	return nil
}
