package broker

import (
	"bufio"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/leaktest"
	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/storetest"
	"github.com/aditdev/adit/internal/wire"
)

func TestMain(m *testing.M) {
	if os.Getenv("ADIT_BROKER_DIR") != "" {
		runChild()
	}
	leaktest.Main(m)
}

// patience is how long a test waits for what must come: only what never comes is a fault here, on a machine that does other
// things too.
const patience = time.Minute

// policy is an Access of the tests: username NAME is a device of that name with password "secret", "admin" may everything.
// Devices write devices/NAME/# and shared/#, read cmds/NAME/#, shared/#, and devices/NAME/#.
type policy struct {
	mu      sync.Mutex
	changed chan struct{}
	dead    map[string]bool
	denied  map[string]bool // filters whose topics nobody may read or write any more
}

func newPolicy() *policy {
	return &policy{changed: make(chan struct{}), dead: map[string]bool{}, denied: map[string]bool{}}
}

func (p *policy) change(fn func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fn()
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *policy) Admit(_ context.Context, door messaging.Door, username, password string) (messaging.Principal, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if door.By != nil {
		return *door.By, nil
	}
	if password != "secret" || p.dead[username] {
		return messaging.Principal{}, wire.Errorf(wire.Unauthenticated, "Wrong username or password.")
	}
	if username == "admin" {
		return messaging.Principal{Kind: messaging.KindUser, ID: "usr_admin", Name: "admin", User: "usr_admin"}, nil
	}
	return messaging.Principal{Kind: messaging.KindDevice, ID: "dev_" + username, Name: username, Device: "dev_" + username}, nil
}

func (p *policy) may(who messaging.Principal, filter string, allowed ...string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for denied := range p.denied {
		if mqtt.Contains(denied, filter) && who.ID != "usr_admin" {
			return false
		}
	}
	if who.ID == "usr_admin" {
		return true
	}
	for _, a := range allowed {
		if mqtt.Contains(strings.ReplaceAll(a, "%n", who.Name), filter) {
			return true
		}
	}
	return false
}

func (p *policy) MayPublish(who messaging.Principal, _, topic string) bool {
	return p.may(who, topic, "devices/%n/#", "shared/#")
}

func (p *policy) MaySubscribe(who messaging.Principal, _, filter string) bool {
	return p.may(who, filter, "cmds/%n/#", "devices/%n/#", "shared/#")
}

func (p *policy) MayReceive(who messaging.Principal, id, topic string) bool {
	return p.MaySubscribe(who, id, topic)
}

func (p *policy) Lives(who messaging.Principal) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.dead[who.Name]
}

func (p *policy) Changed() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed
}

// rig is a broker on a TCP port.
type rig struct {
	*Broker
	policy *policy
	store  *store.Store
	dir    string
	addr   string
	stop   func()
}

func start(t testing.TB) *rig { return startIn(t, storetest.Dir(t), newPolicy()) }

// startIn runs a broker on a database; an empty dir has none.
func startIn(t testing.TB, dir string, p *policy, change ...func(*Options)) *rig {
	t.Helper()
	r := &rig{policy: p, dir: dir}
	var err error
	if dir != "" {
		if r.store, err = store.Open(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
	}
	o := Options{Access: p, Store: r.store, Log: slog.New(slog.DiscardHandler)}
	for _, f := range change {
		f(&o)
	}
	r.Broker, err = New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr = listener.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() {
		if err := r.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	work.Go(func() { accept(listener, r.Broker, &work) })
	r.stop = sync.OnceFunc(func() {
		_ = listener.Close()
		cancel()
		work.Wait()
		if r.store != nil {
			_ = r.store.Close()
		}
	})
	t.Cleanup(r.stop)
	return r
}

func accept(l net.Listener, b *Broker, work *sync.WaitGroup) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		work.Go(func() { _ = b.Serve(context.Background(), conn, messaging.Door{Name: "tcp", Address: "127.0.0.1"}) })
	}
}

// peer is a raw MQTT client.
type peer struct {
	net.Conn
	t testing.TB
	r *bufio.Reader
	v mqtt.Version
	// ack is the CONNACK.
	ack *mqtt.Connack
}

func (r *rig) dial(t testing.TB) *peer {
	t.Helper()
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &peer{Conn: conn, t: t, r: bufio.NewReader(conn), v: mqtt.V311}
}

// hello is a CONNECT as tests mostly want it.
func hello(v mqtt.Version, user, clientID string, more ...func(*mqtt.Connect)) *mqtt.Connect {
	c := &mqtt.Connect{Version: v, Clean: true, KeepAlive: 60, ClientID: clientID, HasUsername: true, Username: user, HasPassword: true, Password: "secret"}
	for _, f := range more {
		f(c)
	}
	return c
}

// kept asks for a session that outlives its connection.
func kept(c *mqtt.Connect) {
	c.Clean = false
	if c.Version == mqtt.V5 {
		c.Properties = c.Properties.With(mqtt.Property{ID: mqtt.SessionExpiry, Number: 3600})
	}
}

func asks(id mqtt.PropertyID, n uint32) func(*mqtt.Connect) {
	return func(c *mqtt.Connect) { c.Properties = c.Properties.With(mqtt.Property{ID: id, Number: n}) }
}

func withWill(topic, payload string, retain bool) func(*mqtt.Connect) {
	return func(c *mqtt.Connect) { c.Will = &mqtt.Publish{Topic: topic, Payload: []byte(payload), Retain: retain} }
}

// connect is let in.
func (r *rig) connect(t testing.TB, c *mqtt.Connect) *peer {
	t.Helper()
	p := r.dial(t)
	p.v = c.Version
	p.send(c)
	p.ack = expect[*mqtt.Connack](p)
	if p.ack.Code != mqtt.Success {
		t.Fatalf("CONNACK %v", p.ack.Code)
	}
	return p
}

func (p *peer) send(q mqtt.Packet) {
	p.t.Helper()
	frame, err := mqtt.Encode(q, p.v)
	if err != nil {
		p.t.Fatal(err)
	}
	p.raw(frame)
}

func (p *peer) raw(frame []byte) {
	p.t.Helper()
	if _, err := p.Write(frame); err != nil {
		p.t.Fatal(err)
	}
}

// next is the next packet; an error where the connection has ended.
func (p *peer) next() (mqtt.Packet, error) {
	if err := p.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	return mqtt.ReadPacket(p.r, p.v, 2<<20)
}

// expect reads a packet of one type.
func expect[P mqtt.Packet](p *peer) P {
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
func (p *peer) gone() mqtt.ReasonCode {
	p.t.Helper()
	code := mqtt.Success
	for {
		got, err := p.next()
		if err != nil {
			if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
				p.t.Fatal("the connection stays")
			}
			return code
		}
		if d, ok := got.(*mqtt.Disconnect); ok {
			code = d.Code
		}
	}
}

func (p *peer) subscribe(qos byte, filters ...string) []mqtt.ReasonCode {
	p.t.Helper()
	s := &mqtt.Subscribe{ID: 77}
	for _, f := range filters {
		s.Filters = append(s.Filters, mqtt.Subscription{Filter: f, QoS: qos})
	}
	p.send(s)
	return expect[*mqtt.Suback](p).Codes
}

// publish sends a message and waits until it is acknowledged for good.
func (p *peer) publish(topic, payload string, qos byte, more ...func(*mqtt.Publish)) mqtt.ReasonCode {
	p.t.Helper()
	m := &mqtt.Publish{Topic: topic, Payload: []byte(payload), QoS: qos}
	if qos > 0 {
		m.ID = 4711
	}
	for _, f := range more {
		f(m)
	}
	p.send(m)
	if m.QoS == 0 {
		return mqtt.Success
	}
	ack := expect[*mqtt.Ack](p)
	if m.QoS == 2 && !ack.Code.Failed() {
		p.send(&mqtt.Ack{Kind: mqtt.PUBREL, ID: m.ID})
		return expect[*mqtt.Ack](p).Code
	}
	return ack.Code
}

func retain(m *mqtt.Publish) { m.Retain = true }

// quiet proves that nothing is on its way: what comes next is the answer to a ping.
func (p *peer) quiet() {
	p.t.Helper()
	p.send(&mqtt.Ping{Kind: mqtt.PINGREQ})
	expect[*mqtt.Ping](p)
}

// receive reads a message and acknowledges it.
func (p *peer) receive() *mqtt.Publish {
	p.t.Helper()
	m := expect[*mqtt.Publish](p)
	switch m.QoS {
	case 1:
		p.send(&mqtt.Ack{Kind: mqtt.PUBACK, ID: m.ID})
	case 2:
		p.send(&mqtt.Ack{Kind: mqtt.PUBREC, ID: m.ID})
		if rel := expect[*mqtt.Ack](p); rel.Kind != mqtt.PUBREL || rel.ID != m.ID {
			p.t.Fatalf("want PUBREL of %d, got %+v", m.ID, rel)
		}
		p.send(&mqtt.Ack{Kind: mqtt.PUBCOMP, ID: m.ID})
	}
	return m
}

// eventually polls until ok.
func eventually(t testing.TB, what string, ok func() bool) {
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

func dialQuietly(addr string) (net.Conn, error) { return net.DialTimeout("tcp", addr, time.Second) }

func newReader(c net.Conn) *bufio.Reader { return bufio.NewReader(c) }

// tcpPair is two ends of one connection.
func tcpPair(t *testing.T) (here, there net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if here, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = here.Close() })
	if there, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return here, there
}

func reopen(t *testing.T, dir string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}
