package broker

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/mqtt"
)

// refused connects and wants a CONNACK that says no.
func (r *rig) refused(t *testing.T, c *mqtt.Connect, want mqtt.ReasonCode) {
	t.Helper()
	p := r.dial(t)
	p.v = c.Version
	p.send(c)
	if ack := expect[*mqtt.Connack](p); ack.Code != want || ack.SessionPresent {
		t.Errorf("%s %q %q: CONNACK %+v, want %v", c.Version, c.Username, c.ClientID, ack, want)
	}
	p.gone()
}

func TestWhoIsNotLetIn(t *testing.T) {
	t.Parallel()
	r := start(t)
	for _, v := range versions {
		r.refused(t, hello(v, "oven", "o", func(c *mqtt.Connect) { c.Password = "wrong" }), mqtt.BadUserNameOrPassword)
		r.refused(t, hello(v, "", "o", func(c *mqtt.Connect) { c.HasUsername, c.HasPassword, c.Password = false, false, "" }), mqtt.BadUserNameOrPassword)
		for _, id := range []string{"a#", "a/b", "+", "a\x01b", "a\x7f", strings.Repeat("x", 65)} {
			r.refused(t, hello(v, "oven", id), mqtt.ClientIDNotValid)
		}
	}
	r.refused(t, hello(mqtt.V311, "oven", "", kept), mqtt.ClientIDNotValid)
	r.refused(t, hello(mqtt.V5, "oven", "o", func(c *mqtt.Connect) {
		c.Properties = mqtt.Properties{{ID: mqtt.AuthenticationMethod, Text: "SCRAM"}}
	}), mqtt.BadAuthenticationMethod)
	unknown := r.dial(t)
	unknown.raw([]byte("\x10\x10\x00\x04MQTT\x07\x02\x00\x3c\x00\x04test"))
	if ack := expect[*mqtt.Connack](unknown); ack.Code != mqtt.UnsupportedVersion {
		t.Errorf("level 7: %v", ack.Code)
	}
	unknown.gone()
	other := r.dial(t)
	other.raw([]byte("\x30\x05\x00\x01axy"))
	if code := other.gone(); code != mqtt.Success {
		t.Errorf("a PUBLISH first is answered %v", code)
	}
}

// A thief of a ClientID gets a session of his own: its key is principal and ClientID.
func TestClientIDsOfOthersAreOutOfReach(t *testing.T) {
	t.Parallel()
	r := start(t)
	oven := r.connect(t, hello(mqtt.V5, "oven", "homeassistant", kept))
	oven.subscribe(1, "cmds/oven/#")
	fridge := r.connect(t, hello(mqtt.V5, "fridge", "homeassistant", kept))
	if fridge.ack.SessionPresent {
		t.Error("somebody else's session is present")
	}
	oven.quiet()
	again := r.connect(t, hello(mqtt.V5, "oven", "homeassistant", kept))
	if code := oven.gone(); code != mqtt.SessionTakenOver || !again.ack.SessionPresent {
		t.Errorf("DISCONNECT %v, session present %v", code, again.ack.SessionPresent)
	}
	fridge.quiet()
}

func TestAssignedClientID(t *testing.T) {
	t.Parallel()
	r := start(t)
	for _, v := range versions {
		p := r.connect(t, hello(v, "oven", ""))
		id := p.ack.Properties.Text(mqtt.AssignedClientID)
		if v == mqtt.V5 && !strings.HasPrefix(id, "auto-") {
			t.Errorf("assigned %q", id)
		}
		p.publish("devices/oven/x", "", 1)
	}
	if n := len(r.Clients()); n != 3 {
		t.Errorf("%d clients", n)
	}
}

func TestSubscribeNeedsTheWholeFilter(t *testing.T) {
	t.Parallel()
	r := start(t)
	for _, v := range versions {
		want := mqtt.NotAuthorized
		if v != mqtt.V5 {
			want = mqtt.Unspecified // 0x80 is all that they know
		}
		p := r.connect(t, hello(v, "oven", "o"))
		for _, filter := range []string{"#", "cmds/#", "cmds/+/#", "cmds/fridge/#", "+/oven/x", "$SYS/#", "$SYS/broker/uptime",
			"$share/g/#", "$share/g/cmds/+/#", "$share/g/$SYS/#", "$share/g/cmds/fridge/x"} {
			if codes := p.subscribe(1, filter); codes[0] != want {
				t.Errorf("%s: %s is granted %v", v, filter, codes[0])
			}
		}
		if codes := p.subscribe(1, "cmds/oven/#", "cmds/fridge/#", "$share/g/cmds/oven/+"); codes[0] != 1 || codes[1] != want || codes[2] != 1 {
			t.Errorf("%s: granted %v", v, codes)
		}
	}
	admin := r.connect(t, hello(mqtt.V5, "admin", "a"))
	if codes := admin.subscribe(0, "$SYS/broker/uptime"); codes[0] != 0 {
		t.Fatalf("admin: %v", codes)
	}
	if m := admin.receive(); m.Topic != "$SYS/broker/uptime" {
		t.Errorf("got %+v", m)
	}
	deep := strings.Repeat("a/", 16) + "a"
	if codes := admin.subscribe(0, deep, strings.Repeat("x", 257), "x"); codes[0] != mqtt.TopicFilterInvalid || codes[1] != mqtt.TopicFilterInvalid || codes[2] != 0 {
		t.Errorf("too deep, too long, good: %v", codes)
	}
}

func TestPublishNeedsTheRightToWrite(t *testing.T) {
	t.Parallel()
	r := start(t)
	watch := r.connect(t, hello(mqtt.V5, "admin", "a"))
	watch.subscribe(0, "#", "$SYS/broker/version", "$other")
	for _, v := range versions {
		p := r.connect(t, hello(v, "oven", "o"))
		for topic, want := range map[string]mqtt.ReasonCode{
			"devices/fridge/x": mqtt.NotAuthorized, "cmds/oven/x": mqtt.NotAuthorized, "$SYS/broker/version": mqtt.NotAuthorized, "$other": mqtt.NotAuthorized,
			"devices/oven/" + strings.Repeat("x", 250): mqtt.TopicNameInvalid, "devices/oven/" + strings.Repeat("/", 20): mqtt.TopicNameInvalid,
		} {
			if v != mqtt.V5 {
				want = mqtt.Success // they are acknowledged, and that is all
			}
			for qos := byte(1); qos <= 2; qos++ {
				if code := p.publish(topic, "x", qos); code != want {
					t.Errorf("%s: %s at QoS %d is acknowledged %v", v, topic, qos, code)
				}
			}
			p.publish(topic, "x", 0)
		}
		p.quiet()
	}
	watch.quiet()
}

// What Mosquitto's bridges tell about themselves finds a place below their device, from PUBLISH and Will.
func TestStateOfBridgesIsMapped(t *testing.T) {
	t.Parallel()
	r := start(t)
	const state = "$SYS/broker/connection/home.kitchen/state"
	bridge := r.connect(t, hello(mqtt.V311, "oven", "home.kitchen", withWill(state, "0", true)))
	bridge.publish(state, "1", 1, retain)
	watch := r.connect(t, hello(mqtt.V311, "admin", "a"))
	watch.subscribe(1, "devices/+/bridge/+/state")
	if m := watch.receive(); m.Topic != "devices/oven/bridge/home.kitchen/state" || string(m.Payload) != "1" || !m.Retain {
		t.Errorf("got %+v", m)
	}
	_ = bridge.Close()
	if m := watch.receive(); m.Topic != "devices/oven/bridge/home.kitchen/state" || string(m.Payload) != "0" {
		t.Errorf("got %+v", m)
	}
}

func TestUnsubscribeIsAlwaysAnswered(t *testing.T) {
	t.Parallel()
	r := start(t)
	p := r.connect(t, hello(mqtt.V5, "oven", "o"))
	p.subscribe(0, "cmds/oven/#")
	p.send(&mqtt.Unsubscribe{ID: 5, Filters: []string{"home/devices/#", "cmds/oven/#"}})
	if ack := expect[*mqtt.Unsuback](p); ack.ID != 5 || ack.Codes[0] != mqtt.NoSubscriptionExisted || ack.Codes[1] != mqtt.Success {
		t.Errorf("UNSUBACK %+v", ack)
	}
}

// promptly is for what must come within two seconds (rule 17), counted likewise: nothing that ends by itself ends as soon.
const promptly = 30 * time.Second

func TestWhatIsTakenAwayEndsAtOnce(t *testing.T) {
	t.Parallel()
	r := start(t)
	oven := r.connect(t, hello(mqtt.V5, "oven", "o", kept))
	oven.subscribe(1, "shared/a", "shared/b")
	away := r.connect(t, hello(mqtt.V5, "fridge", "f", kept))
	away.subscribe(1, "shared/#")
	_ = away.Close()
	eventually(t, "the fridge is away", func() bool { return r.Stats().Clients == 1 })
	admin := r.connect(t, hello(mqtt.V5, "admin", "a"))
	admin.publish("shared/a", "kept", 1, retain)
	admin.publish("shared/c", "queued", 1)
	oven.receive()
	r.policy.change(func() { r.policy.denied["shared/a"] = true })
	eventually(t, "the subscription ends", func() bool { return len(r.Clients()[2].Subscriptions) == 1 })
	admin.publish("shared/a", "secret", 1)
	oven.quiet()
	if codes := oven.subscribe(1, "shared/+"); codes[0] != 1 {
		t.Fatalf("granted %v", codes)
	}
	oven.quiet() // what is retained below shared/a stays with those who may
	back := r.connect(t, hello(mqtt.V5, "fridge", "f", kept))
	if m := back.receive(); string(m.Payload) != "queued" {
		t.Errorf("the queue gives %q", m.Payload)
	}
	back.quiet()
	r.policy.change(func() { r.policy.dead["oven"] = true })
	begun := time.Now()
	if code := oven.gone(); code != mqtt.NotAuthorized || time.Since(begun) > promptly {
		t.Errorf("DISCONNECT %v after %s", code, time.Since(begun))
	}
	eventually(t, "the session is forgotten", func() bool { return r.Stats().Sessions == 2 })
}

// A message that was queued while its reader might have it is not given to one that no longer may.
func TestQueueIsAskedAboutWhenItLeaves(t *testing.T) {
	t.Parallel()
	r := start(t)
	oven := r.connect(t, hello(mqtt.V311, "oven", "o", kept))
	oven.subscribe(2, "shared/#")
	_ = oven.Close()
	eventually(t, "the oven is away", func() bool { return r.Stats().Clients == 0 })
	admin := r.connect(t, hello(mqtt.V311, "admin", "a"))
	for _, topic := range []string{"shared/a", "shared/b"} {
		for qos := byte(1); qos <= 2; qos++ {
			admin.publish(topic, topic, qos)
		}
	}
	r.policy.change(func() { r.policy.denied["shared/a"] = true })
	oven = r.connect(t, hello(mqtt.V311, "oven", "o", kept))
	for range 2 {
		if m := oven.receive(); m.Topic != "shared/b" {
			t.Errorf("got %s", m.Topic)
		}
	}
	oven.quiet()
}

func TestKick(t *testing.T) {
	t.Parallel()
	r := start(t)
	oven := r.connect(t, hello(mqtt.V5, "oven", "o", kept))
	oven.subscribe(1, "shared/#")
	id := r.Clients()[0].ID
	if err := r.Kick(t.Context(), id, false); err != nil {
		t.Fatal(err)
	}
	if code := oven.gone(); code != mqtt.AdministrativeAction {
		t.Errorf("DISCONNECT %v", code)
	}
	if !r.connect(t, hello(mqtt.V5, "oven", "o", kept)).ack.SessionPresent {
		t.Error("the session was not kept")
	}
	if err := r.Kick(t.Context(), id, true); err != nil {
		t.Fatal(err)
	}
	if r.connect(t, hello(mqtt.V5, "oven", "o", kept)).ack.SessionPresent {
		t.Error("the session was not forgotten")
	}
	if err := r.Kick(t.Context(), "nobody", false); err == nil {
		t.Error("nobody is kicked")
	}
}

func TestCarrierSaysWho(t *testing.T) {
	t.Parallel()
	r := start(t)
	here, there := tcpPair(t)
	served := make(chan error, 1)
	go func() {
		served <- r.Serve(context.Background(), there, messaging.Door{Name: "carrier",
			By: &messaging.Principal{Kind: messaging.KindThing, ID: "dev_1/t", Name: "kitchen/oven", Device: "dev_1", Thing: "oven"}})
	}()
	p := &peer{Conn: here, t: t, r: newReader(here), v: mqtt.V31}
	p.send(&mqtt.Connect{Version: mqtt.V31, ClientID: "x", Clean: true})
	expect[*mqtt.Connack](p)
	if c := r.Clients()[0]; c.Principal.ID != "dev_1/t" || c.Door.Name != "carrier" || c.Version != "3.1" || !c.Connected {
		t.Errorf("%+v", c)
	}
	p.send(&mqtt.Disconnect{})
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
}
