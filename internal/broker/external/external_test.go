package external

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/wire"
)

// Whatever somebody calls themselves, the broker never takes them for somebody else, and no name is a wildcard.
func TestUsernames(t *testing.T) {
	t.Parallel()
	seen := map[string]messaging.Principal{}
	for _, p := range []messaging.Principal{
		{Kind: messaging.KindDevice, Name: "kitchen"},
		{Kind: messaging.KindThing, Name: "kitchen/oven"},
		{Kind: messaging.KindUser, Name: "kitchen"},
		{Kind: messaging.KindApplication, Name: "kitchen"},
		{Kind: messaging.KindApplication, Name: "kitchen/oven"},
		{Kind: messaging.KindApplication, Name: "kitchen%2Foven"},
		{Kind: messaging.KindApplication, Name: "+"},
		{Kind: messaging.KindApplication, Name: "#"},
		{Kind: messaging.KindDevice, Name: "user"},
	} {
		name, ok := username(p)
		if other, twice := seen[name]; !ok || twice || strings.ContainsAny(name, "+#") {
			t.Errorf("%+v is %q, as is %+v", p, name, other)
		}
		seen[name] = p
	}
	for _, p := range []messaging.Principal{
		{Kind: messaging.KindDevice, Name: ""}, {Kind: messaging.KindDevice, Name: "+"}, {Kind: messaging.KindDevice, Name: "a/b"},
		{Kind: messaging.KindDevice, Name: "user:alice"}, {Kind: messaging.KindThing, Name: "/oven"}, {Kind: messaging.KindThing, Name: "a/b/c"},
		{Kind: messaging.KindThing, Name: "kitchen"}, {Kind: messaging.KindUser}, {Kind: messaging.KindApplication}, {Kind: messaging.KindHub, Name: "adit_hub"},
	} {
		if name, ok := username(p); ok {
			t.Errorf("%+v is let in as %q", p, name)
		}
	}
}

// A device that is called as the hub is would have the hub's rights: such a hub does not start.
func TestHubsNameIsNobodysElse(t *testing.T) {
	t.Parallel()
	for name, good := range map[string]bool{"adit_hub": true, "Hub": true, "hub": false, "hub/a": false, "user:hub": false, "app:hub": false} {
		_, err := New(Options{URL: &url.URL{User: url.UserPassword(name, "pw"), Host: "127.0.0.1:1"}, Access: newPolicy()})
		if (err == nil) != good {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Real clients of each version, each QoS, through the hub to a real broker.
func TestMosquittoBehind(t *testing.T) {
	t.Parallel()
	r := start(t, newMosquitto(t).Address)
	for _, version := range []string{"mqttv31", "mqttv311", "mqttv5"} {
		t.Run(version, func(t *testing.T) {
			topic := "devices/kitchen/" + version
			lines := r.sub(t, "alice", 6, "-V", version, "-q", "2", "-t", topic)
			for _, user := range []string{"kitchen", "alice"} {
				for qos := range 3 {
					if out, err := r.pub(t, user, "-V", version, "-q", fmt.Sprint(qos), "-t", topic, "-m", fmt.Sprint("m", qos)); err != nil {
						t.Fatal(err, out)
					}
				}
			}
			var want []string
			for range 2 {
				want = append(want, topic+" 0 0 m0", topic+" 1 0 m1", topic+" 2 0 m2")
			}
			slices.Sort(want)
			if got := slices.Sorted(slices.Values(lines())); !slices.Equal(got, want) {
				t.Errorf("%q", got)
			}
			if out, err := r.pub(t, "kitchen/oven", "-V", version, "-r", "-t", "devices/kitchen/oven/"+version, "-m", "kept"); err != nil {
				t.Fatal(err, out)
			}
			if got := r.sub(t, "alice", 1, "-V", version, "-t", "devices/kitchen/oven/"+version)(); !slices.Equal(got, []string{"devices/kitchen/oven/" + version + " 0 1 kept"}) {
				t.Errorf("%q", got)
			}
		})
	}
}

// The broker's own list, as documented, holds each device in its tree.
func TestBrokersOwnAccessList(t *testing.T) {
	t.Parallel()
	r := start(t, newMosquitto(t).Address)
	for user, topics := range map[string]map[string]mqtt.ReasonCode{
		"kitchen": {"devices/kitchen/a": mqtt.Success, "devices/shed/a": mqtt.NotAuthorized, "cmds/kitchen/a": mqtt.NotAuthorized,
			"devices/kitchen/oven/a": mqtt.Success, "replies/h/abc": mqtt.Success, "$SYS/a": mqtt.NotAuthorized},
		"kitchen/oven": {"devices/kitchen/oven/a": mqtt.Success, "devices/kitchen/a": mqtt.NotAuthorized},
		"shed":         {"devices/kitchen/a": mqtt.NotAuthorized},
		"alice":        {"cmds/kitchen/a": mqtt.Success},
	} {
		p := r.connect(t, hello(mqtt.V5, user, "a"))
		for topic, want := range topics {
			if got := p.publish(topic); got.Failed() != want.Failed() || got.Failed() && got != want {
				t.Errorf("%s to %s: %v", user, topic, got)
			}
		}
	}
}

// A connection that breaks leaves its Will, one that says DISCONNECT does not.
func TestWill(t *testing.T) {
	t.Parallel()
	r := start(t, newMosquitto(t).Address)
	watch := r.connect(t, hello(mqtt.V5, "alice", "w"))
	watch.send(&mqtt.Subscribe{ID: 1, Filters: []mqtt.Subscription{{Filter: "devices/#", QoS: 1}}})
	expect[*mqtt.Suback](watch)
	for _, v := range []mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5} {
		topic := "devices/kitchen/will/" + v.String()
		will := func(c *mqtt.Connect) { c.Will = &mqtt.Publish{Topic: topic, Payload: []byte("gone")} }
		good := r.connect(t, hello(v, "kitchen", "good", will))
		good.send(&mqtt.Disconnect{})
		good.gone()
		_ = r.connect(t, hello(v, "kitchen", "cut", will)).Close()
		if m := expect[*mqtt.Publish](watch); m.Topic != topic || string(m.Payload) != "gone" {
			t.Errorf("%s: %s %s", v, m.Topic, m.Payload)
		}
	}
}

// fake is a broker that shows the CONNECT of each peer, and answers none; those of the hub itself it does not show.
func fake(t *testing.T) (address string, seen chan *mqtt.Connect) {
	l := listen(t)
	seen = make(chan *mqtt.Connect, 100)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			frame, err := mqtt.ReadFrame(bufio.NewReader(conn), maxConnect)
			if err == nil {
				if c, ok := decode(frame).(*mqtt.Connect); !ok || !strings.HasPrefix(c.ClientID, "hub:") {
					seen <- c
				}
			}
			_ = conn.Close()
		}
	}()
	return l.Addr().String(), seen
}

func decode(frame []byte) mqtt.Packet {
	p, err := mqtt.Decode(frame, mqtt.V311)
	if err != nil {
		return nil
	}
	return p
}

// Who is refused by the hub is refused in their version's words, and told of; the broker hears nothing of it.
func TestRefusedBeforeTheBrokerHears(t *testing.T) {
	t.Parallel()
	address, seen := fake(t)
	told := make(chan messaging.Refusal, 100)
	r := start(t, address, func(o *Options) { o.Refused = func(f messaging.Refusal) { told <- f } })
	for _, v := range []mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5} {
		wrong := hello(v, "kitchen", "a", func(c *mqtt.Connect) { c.Password = "guess" })
		if p := r.dial(t, wrong); p.ack.Code != mqtt.BadUserNameOrPassword {
			t.Errorf("%s: %v", v, p.ack.Code)
		}
		if p := r.dial(t, hello(v, "kitchen", "a/#")); p.ack.Code != mqtt.ClientIDNotValid {
			t.Errorf("%s: %v", v, p.ack.Code)
		}
	}
	method := func(c *mqtt.Connect) { c.Properties = mqtt.Properties{{ID: mqtt.AuthenticationMethod, Text: "x"}} }
	if p := r.dial(t, hello(mqtt.V5, "kitchen", "a", method)); p.ack.Code != mqtt.BadAuthenticationMethod {
		t.Error(p.ack.Code)
	}
	for name, raw := range map[string]string{
		"too large":    "\x10\xff\xff\x03",
		"no CONNECT":   "\xc0\x00",
		"HTTP":         "GET / HTTP/1.1\r\n\r\n",
		"unknown":      "\x10\x0c\x00\x04MQTT\x07\x02\x00\x00\x00\x00",
		"flags of 3.1": "\x10\x0c\x00\x04MQTT\x04\x03\x00\x00\x00\x00",
	} {
		conn, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, raw)
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		answer, err := io.ReadAll(conn)
		if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
			t.Errorf("%s: the connection stays", name)
		}
		if want := map[string]string{"unknown": "\x20\x02\x00\x01"}[name]; string(answer) != want {
			t.Errorf("%s: answered % x", name, answer)
		}
		_ = conn.Close()
	}
	if p := r.dial(t, hello(mqtt.V311, "kitchen", "good")); p.ack.Code != mqtt.ServerUnavailable {
		t.Error(p.ack.Code)
	}
	if c := <-seen; c.ClientID != "dev_kitchen:good" || len(seen) > 0 {
		t.Errorf("the broker heard of %q", c.ClientID)
	}
	r.stop()
	if f := <-told; len(told) != 3*2+1+5-1 || f.Username != "kitchen" || f.ClientID != "a" || f.Cause.Code != mqtt.BadUserNameOrPassword {
		t.Errorf("told of %d more than %+v", len(told), f)
	}
}

// CONNECT reaches the broker as it was, but for username, password and ClientID.
func TestConnectIsKept(t *testing.T) {
	t.Parallel()
	address, seen := fake(t)
	r := start(t, address)
	for _, bridge := range []mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5} {
		c := hello(bridge, "kitchen/oven", "home.bridge", func(c *mqtt.Connect) {
			c.Bridge, c.Clean, c.KeepAlive = bridge != mqtt.V5, false, 77
			c.Will = &mqtt.Publish{Topic: "$SYS/broker/connection/x/state", Payload: []byte("0"), QoS: 2, Retain: true}
			if bridge == mqtt.V5 {
				c.Properties = mqtt.Properties{{ID: mqtt.SessionExpiry, Number: 9}, {ID: mqtt.UserPropertyID, Text: "a", Value: "b"}}
				c.Will.Properties = mqtt.Properties{{ID: mqtt.WillDelay, Number: 3}}
			}
		})
		if p := r.dial(t, c); p.ack.Code != mqtt.ServerUnavailable { // the fake closes without an answer
			t.Error(p.ack.Code)
		}
		got := <-seen
		want := *c
		want.Username, want.Password, want.ClientID = "kitchen/oven", "pw", "dev_kitchen.oven:home.bridge"
		a, _ := mqtt.Encode(got, 0)
		b, _ := mqtt.Encode(&want, 0)
		if !bytes.Equal(a, b) {
			t.Errorf("%s: %+v", bridge, got)
		}
	}
}

// A ClientID is its principal's: the same one of another is another session. One that the hub assigns works the next time too.
func TestClientIDs(t *testing.T) {
	t.Parallel()
	r := start(t, newMosquitto(t).Address)
	kitchen := r.connect(t, hello(mqtt.V5, "kitchen", "same", kept))
	shed := r.connect(t, hello(mqtt.V5, "shed", "same", kept))
	for _, p := range []*tester{kitchen, shed} {
		if p.ack.SessionPresent || p.ack.Properties.Text(mqtt.AssignedClientID) != "" {
			t.Errorf("%+v", p.ack)
		}
	}
	if code := kitchen.publish("devices/kitchen/a"); code.Failed() {
		t.Error(code)
	}
	again := r.connect(t, hello(mqtt.V5, "kitchen", "same", kept))
	kitchen.gone() // Mosquitto 2.0.11 says no code
	if !again.ack.SessionPresent {
		t.Errorf("%+v", again.ack)
	}
	anonymous := r.connect(t, hello(mqtt.V5, "kitchen", "", kept))
	id := anonymous.ack.Properties.Text(mqtt.AssignedClientID)
	if !strings.HasPrefix(id, "auto-") {
		t.Fatalf("%q was assigned", id)
	}
	_ = anonymous.Close()
	if p := r.connect(t, hello(mqtt.V5, "kitchen", id, kept)); !p.ack.SessionPresent {
		t.Error("the session of the assigned ClientID is gone")
	}
	r.connect(t, hello(mqtt.V311, "kitchen", ""))
	if p := r.dial(t, hello(mqtt.V311, "kitchen", "", func(c *mqtt.Connect) { c.Clean = false })); p.ack.Code != mqtt.ClientIDNotValid {
		t.Error(p.ack.Code)
	}
}

// Rule 17: whoever is removed is gone within two seconds, also where they do not read; and who is renamed has to come again.
func TestRevocation(t *testing.T) {
	t.Parallel()
	r := start(t, newMosquitto(t).Address)
	five, old := r.connect(t, hello(mqtt.V5, "kitchen", "a")), r.connect(t, hello(mqtt.V311, "kitchen", "b"))
	renamed, other := r.connect(t, hello(mqtt.V5, "shed", "a")), r.connect(t, hello(mqtt.V5, "porch", "a"))
	began := time.Now()
	r.policy.change(func() { r.policy.dead["kitchen"] = true; r.policy.renamed["shed"] = "barn" })
	if code := five.gone(); code != mqtt.NotAuthorized {
		t.Error(code)
	}
	old.gone()
	if code := renamed.gone(); code != mqtt.AdministrativeAction {
		t.Error(code)
	}
	if d := time.Since(began); d > promptly {
		t.Errorf("after %s", d)
	}
	if code := other.publish("devices/porch/a"); code.Failed() {
		t.Error(code)
	}
	if p := r.dial(t, hello(mqtt.V5, "kitchen", "a")); p.ack.Code != mqtt.BadUserNameOrPassword {
		t.Error(p.ack.Code)
	}
}

// A peer that does not read neither fills the hub's memory nor outlives its removal.
func TestStuckPeerIsCut(t *testing.T) {
	t.Parallel()
	r := start(t, newMosquitto(t).Address)
	stuck := r.connect(t, hello(mqtt.V5, "alice", "stuck"))
	stuck.send(&mqtt.Subscribe{ID: 1, Filters: []mqtt.Subscription{{Filter: "big", QoS: 0}}})
	expect[*mqtt.Suback](stuck)
	r.connected(t)
	payload := make([]byte, 500<<10)
	for range 40 {
		if err := r.Publish(t.Context(), mqtt.Message{Topic: "big", Payload: payload, QoS: 1}, ""); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	r.policy.change(func() { r.policy.dead["alice"] = true })
	eventually(t, "it is gone", func() bool { return len(r.Clients()) == 0 })
	if d := time.Since(began); d > promptly {
		t.Errorf("after %s", d)
	}
}

// While the broker is away clients are told so in their version's words; when it is back the hub is too, with all that it had
// subscribed to.
func TestBrokerRestarts(t *testing.T) {
	t.Parallel()
	engine := newMosquitto(t)
	r := start(t, engine.Address).connected(t)
	got := make(chan messaging.Received, 10)
	cancel, err := r.Subscribe("devices/#", func(m messaging.Received) { got <- m })
	if err != nil {
		t.Fatal(err)
	}
	defer cancel()
	client := r.connect(t, hello(mqtt.V5, "kitchen", "a"))
	engine.Kill()
	client.gone()
	eventually(t, "the hub has noticed", func() bool { return r.Stats().Problem != nil })
	for _, v := range []mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5} {
		if p := r.dial(t, hello(v, "kitchen", "a")); p.ack.Code != mqtt.ServerUnavailable {
			t.Errorf("%s: %v", v, p.ack.Code)
		}
	}
	if err := r.Publish(t.Context(), mqtt.Message{Topic: "a"}, ""); wire.CodeOf(err) != wire.Offline {
		t.Error(err)
	}
	if _, err := r.Retained(t.Context(), "#", "", 1, nil); wire.CodeOf(err) != wire.Offline {
		t.Error(err)
	}
	engine.Run()
	r.connected(t)
	eventually(t, "the subscription is back", func() bool {
		_ = r.Publish(t.Context(), mqtt.Message{Topic: "devices/kitchen/a", QoS: 1}, "")
		return len(got) > 0
	})
	if code := r.connect(t, hello(mqtt.V5, "kitchen", "a")).publish("devices/kitchen/a"); code.Failed() {
		t.Error(code)
	}
}

// Kick sends away, and where asked ends the session at the broker.
func TestKick(t *testing.T) {
	t.Parallel()
	r := start(t, newMosquitto(t).Address)
	for _, forget := range []bool{false, true} {
		p := r.connect(t, hello(mqtt.V5, "kitchen", "a", kept))
		clients := r.Clients()
		if len(clients) != 1 || clients[0].ClientID != "a" || clients[0].Principal.Name != "kitchen" || clients[0].Version != "5.0" {
			t.Fatalf("%+v", clients)
		}
		if err := r.Kick(t.Context(), clients[0].ID, forget); err != nil {
			t.Fatal(err)
		}
		if code := p.gone(); code != mqtt.AdministrativeAction {
			t.Error(code)
		}
		eventually(t, "it is not listed", func() bool { return len(r.Clients()) == 0 })
		again := r.connect(t, hello(mqtt.V5, "kitchen", "a", kept))
		if again.ack.SessionPresent == forget {
			t.Errorf("forget %v: %+v", forget, again.ack)
		}
		_ = again.Close()
		eventually(t, "it is gone", func() bool { return len(r.Clients()) == 0 })
		if err := r.Kick(t.Context(), clients[0].ID, forget); wire.CodeOf(err) != wire.NotFound {
			t.Error(err)
		}
	}
}

// A hub that stops says so and leaves nobody waiting: neither those who are let in nor those who are not yet.
func TestStop(t *testing.T) {
	t.Parallel()
	r := start(t, newMosquitto(t).Address)
	p := r.connect(t, hello(mqtt.V5, "kitchen", "a"))
	silent, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	eventually(t, "the silent one is there", func() bool { r.mu.Lock(); defer r.mu.Unlock(); return r.strangersAll == 1 })
	began := time.Now()
	go r.stop()
	if code := p.gone(); code != mqtt.ServerShuttingDown {
		t.Error(code)
	}
	r.stop()
	if d := time.Since(began); d > promptly {
		t.Errorf("after %s", d)
	}
}

// Rule 23: who does not say who they are has ten seconds, and not many may.
func TestStrangers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, err := New(Options{URL: &url.URL{User: url.UserPassword("adit_hub", "pw"), Host: "127.0.0.1:1"}, Access: newPolicy()})
		if err != nil {
			t.Fatal(err)
		}
		door, ended := messaging.Door{Name: "tcp", Address: "192.0.2.1"}, make(chan time.Duration, 100)
		began := time.Now()
		for range maxStrangersPerAddress + 3 {
			near, far := net.Pipe()
			go func() { _, _ = far.Write([]byte{0x10}) }() // the beginning of a CONNECT
			go func() { _ = b.Serve(context.Background(), near, door); ended <- time.Since(began) }()
			synctest.Wait()
		}
		for i := range maxStrangersPerAddress + 3 {
			want := time.Duration(0)
			if i >= 3 {
				want = connectWithin
			}
			if d := <-ended; d != want {
				t.Errorf("%d ended after %s", i, d)
			}
		}
	})
}

// Packets are told apart wherever reads cut them.
func TestPosition(t *testing.T) {
	t.Parallel()
	var stream []byte
	ends := map[int]bool{0: true}
	for _, size := range []int{0, 1, 127, 128, 300, 20000} {
		frame, err := mqtt.Encode(&mqtt.Publish{Topic: "a", Payload: make([]byte, size)}, mqtt.V311)
		if err != nil {
			t.Fatal(err)
		}
		stream = append(append(stream, frame...), 0xd0, 0)
		ends[len(stream)-2], ends[len(stream)] = true, true
	}
	for _, step := range []int{1, 7, 4096} {
		var p position
		for i := 0; i < len(stream); i += step {
			to := min(i+step, len(stream))
			p.pass(stream[i:to])
			if p.between() != ends[to] {
				t.Fatalf("steps of %d: at %d", step, to)
			}
		}
	}
}
