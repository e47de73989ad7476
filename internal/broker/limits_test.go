package broker

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/mqtt"
)

func TestQueueOfWhoIsAwayIsBounded(t *testing.T) {
	t.Parallel()
	r := startIn(t, "", newPolicy())
	for name, payload := range map[string]string{"messages": "x", "bytes": strings.Repeat("x", 10_000)} {
		oven := r.connect(t, hello(mqtt.V311, "oven", name, kept))
		oven.subscribe(1, "cmds/oven/"+name)
		_ = oven.Close()
		eventually(t, "the oven is away", func() bool { return r.Stats().Clients == 0 })
		admin := r.connect(t, hello(mqtt.V5, "admin", "a"))
		for range maxAwayMessages + 5 {
			admin.publish("cmds/oven/"+name, payload, 1)
		}
		_ = admin.Close()
		eventually(t, "the admin is away", func() bool { return r.Stats().Clients == 0 })
		for _, c := range r.Clients() {
			if c.ClientID != name {
				continue
			}
			if total := c.Queued * (len(payload) + 80); c.Queued > maxAwayMessages || total > maxAwayBytes+10_000 || int(c.Dropped)+c.Queued != maxAwayMessages+5 {
				t.Errorf("%s: %d queued, %d dropped", name, c.Queued, c.Dropped)
			}
		}
	}
	if r.Stats().Dropped == 0 {
		t.Error("nothing is counted")
	}
}

func TestRetainedIsBounded(t *testing.T) {
	t.Parallel()
	r := startIn(t, "", newPolicy())
	watch := r.connect(t, hello(mqtt.V311, "admin", "w"))
	watch.subscribe(0, "big", "many/last")
	five, older := r.connect(t, hello(mqtt.V5, "admin", "a")), r.connect(t, hello(mqtt.V311, "admin", "b"))
	big := strings.Repeat("x", maxRetainedPayload+1)
	if code := five.publish("big", big, 1, retain); code != mqtt.QuotaExceeded {
		t.Errorf("too big: %v", code)
	}
	older.publish("big", big, 1, retain)
	if m := watch.receive(); len(m.Payload) != len(big) { // it cannot be told, so it is delivered at least
		t.Errorf("%d bytes", len(m.Payload))
	}
	for i := range maxRetained {
		if err := r.Publish(t.Context(), mqtt.Message{Topic: fmt.Sprint("many/", i), Payload: []byte("x"), Retain: true}, ""); err != nil {
			t.Fatal(err)
		}
	}
	if code := five.publish("many/last", "x", 1, retain); code != mqtt.QuotaExceeded {
		t.Errorf("one too many: %v", code)
	}
	if code := five.publish("many/5", "another", 1, retain); code != mqtt.Success {
		t.Errorf("in place of one that is there: %v", code)
	}
	watch.quiet()
	// whoever asks gets them all, at once (clients have been lost over this in other brokers)
	watch.send(&mqtt.Subscribe{ID: 1, Filters: []mqtt.Subscription{{Filter: "many/+", QoS: 1}}})
	for got := 0; got < maxRetained; {
		p, err := watch.next()
		if err != nil {
			t.Fatalf("after %d: %v", got, err)
		}
		if m, ok := p.(*mqtt.Publish); ok {
			got++
			if m.QoS > 0 {
				watch.send(&mqtt.Ack{Kind: mqtt.PUBACK, ID: m.ID})
			}
		}
	}
	watch.quiet()
}

// MQTT 5.0 §4.9, in both directions.
func TestReceiveMaximum(t *testing.T) {
	t.Parallel()
	r := start(t)
	oven := r.connect(t, hello(mqtt.V5, "oven", "o", asks(mqtt.ReceiveMaximum, 2)))
	oven.subscribe(2, "cmds/oven/#")
	for i := range 5 {
		if err := r.Publish(t.Context(), mqtt.Message{Topic: "cmds/oven/x", Payload: fmt.Append(nil, i), QoS: byte(1 + i%2)}, ""); err != nil {
			t.Fatal(err)
		}
	}
	first, second := expect[*mqtt.Publish](oven), expect[*mqtt.Publish](oven)
	oven.quiet()
	oven.send(&mqtt.Ack{Kind: mqtt.PUBREC, ID: second.ID})
	expect[*mqtt.Ack](oven)
	oven.quiet() // PUBREC frees nothing
	oven.send(&mqtt.Ack{Kind: mqtt.PUBACK, ID: first.ID})
	if third := oven.receive(); string(third.Payload) != "2" {
		t.Errorf("got %s", third.Payload)
	}
	oven.send(&mqtt.Ack{Kind: mqtt.PUBCOMP, ID: second.ID})
	for want := 3; want < 5; want++ { // both slots are free
		m := expect[*mqtt.Publish](oven)
		if string(m.Payload) != fmt.Sprint(want) {
			t.Errorf("got %s, want %d", m.Payload, want)
		}
	}
	if most := oven.ack.Properties.Number(mqtt.ReceiveMaximum, 0); most != receiveMaximum {
		t.Errorf("we take %d", most)
	}
	for id := range uint16(receiveMaximum + 1) {
		oven.send(&mqtt.Publish{Topic: "devices/oven/x", QoS: 2, ID: id + 1})
	}
	if code := oven.gone(); code != mqtt.ReceiveMaximumExceeded {
		t.Errorf("DISCONNECT %v", code)
	}
}

// A bridge of Mosquitto 2.0 that connects again sends all that it has at once, whatever our Receive Maximum: parting from it
// would have it send the same again and again.
func TestManyMessagesThatWaitForUs(t *testing.T) {
	t.Parallel()
	r := start(t)
	p := r.connect(t, hello(mqtt.V5, "oven", "o"))
	const many = 10 * receiveMaximum
	var all []byte
	for id := range uint16(many) {
		frame, err := mqtt.Encode(&mqtt.Publish{Topic: "devices/oven/x", QoS: 1, ID: id + 1}, mqtt.V5)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, frame...)
	}
	sent := make(chan error, 1)
	go func() { _, err := p.Write(all); sent <- err }()
	for id := range uint16(many) {
		if ack := expect[*mqtt.Ack](p); ack.Kind != mqtt.PUBACK || ack.ID != id+1 {
			t.Fatalf("want PUBACK %d, got %+v", id+1, ack)
		}
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

// Older versions know no Receive Maximum: a peer may begin as many QoS 2 messages as it likes before it releases any.
func TestManyUnreleasedMessages(t *testing.T) {
	t.Parallel()
	r := start(t)
	p := r.connect(t, hello(mqtt.V311, "oven", "o"))
	const many = 6 * receiveMaximum
	for id := range uint16(many) {
		p.send(&mqtt.Publish{Topic: "devices/oven/x", QoS: 2, ID: id + 1})
	}
	for id := range uint16(many) {
		if ack := expect[*mqtt.Ack](p); ack.Kind != mqtt.PUBREC || ack.ID != id+1 {
			t.Fatalf("want PUBREC %d, got %+v", id+1, ack)
		}
	}
	for id := range uint16(many) {
		p.send(&mqtt.Ack{Kind: mqtt.PUBREL, ID: id + 1})
		if ack := expect[*mqtt.Ack](p); ack.Kind != mqtt.PUBCOMP || ack.ID != id+1 {
			t.Fatalf("want PUBCOMP %d, got %+v", id+1, ack)
		}
	}
}

func TestMaximumPacketSizeOfThePeer(t *testing.T) {
	t.Parallel()
	r := start(t)
	oven := r.connect(t, hello(mqtt.V5, "oven", "o", asks(mqtt.MaximumPacketSize, 100)))
	oven.subscribe(1, "cmds/oven/#")
	for _, n := range []int{200, 20, 200, 20} {
		if err := r.Publish(t.Context(), mqtt.Message{Topic: "cmds/oven/x", Payload: make([]byte, n), QoS: 1}, ""); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if m := oven.receive(); len(m.Payload) != 20 {
			t.Errorf("got %d bytes", len(m.Payload))
		}
	}
	oven.quiet()
	if c := r.Clients()[0]; c.Dropped != 2 || c.Inflight != 0 {
		t.Errorf("%+v", c)
	}
}

// A packet that the standard forbids ends the connection with its code, and nothing else.
func TestMalformedPackets(t *testing.T) {
	t.Parallel()
	r := start(t)
	for name, raw := range map[string]string{
		"QoS 3": "\x36\x06\x00\x01a\x00\x01\x00", "surrogate": "\x30\x06\x00\x03\xed\xa0\x80\x00", "NUL": "\x30\x05\x00\x02a\x00\x00", "wildcard": "\x30\x05\x00\x02a#\x00",
		"id 0": "\x32\x06\x00\x01a\x00\x00\x00", "SUBSCRIBE flags": "\x80\x07\x00\x01\x00\x00\x01a\x00", "no filter": "\x82\x03\x00\x01\x00",
		"five bytes of length": "\x30\xff\xff\xff\xff\x01", "type 0": "\x00\x00", "CONNACK": "\x20\x03\x00\x00\x00", "filter a#": "\x82\x08\x00\x01\x00\x00\x02a#\x00",
		"second CONNECT": "\x10\x10\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x03abc", "PINGRESP": "\xd0\x00", "shared no local": "\x82\x10\x00\x01\x00\x00\x0a$share/g/a\x04",
	} {
		p := r.connect(t, hello(mqtt.V5, "oven", "o"))
		p.raw([]byte(raw))
		if code := p.gone(); code != mqtt.MalformedPacket && code != mqtt.ProtocolError {
			t.Errorf("%s: DISCONNECT %v", name, code)
		}
	}
	r.connect(t, hello(mqtt.V5, "oven", "o")).quiet()
}

// Defect 10: a queue of 8192 slots made each idle client cost 90 KiB.
func TestIdleClientsAreCheap(t *testing.T) {
	r := startIn(t, "", newPolicy())
	const clients, most = 2000, 40 << 10
	before := memory()
	for i := range clients {
		p := r.connect(t, hello(mqtt.V311, "oven", fmt.Sprint(i), kept))
		p.subscribe(1, "cmds/oven/#")
		p.r = nil
	}
	each := (memory() - before) / clients
	t.Logf("%d bytes for each of %d clients, their own ends among them", each, clients)
	if each > most {
		t.Errorf("%d bytes for each idle client, at most %d", each, most)
	}
}

// memory is what heap and stacks take.
func memory() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// A peer that reads nothing any more is gone soon after it is sent away, and so is the hub.
func TestStuckPeersDoNotHoldTheEnd(t *testing.T) {
	t.Parallel()
	r := startIn(t, "", newPolicy())
	stuck := r.connect(t, hello(mqtt.V311, "admin", "stuck"))
	stuck.subscribe(0, "#")
	for range 500 {
		if err := r.Publish(t.Context(), mqtt.Message{Topic: "a", Payload: make([]byte, 60_000)}, ""); err != nil {
			t.Fatal(err)
		}
	}
	begun := time.Now()
	if err := r.Kick(t.Context(), r.Clients()[0].ID, false); err != nil {
		t.Fatal(err)
	}
	r.stop()
	if after := time.Since(begun); after > closeWithin+patience {
		t.Errorf("the end took %s", after)
	}
}
