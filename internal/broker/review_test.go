package broker

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/mqtt"
)

// A peer that asks and asks and reads nothing must not have the hub keep the answers: it is not read from until it takes them.
func TestAnswersToADeafPeerAreBounded(t *testing.T) {
	t.Parallel()
	for name, packet := range map[string]mqtt.Packet{
		"pings":        &mqtt.Ping{Kind: mqtt.PINGREQ},
		"releases":     &mqtt.Ack{Kind: mqtt.PUBREL, ID: 7},
		"unsubscribes": &mqtt.Unsubscribe{ID: 3, Filters: []string{"cmds/oven/x"}},
	} {
		r := startIn(t, "", newPolicy())
		deaf := r.connect(t, hello(mqtt.V5, "oven", "deaf"))
		frame, err := mqtt.Encode(packet, mqtt.V5)
		if err != nil {
			t.Fatal(err)
		}
		var many []byte
		for range 100_000 / len(frame) {
			many = append(many, frame...)
		}
		sent := 0
		for stop := time.Now().Add(3 * time.Second); time.Now().Before(stop) && sent < 40<<20; {
			_ = deaf.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
			n, err := deaf.Write(many)
			if sent += n; err != nil {
				break
			}
		}
		most := 0
		r.mu.Lock()
		for c := range r.conns {
			most = max(most, len(c.control)+len(c.answers))
		}
		r.mu.Unlock()
		if most > 2*maxAnswers {
			t.Errorf("%s: %d answers wait after %d bytes", name, most, sent)
		}
		// And it goes on when the peer does.
		_ = deaf.SetWriteDeadline(time.Time{})
		go func() { _, _ = io.Copy(io.Discard, deaf.r) }()
		eventually(t, name+" go on", func() bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			for c := range r.conns {
				return len(c.control)+len(c.answers) < maxAnswers
			}
			return true
		})
	}
}

// One who connects by ever new ClientIDs, as programs with a random one and a session that is kept do, must not fill the hub:
// beyond maxSessions the one goes that is away for longest, of whoever has most of them.
func TestKeptSessionsAreBounded(t *testing.T) {
	r := startIn(t, "", newPolicy())
	oven := r.connect(t, hello(mqtt.V311, "oven", "mine", kept))
	_ = oven.Close()
	eventually(t, "the oven is away", func() bool { return r.Stats().Clients == 0 })
	r.mu.Lock() // as if they had come and gone
	gone := time.Now().Add(-time.Hour)
	for i := range maxSessions - 1 {
		p := messaging.Principal{Kind: messaging.KindDevice, ID: "dev_many", Name: "many", Device: "dev_many"}
		s := r.newSession(key{p.ID, fmt.Sprint(i)}, p)
		s.expiry, s.gone = maxSessionExpiry, gone.Add(time.Duration(i)*time.Millisecond)
	}
	r.mu.Unlock()
	_ = r.connect(t, hello(mqtt.V311, "stove", "new", kept)).Close()
	if n := r.Stats().Sessions; n > maxSessions {
		t.Errorf("%d sessions are kept", n)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sessions[key{"dev_oven", "mine"}] == nil {
		t.Error("somebody else's session made room")
	}
	if r.sessions[key{"dev_many", "0"}] != nil || r.sessions[key{"dev_many", fmt.Sprint(maxSessions - 2)}] == nil {
		t.Error("it is not the one that is away for longest")
	}
}

// Connections of strangers have a cap of their own: devices come by carriers, and are known before they say a word.
func TestStrangersDoNotKeepDevicesOut(t *testing.T) {
	t.Parallel()
	r := startIn(t, "", newPolicy())
	for i := range maxStrangers {
		if r.enter(messaging.Door{Name: "websocket", Address: fmt.Sprintf("10.0.%d.%d", i/200, i%200)}) != nil {
			t.Fatal("too early", i)
		}
		defer r.served.Done()
	}
	kitchen := messaging.Principal{Kind: messaging.KindDevice, ID: "dev_kitchen", Name: "kitchen", Device: "dev_kitchen"}
	door := messaging.Door{Name: "carrier", By: &kitchen}
	if r.enter(door) != nil {
		t.Fatal("the device's carrier is refused")
	}
	r.leave(door)
	r.served.Done()
	if r.enter(messaging.Door{Name: "websocket", Address: "10.9.9.9"}) == nil {
		t.Error("one stranger too many")
	}
}

// Whoever has IPv6 has 2^64 addresses: a /64 counts as one.
func TestStrangersOfOneNetworkAreCounted(t *testing.T) {
	t.Parallel()
	r := startIn(t, "", newPolicy())
	let := 0
	for i := range 2 * maxStrangersPerAddress {
		if r.enter(messaging.Door{Name: "websocket", Address: fmt.Sprintf("2001:db8::%x", i+1)}) == nil {
			let++
			defer r.served.Done()
		}
	}
	if let != maxStrangersPerAddress {
		t.Errorf("%d of one network are let wait", let)
	}
}

// A Will that waits for its delay is sent when its MQTT session ends before (MQTT 5.0 §3.1.3.2.2): by a Clean Start in its place
// as by a manager who ends it. One whose peer is merely back is not.
func TestWillOfASessionThatEnds(t *testing.T) {
	t.Parallel()
	r := startIn(t, "", newPolicy())
	watch := r.connect(t, hello(mqtt.V5, "admin", "w"))
	watch.subscribe(0, "devices/oven/will")
	will := func(c *mqtt.Connect) {
		withWill("devices/oven/will", "gone", false)(c)
		c.Will.Properties = mqtt.Properties{{ID: mqtt.WillDelay, Number: 600}}
	}
	lose := func() {
		_ = r.connect(t, hello(mqtt.V5, "oven", "o", kept, will)).Close()
		eventually(t, "the oven is away", func() bool { return r.Stats().Clients == 1 })
	}
	lose()
	back := r.connect(t, hello(mqtt.V5, "oven", "o", kept))
	watch.quiet()
	back.send(&mqtt.Disconnect{})
	back.gone()
	lose()
	clean := r.connect(t, hello(mqtt.V5, "oven", "o"))
	if m := watch.receive(); string(m.Payload) != "gone" {
		t.Errorf("%+v", m)
	}
	clean.send(&mqtt.Disconnect{})
	clean.gone()
	lose()
	for _, c := range r.Clients() {
		if c.ClientID == "o" {
			if err := r.Kick(t.Context(), c.ID, true); err != nil {
				t.Fatal(err)
			}
		}
	}
	if m := watch.receive(); string(m.Payload) != "gone" {
		t.Errorf("%+v", m)
	}
}

// Subscriptions are bounded over all MQTT sessions too: each may have 2,000, and there are many.
func TestSubscriptionsAreBounded(t *testing.T) {
	t.Parallel()
	r := startIn(t, "", newPolicy())
	p := r.connect(t, hello(mqtt.V5, "admin", "a"))
	r.mu.Lock()
	r.tree.count += maxAllSubscriptions - 1
	r.mu.Unlock()
	if codes := p.subscribe(1, "a", "b", "a"); codes[0].Failed() || codes[1] != mqtt.QuotaExceeded || codes[2].Failed() {
		t.Errorf("%v", codes)
	}
}

// A Topic Name that is too long is refused, and not kept under its alias: sixteen of 64 KiB for each peer would be much.
func TestAliasesOfLongTopicsAreNotKept(t *testing.T) {
	t.Parallel()
	r := startIn(t, "", newPolicy())
	p := r.connect(t, hello(mqtt.V5, "oven", "o"))
	alias := func(m *mqtt.Publish) { m.Properties = mqtt.Properties{{ID: mqtt.TopicAlias, Number: 1}} }
	if code := p.publish("devices/oven/"+strings.Repeat("x", 60_000), "x", 1, alias); code != mqtt.TopicNameInvalid {
		t.Errorf("%v", code)
	}
	r.mu.Lock()
	for c := range r.conns {
		for _, topic := range c.aliases {
			if len(topic) > maxTopic {
				t.Errorf("a topic of %d bytes is kept", len(topic))
			}
		}
	}
	r.mu.Unlock()
	if code := p.publish("devices/oven/x", "x", 1, alias); code != mqtt.Success {
		t.Errorf("%v", code)
	}
}
