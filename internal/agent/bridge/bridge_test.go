package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/leaktest"
	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/mqtttest"
)

func TestMain(m *testing.M) {
	if os.Getenv(childConfig) != "" {
		runChild()
		return
	}
	leaktest.Main(m)
}

// rig is a bridge between two real brokers, of which one is the hub's.
type rig struct {
	*Bridge
	t          testing.TB
	local, hub *mqtttest.Broker
	cut        atomic.Bool // the way to the hub
	mu         sync.Mutex
	conns      []net.Conn
	stop       func()
}

func newRig(t testing.TB, edit func(*Config), topics ...string) *rig {
	t.Helper()
	r := &rig{t: t, local: mqtttest.Start(t, "max_queued_messages 0"), hub: mqtttest.Start(t, "max_queued_messages 0")}
	c := DefaultConfig()
	c.Name, c.Broker, c.Topics = "home", r.local.Address, topics
	if edit != nil {
		edit(&c)
	}
	r.start(c, t.TempDir())
	mqtttest.Eventually(t, "both brokers are connected", func() bool { s := r.Status(); return s.Local && s.Remote })
	return r
}

func (r *rig) start(c Config, dir string) {
	r.t.Helper()
	if _, err := c.Check(); err != nil {
		r.t.Fatal(err)
	}
	b, err := New(c, Options{Log: slog.New(slog.NewTextHandler(r.t.Output(), nil)), Device: "dev_1", Dir: dir, Dial: r.dial, Online: func() bool { return !r.cut.Load() }, pause: 2 * time.Second})
	if err != nil {
		r.t.Fatal(err)
	}
	r.Bridge = b
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { b.Run(ctx); close(done) }()
	r.stop = sync.OnceFunc(func() { cancel(); <-done })
	r.t.Cleanup(func() {
		if r.t.Failed() {
			r.t.Logf("the bridge at the end: %+v", r.Status())
		}
		r.stop()
	})
}

func (r *rig) dial(ctx context.Context) (net.Conn, error) {
	if r.cut.Load() {
		return nil, errors.New("cut")
	}
	conn, err := net.Dial("tcp", r.hub.Address)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns = append(r.conns, conn)
	return conn, nil
}

func (r *rig) cutOff(cut bool) {
	r.cut.Store(cut)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		_ = c.Close()
	}
	r.conns = nil
}

// publish sends and waits for the broker's acknowledgement.
func publish(t *testing.T, c *mqtt.Client, m mqtt.Message) {
	t.Helper()
	if err := c.Publish(t.Context(), m); err != nil {
		t.Fatal(err)
	}
}

// quiet looks that nothing more comes: a message of the same way round, sent afterwards, must be the next.
func quiet(t *testing.T, c *mqtt.Client, topic string, got <-chan *mqtt.Publish, seen string) {
	t.Helper()
	publish(t, c, mqtt.Message{Topic: topic, Payload: []byte("last of " + seen), QoS: 1})
	if p := mqtttest.Next(t, got); string(p.Payload) != "last of "+seen {
		t.Errorf("beside the expected came %s %s", p.Topic, p.Payload)
	}
}

func TestEachMessageComesOnceEachWay(t *testing.T) {
	for name, version := range map[string]string{"5.0": "5", "3.1.1": "3.1.1", "3.1": "3.1"} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(c *Config) { c.Version = version }, `sensors/# out 2 "" devices/kitchen/`, `# in 2 cmd/ cmds/kitchen/`, `loop/# both 2 "" x/`)
			atHub, atLocal := r.hub.Listen("devices/#"), r.local.Listen("cmd/#")
			home, away := r.local.Connect(mqtt.Options{ClientID: "home", Clean: true}), r.hub.Connect(mqtt.Options{ClientID: "away", Clean: true})
			for qos := range byte(3) {
				m := mqtt.Message{Topic: "sensors/t", Payload: fmt.Append(nil, "out", qos), QoS: qos, Retain: qos == 2}
				publish(t, home, m)
				if p := mqtttest.Next(t, atHub); p.Topic != "devices/kitchen/sensors/t" || string(p.Payload) != string(m.Payload) || p.QoS != qos || p.Retain != m.Retain {
					t.Errorf("at the hub: %+v %s", p, p.Payload)
				}
				m = mqtt.Message{Topic: "cmds/kitchen/a/b", Payload: fmt.Append(nil, "in", qos), QoS: qos, Retain: qos == 2}
				publish(t, away, m)
				if p := mqtttest.Next(t, atLocal); p.Topic != "cmd/a/b" || string(p.Payload) != string(m.Payload) || p.QoS != qos || p.Retain != m.Retain {
					t.Errorf("at home: %+v %s", p, p.Payload)
				}
			}
			quiet(t, home, "sensors/t", atHub, "out")
			quiet(t, away, "cmds/kitchen/a", atLocal, "in")
			loopHub, loopHome := r.hub.Listen("x/loop/#"), r.local.Listen("loop/#")
			for i, c := range []*mqtt.Client{home, away, home, away} {
				topic := [2]string{"loop/a", "x/loop/a"}[i%2]
				publish(t, c, mqtt.Message{Topic: topic, Payload: fmt.Append(nil, i), QoS: 1})
				for _, got := range []<-chan *mqtt.Publish{loopHub, loopHome} {
					if p := mqtttest.Next(t, got); string(p.Payload) != fmt.Sprint(i) {
						t.Errorf("round %d: %s %s", i, p.Topic, p.Payload)
					}
				}
			}
			quiet(t, home, "loop/a", loopHub, "loop at the hub")
			mqtttest.Next(t, loopHome)
			quiet(t, away, "x/loop/a", loopHome, "loop at home")
			mqtttest.Eventually(t, "the last is acknowledged", func() bool { s := r.Status(); return s.ForwardedOut >= 7 && s.ForwardedIn >= 7 })
			s := r.Status()
			if s.ForwardedOut < 7 || s.ForwardedIn < 7 || s.Queued != 0 || s.Dropped != 0 || s.Problem != nil {
				t.Errorf("%+v", s)
			}
		})
	}
}

// A broker of 3.1.1 that knows no bridges sends back what it was given.
func TestEchoesOfOldBrokersAreKnown(t *testing.T) {
	var e echoes
	now := time.Now()
	f, g := fingerprintOf("a", []byte("1")), fingerprintOf("a", []byte("2"))
	e.remember(f, now)
	e.remember(f, now)
	e.remember(g, now)
	for i, want := range []bool{true, true, false} {
		if got := e.heard(f, now.Add(time.Second)); got != want {
			t.Errorf("echo %d: %v", i, got)
		}
	}
	if e.heard(g, now.Add(echoFor+time.Second)) || len(e.sent) != 0 || len(e.order) != 0 {
		t.Errorf("an echo is known for too long: %+v", e)
	}
}

func TestACutLosesNothing(t *testing.T) {
	r := newRig(t, nil, `s/# out 1 "" d/`, `# in 1 c/ c/`)
	atHub := r.hub.Listen("d/#")
	home, away := r.local.Connect(mqtt.Options{ClientID: "home", Clean: true}), r.hub.Connect(mqtt.Options{ClientID: "away", Clean: true})
	atLocal := r.local.Listen("c/#")
	publish(t, home, mqtt.Message{Topic: "s/0", QoS: 1})
	mqtttest.Next(t, atHub)
	mqtttest.Eventually(t, "it is acknowledged", func() bool { return r.Status().ForwardedOut == 1 })
	r.cutOff(true)
	mqtttest.Eventually(t, "the cut is noticed", func() bool { return !r.Status().Remote })
	for i := range 500 {
		publish(t, home, mqtt.Message{Topic: "s/1", Payload: fmt.Append(nil, i), QoS: byte(i % 2)})
	}
	for i := range 50 {
		publish(t, away, mqtt.Message{Topic: "c/1", Payload: fmt.Append(nil, i), QoS: 1})
	}
	mqtttest.Eventually(t, "500 are queued", func() bool { return r.Status().Queued == 500 })
	r.cutOff(false)
	next := [2]int{0, 1} // Mosquitto lets QoS 0 overtake, so each QoS has its own order
	for range 500 {
		p := mqtttest.Next(t, atHub)
		n, _ := strconv.Atoi(string(p.Payload))
		if n != next[n%2] || p.QoS != 1 {
			t.Fatalf("%d, not %d, QoS %d", n, next[n%2], p.QoS)
		}
		next[n%2] += 2
	}
	for i := range 50 {
		if p := mqtttest.Next(t, atLocal); string(p.Payload) != fmt.Sprint(i) {
			t.Fatalf("%d: %s", i, p.Payload)
		}
	}
	quiet(t, home, "s/1", atHub, "the cut")
	mqtttest.Eventually(t, "the queue is empty", func() bool { return r.Status().Queued == 0 })
}

func TestWhatWaitedSaysWhenItWasPublished(t *testing.T) {
	at := time.Date(2026, 11, 28, 12, 0, 0, 5e6, time.UTC)
	p := aged(mqtt.Properties{{ID: mqtt.MessageExpiry, Number: 5}}, at)
	if p[1].Text != "ts" || p[1].Value != "2026-11-28T12:00:00.005Z" || p[0].Number != 1 {
		t.Errorf("%+v", p)
	}
	if now := aged(mqtt.Properties{{ID: mqtt.MessageExpiry}}, at); now[0].Number != 0 {
		t.Errorf("an expiry of 0 became %d", now[0].Number)
	}
	if again := aged(p, at.Add(time.Hour)); len(again) != 2 {
		t.Errorf("%+v", again)
	}
}

func TestAnAgentThatStartsAgainSendsWhatWaited(t *testing.T) {
	r := newRig(t, nil, `s/# out 2 "" d/`)
	home := r.local.Connect(mqtt.Options{ClientID: "home", Clean: true})
	publish(t, home, mqtt.Message{Topic: "s/0", QoS: 1})
	mqtttest.Eventually(t, "it is through", func() bool { return r.Status().ForwardedOut == 1 })
	r.cutOff(true)
	mqtttest.Eventually(t, "the cut is noticed", func() bool { return !r.Status().Remote })
	for i := range 100 {
		publish(t, home, mqtt.Message{Topic: "s/1", Payload: fmt.Append(nil, i), QoS: 2})
	}
	mqtttest.Eventually(t, "100 are queued", func() bool { return r.Status().Queued == 100 })
	c, dir := r.config, r.options.Dir
	r.stop()
	for i := range 10 { // while nobody is there the local broker keeps them
		publish(t, home, mqtt.Message{Topic: "s/1", Payload: fmt.Append(nil, 100+i), QoS: 2})
	}
	atHub := r.hub.Listen("d/#")
	r.cut.Store(false)
	r.start(c, dir)
	var got []string
	for range 110 {
		got = append(got, string(mqtttest.Next(t, atHub).Payload))
	}
	for i, payload := range got {
		if payload != fmt.Sprint(i) {
			t.Fatalf("came: %q", got)
		}
	}
	quiet(t, home, "s/1", atHub, "the start")
}

// Two bridges in a ring: each of the two no-locals is passed, the path is not.
func TestARingEnds(t *testing.T) {
	r := newRig(t, nil, `# both 1 a/ a/`)
	second := &rig{t: t, local: r.hub, hub: r.local}
	c := DefaultConfig()
	c.Name, c.Broker, c.Topics = "second", second.local.Address, []string{`# both 1 a/ a/`}
	second.start(c, t.TempDir())
	mqtttest.Eventually(t, "the second is connected", func() bool { s := second.Status(); return s.Local && s.Remote })
	got := r.hub.Listen("a/#")
	home := r.local.Connect(mqtt.Options{ClientID: "home", Clean: true})
	publish(t, home, mqtt.Message{Topic: "a/b", Payload: []byte("1"), QoS: 1})
	mqtttest.Next(t, got)
	mqtttest.Eventually(t, "somebody noticed", func() bool { return r.Status().Looped+second.Status().Looped > 0 })
	mqtttest.Eventually(t, "the ring is still", func() bool {
		before := r.Status().ForwardedOut + second.Status().ForwardedOut
		publish(t, home, mqtt.Message{Topic: "other", QoS: 1})
		return before == r.Status().ForwardedOut+second.Status().ForwardedOut
	})
	if n := len(got); n > 4 {
		t.Errorf("%d copies more", n)
	}
}

// What the breaker stops is the message that goes round, and nothing beside it: regression for messages that came while it
// opened, which were acknowledged and forgotten.
func TestTheBreakerStopsNothingElse(t *testing.T) {
	r := newRig(t, func(c *Config) { c.CleanSession, c.Version = true, "3.1.1" }, `s/# out 1 "" d/`, `# in 1 c/ c/`)
	atHub, atLocal := r.hub.Listen("d/#"), r.local.Listen("c/#")
	home, away := r.local.Connect(mqtt.Options{ClientID: "home", Clean: true}), r.hub.Connect(mqtt.Options{ClientID: "away", Clean: true})
	var feeding sync.WaitGroup
	const others = 3 * breakerCount
	feed := func(c *mqtt.Client, round, other string) {
		for i := range others {
			for topic, payload := range map[string]string{round: "round", other: fmt.Sprint(i)} {
				if err := c.Publish(t.Context(), mqtt.Message{Topic: topic, Payload: []byte(payload), QoS: 1}); err != nil {
					t.Error(err)
				}
			}
		}
	}
	feeding.Go(func() { feed(home, "s/round", "s/other") })
	feeding.Go(func() { feed(away, "c/round", "c/other") })
	mqtttest.Eventually(t, "it pauses", func() bool { s := r.Status(); return s.Paused != nil && *s.Paused && s.Looped > 0 })
	feeding.Wait()
	for _, got := range []<-chan *mqtt.Publish{atHub, atLocal} {
		for want, rounds := 0, 0; want < others; {
			p := mqtttest.Next(t, got)
			switch {
			case string(p.Payload) == "round":
				rounds++
			case string(p.Payload) != fmt.Sprint(want):
				t.Fatalf("%s %s came, not %d", p.Topic, p.Payload, want)
			default:
				want++
			}
			if got == atHub && rounds > 2*breakerCount {
				t.Fatal("what goes round is not stopped")
			}
		}
	}
	mqtttest.Eventually(t, "it goes on", func() bool { s := r.Status(); return s.Paused == nil && s.Queued == 0 })
	if s := r.Status(); s.Dropped != 0 {
		t.Errorf("%+v", s)
	}
}

// queue_qos0 = false: while the hub is away messages of QoS 0 are dropped and counted, and others wait.
func TestQoS0IsNotKeptWhereItShallNot(t *testing.T) {
	r := newRig(t, func(c *Config) { c.QueueQoS0 = false }, `s/# out 1 "" d/`)
	home, atHub := r.local.Connect(mqtt.Options{ClientID: "home", Clean: true}), r.hub.Listen("d/#")
	publish(t, home, mqtt.Message{Topic: "s/a", Payload: []byte("online")})
	if p := mqtttest.Next(t, atHub); p.QoS != 0 || string(p.Payload) != "online" {
		t.Errorf("%+v", p)
	}
	r.cutOff(true)
	mqtttest.Eventually(t, "the cut is noticed", func() bool { return !r.Status().Remote })
	publish(t, home, mqtt.Message{Topic: "s/a", Payload: []byte("dropped")})
	publish(t, home, mqtt.Message{Topic: "s/a", Payload: []byte("kept"), QoS: 1})
	mqtttest.Eventually(t, "one is dropped, one kept", func() bool { s := r.Status(); return s.Dropped == 1 && s.Queued == 1 })
	r.cutOff(false)
	if p := mqtttest.Next(t, atHub); string(p.Payload) != "kept" {
		t.Errorf("%s", p.Payload)
	}
}
