package broker

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/wire"
)

func TestHubPublishes(t *testing.T) {
	t.Parallel()
	r := start(t)
	oven := r.connect(t, hello(mqtt.V5, "oven", "o"))
	oven.subscribe(2, "cmds/oven/#")
	sent := mqtt.Message{Topic: "cmds/oven/do", Payload: []byte("é"), QoS: 2, UTF8: true, ContentType: "text/plain", ResponseTopic: "replies/1",
		Correlation: []byte{0, 1}, Expiry: time.Minute, UserProperties: []mqtt.UserProperty{{Name: "a", Value: "1"}, {Name: "a", Value: "2"}}}
	if err := r.Publish(t.Context(), sent, "alice"); err != nil {
		t.Fatal(err)
	}
	if got := oven.receive().Message(); !reflect.DeepEqual(got, sent) {
		t.Errorf("got  %+v\nwant %+v", got, sent)
	}
	for _, topic := range []string{"", "a/#", "$SYS/x", "a\x00", strings.Repeat("x", 300)} {
		if err := r.Publish(t.Context(), mqtt.Message{Topic: topic}, ""); wire.CodeOf(err) != wire.Invalid {
			t.Errorf("%q: %v", topic, err)
		}
	}
}

func TestHubSubscribes(t *testing.T) {
	t.Parallel()
	r := start(t)
	got := make(chan messaging.Received, 10)
	cancel, err := r.Subscribe("devices/+/#", func(m messaging.Received) { got <- m })
	if err != nil {
		t.Fatal(err)
	}
	oven := r.connect(t, hello(mqtt.V5, "oven", "o"))
	for i := range 3 {
		oven.publish("devices/oven/t", fmt.Sprint(i), byte(i), func(m *mqtt.Publish) {
			m.Properties = mqtt.Properties{{ID: mqtt.ContentType, Text: "text/plain"}}
		})
	}
	for i := range 3 {
		m := <-got
		if m.From != "oven" || string(m.Payload) != fmt.Sprint(i) || int(m.QoS) != i || m.ContentType != "text/plain" || m.At.IsZero() {
			t.Errorf("%+v", m)
		}
	}
	cancel()
	cancel()
	oven.publish("devices/oven/t", "later", 1)
	if n := r.Stats().Subscriptions; n != 0 || len(got) != 0 {
		t.Errorf("%d subscriptions, %d messages after the end", n, len(got))
	}
	for _, filter := range []string{"", "a#", "$share/x/a"} {
		if _, err := r.Subscribe(filter, func(messaging.Received) {}); wire.CodeOf(err) != wire.Invalid {
			t.Errorf("%q: %v", filter, err)
		}
	}
}

// A subscriber within the hub that does not keep up costs its own messages, nobody's time.
func TestHubSubscriberCannotBlock(t *testing.T) {
	t.Parallel()
	r := start(t)
	letGo := make(chan struct{})
	cancel, err := r.Subscribe("#", func(messaging.Received) { <-letGo })
	if err != nil {
		t.Fatal(err)
	}
	for range hubQueue + 100 {
		if err := r.Publish(t.Context(), mqtt.Message{Topic: "a"}, ""); err != nil {
			t.Fatal(err)
		}
	}
	if dropped := r.Stats().Dropped; dropped < 98 {
		t.Errorf("%d dropped", dropped)
	}
	close(letGo)
	cancel()
}

func TestRetainedIsListed(t *testing.T) {
	t.Parallel()
	r := start(t)
	for i := range 5 {
		for _, device := range []string{"oven", "fridge"} {
			m := mqtt.Message{Topic: fmt.Sprintf("devices/%s/%d", device, i), Payload: []byte("12345"), Retain: true, QoS: 1}
			if err := r.Publish(t.Context(), m, "alice"); err != nil {
				t.Fatal(err)
			}
		}
	}
	page, err := r.Retained(t.Context(), "devices/+/#", "", 3, func(topic string) bool { return strings.Contains(topic, "oven") })
	if err != nil || page.Total != 5 || page.TotalBytes != 25 || !page.More || len(page.Messages) != 3 || page.Messages[0].From != "alice" {
		t.Errorf("%+v %v", page, err)
	}
	page, err = r.Retained(t.Context(), "devices/oven/+", page.Messages[2].Topic, 3, nil)
	if err != nil || page.Total != 5 || page.More || len(page.Messages) != 2 || page.Messages[1].Topic != "devices/oven/4" {
		t.Errorf("%+v %v", page, err)
	}
	if err := r.Moved(t.Context(), "devices/oven", "devices/stove"); err != nil {
		t.Fatal(err)
	}
	if err := r.Moved(t.Context(), "devices/fridge", ""); err != nil {
		t.Fatal(err)
	}
	page, err = r.Retained(t.Context(), "#", "", 10, nil)
	if err != nil || page.Total != 5 || page.Messages[0].Topic != "devices/stove/0" {
		t.Errorf("%+v %v", page, err)
	}
	r.stop()
	again := startIn(t, r.dir, r.policy)
	if after, _ := again.Retained(t.Context(), "#", "", 10, nil); after.Total != 5 || after.Messages[4].Topic != "devices/stove/4" || after.Messages[4].From != "alice" {
		t.Errorf("after a restart: %+v", after)
	}
}

// All that a session is survives a restart of the hub: filters with their options, what waits, and what is half done.
func TestRestartKeepsSessions(t *testing.T) {
	t.Parallel()
	r := start(t)
	oven := r.connect(t, hello(mqtt.V5, "oven", "o", kept, withWill("devices/oven/state", "gone", true)))
	oven.send(&mqtt.Subscribe{ID: 1, Properties: mqtt.Properties{{ID: mqtt.SubscriptionID, Number: 300}},
		Filters: []mqtt.Subscription{{Filter: "shared/#", QoS: 2, NoLocal: true, RetainAsPublished: true}}})
	expect[*mqtt.Suback](oven)
	fridge := r.connect(t, hello(mqtt.V5, "fridge", "f", kept))
	fridge.publish("shared/1", "one", 2, func(m *mqtt.Publish) { m.Properties = mqtt.Properties{{ID: mqtt.ContentType, Text: "text/plain"}} })
	fridge.publish("shared/2", "two", 1, retain)
	first := expect[*mqtt.Publish](oven)
	expect[*mqtt.Publish](oven)
	oven.send(&mqtt.Ack{Kind: mqtt.PUBREC, ID: first.ID})
	if rel := expect[*mqtt.Ack](oven); rel.Kind != mqtt.PUBREL {
		t.Fatalf("want PUBREL, got %+v", rel)
	}
	half := &mqtt.Publish{Topic: "shared/3", Payload: []byte("three"), QoS: 2, ID: 42}
	fridge.send(half)
	expect[*mqtt.Ack](fridge)
	r.stop()

	r = startIn(t, r.dir, r.policy)
	if s := r.Stats(); s.Sessions != 2 || s.Subscriptions != 1 || s.Retained != 1 {
		t.Errorf("%+v", s)
	}
	fridge = r.connect(t, hello(mqtt.V5, "fridge", "f", kept))
	half.Dup = true
	fridge.send(half) // it may have missed our PUBREC
	expect[*mqtt.Ack](fridge)
	fridge.send(&mqtt.Ack{Kind: mqtt.PUBREL, ID: 42})
	if ack := expect[*mqtt.Ack](fridge); ack.Kind != mqtt.PUBCOMP || ack.Code != mqtt.Success {
		t.Errorf("%+v", ack)
	}
	oven = r.connect(t, hello(mqtt.V5, "oven", "o", kept))
	if !oven.ack.SessionPresent {
		t.Fatal("no session present")
	}
	if rel := expect[*mqtt.Ack](oven); rel.Kind != mqtt.PUBREL || rel.ID != first.ID {
		t.Errorf("want PUBREL of %d again, got %+v", first.ID, rel)
	}
	oven.send(&mqtt.Ack{Kind: mqtt.PUBCOMP, ID: first.ID})
	two := oven.receive()
	if two.Topic != "shared/2" || !two.Dup || !two.Retain || two.Properties.Number(mqtt.SubscriptionID, 0) != 300 {
		t.Errorf("%+v", two)
	}
	if three := oven.receive(); string(three.Payload) != "three" || three.QoS != 2 {
		t.Errorf("%+v", three)
	}
	oven.publish("shared/own", "own", 1)
	oven.quiet() // no local, still
}

// A hub that goes leaves the Wills of who was there to the next one, which sends them when nobody comes back.
func TestWillsOutliveTheHub(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.connect(t, hello(mqtt.V311, "oven", "back", withWill("devices/oven/back", "gone", true)))
	r.connect(t, hello(mqtt.V311, "oven", "away", withWill("devices/oven/away", "gone", true)))
	eventually(t, "both are known", func() bool { return r.Stats().Clients == 2 })
	r.stop()
	now := time.Now()
	b, err := New(t.Context(), Options{Access: r.policy, Store: reopen(t, r.dir), Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.passTime(now, true)
	if n := len(b.retained.topics); n != 0 || len(b.sessions) != 2 {
		t.Fatalf("%d Wills at once, %d sessions", n, len(b.sessions))
	}
	delete(b.sessions, key{"dev_oven", "back"})
	b.passTime(now.Add(comeBackWithin), true)
	if _, ok := b.retained.messages["devices/oven/away"]; !ok || len(b.retained.topics) != 1 || len(b.sessions) != 0 {
		t.Errorf("%v %d", b.retained.topics, len(b.sessions))
	}
}

// A write that fails (a full disk) is repeated with what came meanwhile: nothing is acknowledged before, nothing is lost
// after, and what was undone in the meantime stays undone.
func TestFailedWritesAreRepeated(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open := func() *Broker {
		b, err := New(t.Context(), Options{Access: newPolicy(), Store: reopen(t, dir)})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	b := open()
	failing, cancel := context.WithCancel(t.Context())
	cancel()
	stays := b.keptSession("stays")
	goes := b.keptSession("goes")
	b.message("kept/1", "1")
	if err := b.writeGroup(failing); err == nil || b.journal.committed != 0 || b.Stats().Problem == nil {
		t.Fatalf("%v, committed %d", err, b.journal.committed)
	}
	b.message("kept/1", "")
	b.message("kept/2", "2")
	b.complete(stays, stays.queue[0]) // kept/1 was answered
	b.end(goes)
	if err := b.writeGroup(failing); err == nil {
		t.Fatal("no error")
	}
	if err := b.writeGroup(t.Context()); err != nil || b.journal.committed != 3 || b.Stats().Problem != nil {
		t.Fatalf("%v, committed %d", err, b.journal.committed)
	}
	again := open()
	if len(again.sessions) != 1 || len(again.retained.topics) != 1 || again.retained.topics[0] != "kept/2" {
		t.Errorf("%d sessions, retained %v", len(again.sessions), again.retained.topics)
	}
	if s := again.sessions[stays.key]; s == nil || len(s.unanswered) != 2 || len(s.subscriptions) != 1 {
		t.Errorf("%+v", s)
	}
}

// keptSession makes an MQTT session that is kept and reads everything at QoS 1.
func (b *Broker) keptSession(id string) *session {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.newSession(key{"usr_admin", id}, messaging.Principal{ID: "usr_admin"})
	s.expiry = time.Hour
	b.journal.session(s, nil)
	b.subscribe(s, &subscription{session: s, Subscription: mqtt.Subscription{Filter: "#", QoS: 1}})
	return s
}

func (b *Broker) message(topic, payload string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.route(newMessage(mqtt.Message{Topic: topic, Payload: []byte(payload), QoS: 1, Retain: true}, b.now(), "", key{}))
}

// Correlation Data that is there and empty goes on so, also from the database (MQTT 5.0 §3.3.2.3.6). It guards against taking
// it for none: who asks finds its answer by it.
func TestEmptyCorrelationDataIsSome(t *testing.T) {
	t.Parallel()
	r := start(t)
	empty := func(m *mqtt.Publish) {
		m.Properties = append(m.Properties, mqtt.Property{ID: mqtt.CorrelationData})
	}
	check := func(p *peer) {
		t.Helper()
		for range 2 {
			m := p.receive()
			if _, has := m.Properties.Find(mqtt.CorrelationData); has != (m.Topic == "shared/with") {
				t.Errorf("%s has Correlation Data: %v", m.Topic, has)
			}
		}
	}
	pub := r.connect(t, hello(mqtt.V5, "oven", "p"))
	oven := r.connect(t, hello(mqtt.V5, "oven", "o"))
	oven.subscribe(1, "shared/#")
	pub.publish("shared/with", "x", 1, retain, empty)
	pub.publish("shared/without", "x", 1, retain)
	check(oven)
	r.stop()
	r = startIn(t, r.dir, r.policy)
	oven = r.connect(t, hello(mqtt.V5, "oven", "o"))
	oven.subscribe(1, "shared/#")
	check(oven)
}
