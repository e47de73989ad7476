package external

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/leaktest"
	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/mqtttest"
	"github.com/aditdev/adit/internal/wire"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// patience is how long a test waits for what must come: only what never comes is a fault here, on a machine that does other
// things too.
const patience = time.Minute

// promptly is for what must come within two seconds (rule 17), counted likewise: nothing that ends by itself ends as soon.
const promptly = 30 * time.Second

// policy is an Access of the tests: username NAME is a device of that name with password "secret", DEVICE/THING a thing, and
// alice a person.
type policy struct {
	messaging.Access
	mu      sync.Mutex
	changed chan struct{}
	dead    map[string]bool
	renamed map[string]string
}

func newPolicy() *policy {
	return &policy{changed: make(chan struct{}), dead: map[string]bool{}, renamed: map[string]string{}}
}

func (p *policy) change(fn func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fn()
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *policy) Admit(_ context.Context, _ messaging.Door, username, password string) (messaging.Principal, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if password != "secret" || p.dead[username] {
		return messaging.Principal{}, wire.Errorf(wire.Unauthenticated, "Wrong username or password.")
	}
	if username == "alice" {
		return messaging.Principal{Kind: messaging.KindUser, ID: "usr_alice", Name: "alice", User: "usr_alice"}, nil
	}
	device, thing, has := strings.Cut(username, "/")
	q := messaging.Principal{Kind: messaging.KindDevice, ID: "dev_" + username, Name: username, Device: "dev_" + device, Thing: thing}
	if has {
		q.Kind = messaging.KindThing
	}
	return q, nil
}

func (p *policy) Lives(q messaging.Principal) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.dead[q.Name]
}

func (p *policy) NameOf(q messaging.Principal) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if name, ok := p.renamed[q.Name]; ok {
		return name
	}
	return q.Name
}

func (p *policy) Changed() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed
}

// rig is a Broker on a TCP port, before whatever listens at engine.
type rig struct {
	*Broker
	policy *policy
	addr   string
	stop   func()
}

func start(t *testing.T, engine string, change ...func(*Options)) *rig {
	t.Helper()
	r := &rig{policy: newPolicy()}
	var err error
	o := Options{URL: &url.URL{Scheme: "mqtt", User: url.UserPassword("adit_hub", "pw"), Host: engine}, Name: "h", Access: r.policy,
		Log: slog.New(slog.DiscardHandler)}
	for _, f := range change {
		f(&o)
	}
	r.Broker, err = New(o)
	if err != nil {
		t.Fatal(err)
	}
	listener := listen(t)
	r.addr = listener.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() {
		if err := r.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	work.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			work.Go(func() { _ = r.Serve(context.Background(), conn, messaging.Door{Name: "tcp", Address: "127.0.0.1"}) })
		}
	})
	r.stop = sync.OnceFunc(func() {
		_ = listener.Close()
		cancel()
		work.Wait()
	})
	t.Cleanup(r.stop)
	return r
}

// connected waits until the hub itself is.
func (r *rig) connected(t *testing.T) *rig {
	t.Helper()
	eventually(t, "the hub is connected", func() bool { return r.Stats().Problem == nil })
	return r
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func newMosquitto(t *testing.T) *mqtttest.Broker {
	t.Helper()
	return mqtttest.Behind(t, "../../..")
}

// client runs mosquitto_pub or mosquitto_sub as a device through the hub.
func (r *rig) client(t *testing.T, program, user string, args ...string) *exec.Cmd {
	t.Helper()
	host, port, _ := net.SplitHostPort(r.addr)
	return exec.CommandContext(t.Context(), "stdbuf", append([]string{"-oL", program, "-h", host, "-p", port, "-u", user, "-P", "secret"}, args...)...)
}

// pub runs mosquitto_pub to its end.
func (r *rig) pub(t *testing.T, user string, args ...string) (string, error) {
	t.Helper()
	out, err := r.client(t, "mosquitto_pub", user, args...).CombinedOutput()
	return string(out), err
}

// sub runs mosquitto_sub until it has n lines; it returns when that is subscribed.
func (r *rig) sub(t *testing.T, user string, n int, args ...string) (lines func() []string) {
	t.Helper()
	cmd := r.client(t, "mosquitto_sub", user, append([]string{"-d", "-F", "%t %q %r %p", "-W", "60", "-C", fmt.Sprint(n)}, args...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	scanner, ready, all := bufio.NewScanner(out), make(chan struct{}), make(chan []string, 1)
	go func() {
		var got []string
		once := sync.OnceFunc(func() { close(ready) })
		defer once()
		for scanner.Scan() {
			switch line := scanner.Text(); {
			case strings.HasPrefix(line, "Subscribed"):
				once()
			case !strings.HasPrefix(line, "Client "):
				got = append(got, line)
			}
		}
		all <- got
	}()
	<-ready
	return func() []string { got := <-all; _ = cmd.Wait(); return got }
}

// tester is a raw MQTT client.
type tester struct {
	net.Conn
	t   *testing.T
	r   *bufio.Reader
	v   mqtt.Version
	ack *mqtt.Connack
}

func hello(v mqtt.Version, user, clientID string, more ...func(*mqtt.Connect)) *mqtt.Connect {
	c := &mqtt.Connect{Version: v, Clean: true, KeepAlive: 60, ClientID: clientID, HasUsername: true, Username: user, HasPassword: true, Password: "secret"}
	for _, f := range more {
		f(c)
	}
	return c
}

func kept(c *mqtt.Connect) {
	c.Clean = false
	c.Properties = c.Properties.With(mqtt.Property{ID: mqtt.SessionExpiry, Number: 3600})
}

// dial says CONNECT and reads what answers it.
func (r *rig) dial(t *testing.T, c *mqtt.Connect) *tester {
	t.Helper()
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	p := &tester{Conn: conn, t: t, r: bufio.NewReader(conn), v: c.Version}
	p.send(c)
	p.ack = expect[*mqtt.Connack](p)
	return p
}

// connect is let in.
func (r *rig) connect(t *testing.T, c *mqtt.Connect) *tester {
	t.Helper()
	p := r.dial(t, c)
	if p.ack.Code != mqtt.Success {
		t.Fatalf("CONNACK %v", p.ack.Code)
	}
	return p
}

func (p *tester) send(q mqtt.Packet) {
	p.t.Helper()
	frame, err := mqtt.Encode(q, p.v)
	if err == nil {
		_, err = p.Write(frame)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *tester) next() (mqtt.Packet, error) {
	if err := p.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	return mqtt.ReadPacket(p.r, p.v, 2<<20)
}

func expect[P mqtt.Packet](p *tester) P {
	p.t.Helper()
	got, err := p.next()
	if err != nil {
		p.t.Fatalf("want %T: %v", *new(P), err)
	}
	want, ok := got.(P)
	if !ok {
		p.t.Fatalf("want %T, got %T %+v", *new(P), got, got)
	}
	return want
}

// gone waits for the end of the connection, and gives the DISCONNECT code before it, if any.
func (p *tester) gone() mqtt.ReasonCode {
	p.t.Helper()
	code := mqtt.Success
	for {
		got, err := p.next()
		if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
			p.t.Fatal("the connection stays")
		}
		if err != nil {
			return code
		}
		if d, ok := got.(*mqtt.Disconnect); ok {
			code = d.Code
		}
	}
}

// publish sends a message of QoS 1 and gives the broker's verdict.
func (p *tester) publish(topic string) mqtt.ReasonCode {
	p.t.Helper()
	p.send(&mqtt.Publish{Topic: topic, Payload: []byte("x"), QoS: 1, ID: 7})
	return expect[*mqtt.Ack](p).Code
}

// eventually polls until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
		<-tick.C
	}
}
