package gateway

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aditdev/adit/internal/leaktest"
	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/porttest"
	"github.com/aditdev/adit/internal/wire"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// rig is a listener whose hub is played by the test.
type rig struct {
	*Listener
	t    *testing.T
	hub  chan net.Conn // its ends of what the listener dials
	away atomic.Bool
}

func newRig(t *testing.T, users ...User) *rig {
	r := &rig{t: t, hub: make(chan net.Conn, 10)}
	r.Listener = New("127.0.0.1:0", Options{
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Users: users, Online: func() bool { return !r.away.Load() },
		Dial: func(ctx context.Context) (net.Conn, error) {
			near, far := net.Pipe()
			context.AfterFunc(ctx, func() { _ = near.Close() })
			r.hub <- far
			return near, nil
		},
	})
	return r
}

// thing connects something to the listener; done is closed when the listener is through with it.
func (r *rig) thing() (conn net.Conn, done chan struct{}) {
	near, far := net.Pipe()
	done = make(chan struct{})
	go func() {
		_ = r.serve(r.t.Context(), far)
		_ = far.Close()
		close(done)
	}()
	return near, done
}

func send(t *testing.T, conn io.Writer, v mqtt.Version, packets ...mqtt.Packet) {
	t.Helper()
	for _, p := range packets {
		frame, err := mqtt.Encode(p, v)
		if err != nil {
			t.Error(err)
		}
		if _, err := conn.Write(frame); err != nil {
			t.Errorf("%s: %v", p.Type(), err)
		}
	}
}

func receive(t *testing.T, conn io.Reader, v mqtt.Version) mqtt.Packet {
	t.Helper()
	p, err := mqtt.ReadPacket(bufio.NewReaderSize(oneByOne{conn}, 16), v, 1<<20)
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	return p
}

// oneByOne keeps a reader with a buffer from taking what belongs to the next packet.
type oneByOne struct{ io.Reader }

func (o oneByOne) Read(p []byte) (int, error) { return o.Reader.Read(p[:min(len(p), 1)]) }

func withPassword(t *testing.T, u User) (User, string) {
	t.Helper()
	password, hash := NewPassword()
	u.PasswordHash = hash
	if err := u.Check(); err != nil {
		t.Fatal(err)
	}
	return u, password
}

// What was typed into a program on the device is no business of the hub's, and no way to be somebody else there.
func TestCredentialsStayOnTheDevice(t *testing.T) {
	r := newRig(t)
	conn, done := r.thing()
	go send(t, conn, 0, &mqtt.Connect{Version: mqtt.V311, Bridge: true, ClientID: "c", HasUsername: true, Username: "oven", HasPassword: true, Password: "secret",
		Will: &mqtt.Publish{Topic: "w", Payload: []byte("x"), QoS: 1}})
	hub := <-r.hub
	got := receive(t, hub, 0).(*mqtt.Connect)
	if got.HasUsername || got.HasPassword || !got.Bridge || got.ClientID != "c" || got.Will == nil || got.Version != mqtt.V311 {
		t.Errorf("the hub hears %+v", got)
	}
	go send(t, hub, mqtt.V311, &mqtt.Connack{})
	receive(t, conn, mqtt.V311)
	_ = hub.Close()
	_, _ = conn.Read(make([]byte, 1))
	_ = conn.Close()
	<-done
}

func TestThingsNeedTheirPassword(t *testing.T) {
	oven, password := withPassword(t, User{Name: "oven"})
	bridge, bridgePassword := withPassword(t, User{Name: "bridge", Device: true})
	r := newRig(t, oven, bridge)
	for _, c := range []struct {
		name, user, password string
		v                    mqtt.Version
		as                   string // at the hub; "-" is refused
	}{
		{"right", "oven", password, mqtt.V31, "oven"}, {"again, from what is remembered", "oven", password, mqtt.V5, "oven"},
		{"wrong", "oven", "x", mqtt.V31, "-"}, {"wrong", "oven", "x", mqtt.V5, "-"}, {"unknown", "stove", password, mqtt.V311, "-"},
		{"somebody else's", "bridge", password, mqtt.V311, "-"}, {"nobody", "", "", mqtt.V311, "-"},
		{"the device", "bridge", bridgePassword, mqtt.V311, ""},
	} {
		conn, done := r.thing()
		go send(t, conn, 0, &mqtt.Connect{Version: c.v, Clean: true, HasUsername: c.user != "", Username: c.user, HasPassword: c.user != "", Password: c.password})
		if c.as == "-" {
			if p := receive(t, conn, c.v).(*mqtt.Connack); p.Code != mqtt.BadUserNameOrPassword {
				t.Errorf("%s: %+v", c.name, p)
			}
		} else {
			hub := <-r.hub
			if p := receive(t, hub, 0).(*mqtt.Connect); p.Username != c.as || p.HasUsername != (c.as != "") || p.HasPassword || p.Version != c.v {
				t.Errorf("%s: %+v", c.name, p)
			}
			_ = hub.Close()
		}
		_ = conn.Close()
		<-done
	}
	s := r.Status()
	if s.Refused != 5 || len(s.Things) != 1 || s.Things[0].Name != "oven" || s.Things[0].LastSeenAt == nil || s.Things[0].Connected {
		t.Errorf("%+v", s)
	}
}

// Passwords that people choose can be guessed: whoever is wrong waits for the answer, so that each connection of the few that
// one address has is good for one try a second. Things that are known do not wait for the sums of those that guess.
func TestGuessingIsSlow(t *testing.T) {
	oven, password := withPassword(t, User{Name: "oven"})
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, oven)
		for name, guess := range map[string]string{"oven": "x", "nobody": password} {
			began := time.Now()
			conn, done := r.thing()
			go send(t, conn, 0, &mqtt.Connect{Version: mqtt.V311, Clean: true, HasUsername: true, Username: name, HasPassword: true, Password: guess})
			if p := receive(t, conn, mqtt.V311).(*mqtt.Connack); p.Code != mqtt.BadUserNameOrPassword || time.Since(began) < time.Second {
				t.Errorf("%s is told %v after %s", name, p.Code, time.Since(began))
			}
			_ = conn.Close()
			<-done
		}
	})
	known := newUsers([]User{oven})
	if _, ok := known.check("oven", password); !ok {
		t.Fatal("the right password")
	}
	known.slow.Lock() // somebody guesses
	defer known.slow.Unlock()
	answer := make(chan bool, 1)
	go func() { _, ok := known.check("oven", password); answer <- ok }()
	select {
	case ok := <-answer:
		if !ok {
			t.Error("the right password is wrong the second time")
		}
	case <-time.After(time.Minute):
		t.Fatal("who is known waits for who guesses")
	}
}

func TestAHubThatIsAwayIsSaidAtOnce(t *testing.T) {
	for _, v := range []mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5} {
		r := newRig(t)
		r.away.Store(true)
		conn, done := r.thing()
		go send(t, conn, 0, &mqtt.Connect{Version: v, Clean: true})
		if p := receive(t, conn, v).(*mqtt.Connack); p.Code != mqtt.ServerUnavailable {
			t.Errorf("%s: %+v", v, p)
		}
		<-done
	}
}

func TestSilenceAndNonsenseBeforeConnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		began := time.Now()
		_, done := r.thing()
		<-done
		if d := time.Since(began); d != connectTimeout {
			t.Errorf("silence was borne for %s", d)
		}
		for name, first := range map[string][]byte{
			"256 MB": {0x10, 0xff, 0xff, 0xff, 0x7f}, "PINGREQ": {0xc0, 0}, "HTTP": []byte("GET / HTTP/1.1\r\n\r\n"),
		} {
			conn, done := r.thing()
			go func() { _, _ = conn.Write(first) }()
			go func() { _, _ = io.Copy(io.Discard, conn) }()
			<-done
			_ = conn.Close()
			if time.Since(began) > connectTimeout+time.Second {
				t.Errorf("%s was borne", name)
			}
		}
		conn, done := r.thing()
		go func() { _, _ = conn.Write([]byte("\x10\x0e\x00\x04MQTT\x06\x02\x00\x3c\x00\x02ab")) }()
		if p := receive(t, conn, mqtt.V311).(*mqtt.Connack); p.Code != mqtt.UnsupportedVersion {
			t.Errorf("MQTT 6: %+v", p)
		}
		<-done
		if len(r.hub) > 0 {
			t.Error("the hub was bothered")
		}
	})
}

// An Arduino's PubSubClient: MQIsdp, a buffer of 256 bytes. What does not fit is acknowledged for it, and counted.
func TestTooLargeForAThing(t *testing.T) {
	for _, v := range []mqtt.Version{mqtt.V31, mqtt.V5} {
		oven, password := withPassword(t, User{Name: "oven", MaxPacket: 256})
		r := newRig(t, oven)
		conn, done := r.thing()
		go send(t, conn, 0, &mqtt.Connect{Version: v, Clean: true, ClientID: "arduino", HasUsername: true, Username: "oven", HasPassword: true, Password: password})
		hub := <-r.hub
		c := receive(t, hub, 0).(*mqtt.Connect)
		if n := c.Properties.Number(mqtt.MaximumPacketSize, 0); v == mqtt.V5 && n != 256 {
			t.Errorf("the hub is told of %d bytes", n)
		}
		large := bytes.Repeat([]byte("x"), 300)
		go send(t, hub, v, &mqtt.Connack{})
		receive(t, conn, v)
		for qos := range byte(3) {
			p := &mqtt.Publish{Topic: "cmds/kitchen/oven/a", Payload: large, QoS: qos}
			if qos > 0 {
				p.ID = 9
			}
			send(t, hub, v, p)
			if qos == 0 {
				continue
			}
			want := map[byte]mqtt.Type{1: mqtt.PUBACK, 2: mqtt.PUBREC}[qos]
			if a := receive(t, hub, v).(*mqtt.Ack); a.Kind != want || a.ID != 9 {
				t.Errorf("QoS %d: %+v", qos, a)
			}
		}
		send(t, hub, v, &mqtt.Ack{Kind: mqtt.PUBREL, ID: 9})
		if a := receive(t, hub, v).(*mqtt.Ack); a.Kind != mqtt.PUBCOMP || a.ID != 9 {
			t.Errorf("%+v", a)
		}
		go send(t, hub, v, &mqtt.Publish{Topic: "cmds/kitchen/oven/a", Payload: []byte("on")})
		if p := receive(t, conn, v).(*mqtt.Publish); string(p.Payload) != "on" {
			t.Errorf("the next is %+v", p)
		}
		if s := r.Status(); s.Dropped != 3 || !s.Things[0].Connected {
			t.Errorf("%+v", s)
		}
		_, _ = conn.Close(), hub.Close()
		<-done
	}
}

func TestListenersBindAndAnswer(t *testing.T) {
	r := newRig(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	r.address = porttest.Address(t)
	go func() { r.Run(ctx); close(ended) }()
	var conn net.Conn
	for deadline := time.Now().Add(time.Minute); conn == nil; {
		var err error
		if conn, err = net.Dial("tcp", r.address); err != nil && time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	send(t, conn, 0, &mqtt.Connect{Version: mqtt.V5, Clean: true})
	hub := <-r.hub
	receive(t, hub, 0)
	if s := r.Status(); s.Connections != 1 || s.Problem != nil {
		t.Errorf("%+v", s)
	}
	cancel()
	<-ended
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("the connection outlived its listener")
	}
	_, _ = conn.Close(), hub.Close()
}

func TestAddresses(t *testing.T) {
	for entry, want := range map[string]string{
		"127.0.0.1:1883": "", "[::1]:1883": "", "localhost:1883": "", "lo:1883": "", "127.9.9.9:1": "",
		"0.0.0.0:1883": "every network", "[::]:1883": "every network", "*:1883": "every network",
		":1883": "neither", "1883": "neither", "eth0": "neither", "eth0:x": "neither", "127.0.0.1:99999": "neither",
		"eth0:1883": "mqtt-user add", "192.168.1.5:1883": "mqtt-user add", "[fd00::1]:1883": "mqtt-user add",
	} {
		err := CheckAddress(entry, 0)
		if want == "" && err != nil || want != "" && (err == nil || wire.CodeOf(err) != wire.Invalid || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", entry, err, want)
		}
		if err := CheckAddress(entry, 1); want == "mqtt-user add" && err != nil {
			t.Errorf("%s with users: %v", entry, err)
		}
	}
	if got, err := resolve("lo:1883"); err != nil || len(got) == 0 || got[0] != "127.0.0.1:1883" {
		t.Errorf("lo: %v, %v", got, err)
	}
	if _, err := resolve("nothere0:1"); wire.CodeOf(err) != wire.NotFound {
		t.Error(err)
	}
}

func TestUsersAreChecked(t *testing.T) {
	_, hash := NewPassword()
	for _, u := range []User{{Name: "Oven", PasswordHash: hash}, {Name: "a/b", PasswordHash: hash}, {Name: "oven", PasswordHash: "secret"},
		{Name: "oven", PasswordHash: "pbkdf2-sha256$99999999$AA$AA"}, {Name: "oven", PasswordHash: hash, MaxPacket: 10}} {
		var e *wire.Error
		if err := u.Check(); !errors.As(err, &e) || e.Code != wire.Invalid {
			t.Errorf("%+v: %v", u, err)
		}
	}
}

// peer is a connection from an address.
type peer struct {
	net.Conn
	address string
}

func (p *peer) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(p.address))
}
func (p *peer) Close() error { return nil }

// One neighbour has so many connections and no more, all together likewise; who leaves makes room.
func TestConnectionsAreCapped(t *testing.T) {
	r := newRig(t)
	var last *peer
	enter := func(address string, n int) (in int) {
		for range n {
			if p := (&peer{address: address}); r.enter(p) {
				last = p
				in++
			}
		}
		return in
	}
	if n := enter("192.168.1.9:1000", maxOfOne+5); n != maxOfOne {
		t.Errorf("one neighbour has %d connections", n)
	}
	if n := enter("127.0.0.1:1000", maxConnections); n != maxConnections-maxOfOne {
		t.Errorf("%d more from loopback", n)
	}
	if n := enter("192.168.1.10:1000", 1); n != 0 {
		t.Error("more than all came in")
	}
	r.leave(last)
	if n := enter("192.168.1.10:1000", 2); n != 1 {
		t.Errorf("%d came in for one that left", n)
	}
	if s := r.Status(); s.Connections != maxConnections || s.Refused != 5+maxOfOne+1+1 {
		t.Errorf("%+v", s)
	}
}
