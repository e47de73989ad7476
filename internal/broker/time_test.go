package broker

import (
	"bufio"
	"context"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/mqtt"
)

// inTime runs fn with a broker without a database whose clock is the bubble's.
func inTime(t *testing.T, fn func(t *testing.T, r *timed)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b, err := New(t.Context(), Options{Access: newPolicy(), Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- b.Run(ctx) }()
		fn(t, &timed{Broker: b, t: t})
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

type timed struct {
	*Broker
	t *testing.T
}

// plug connects by a pipe in memory.
func (r *timed) plug(address string) *peer {
	here, there := net.Pipe()
	r.t.Cleanup(func() { _ = here.Close() })
	go func() { _ = r.Serve(context.Background(), there, messaging.Door{Name: "tcp", Address: address}) }()
	return &peer{Conn: here, t: r.t, r: bufio.NewReader(here), v: mqtt.V311}
}

func (r *timed) connect(c *mqtt.Connect) *peer {
	r.t.Helper()
	p := r.plug("192.0.2.1")
	p.v = c.Version
	p.send(c)
	p.ack = expect[*mqtt.Connack](p)
	return p
}

// until waits for the end of p's connection, however long it takes, and says how long that was.
func (p *peer) until() (code mqtt.ReasonCode, after time.Duration) {
	begun := time.Now()
	_ = p.SetReadDeadline(time.Time{})
	for {
		got, err := mqtt.ReadPacket(p.r, p.v, 1<<20)
		if err != nil {
			return code, time.Since(begun)
		}
		if d, ok := got.(*mqtt.Disconnect); ok {
			code = d.Code
		}
	}
}

func pass(d time.Duration) { <-time.After(d) }

// Defect 5: who connected and said nothing stayed for ever.
func TestSilentStrangersGo(t *testing.T) {
	inTime(t, func(t *testing.T, r *timed) {
		silent := r.plug("192.0.2.1")
		if _, after := silent.until(); after != connectWithin {
			t.Errorf("a silent one goes after %s", after)
		}
		slow := r.plug("192.0.2.1")
		frame, _ := mqtt.Encode(hello(mqtt.V311, "oven", "o"), mqtt.V311)
		go func() {
			for _, b := range frame[:9] { // a byte each second
				if _, err := slow.Write([]byte{b}); err != nil {
					return
				}
				pass(time.Second)
			}
		}()
		if _, after := slow.until(); after != connectWithin {
			t.Errorf("a slow one goes after %s", after)
		}
		for range maxStrangersPerAddress {
			r.plug("192.0.2.1")
		}
		synctest.Wait()
		if _, after := r.plug("192.0.2.1").until(); after != 0 {
			t.Errorf("one too many of an address goes after %s", after)
		}
		other := r.plug("192.0.2.2")
		other.send(hello(mqtt.V311, "oven", "o"))
		expect[*mqtt.Connack](other)
		pass(connectWithin)
		other.quiet() // the deadline was for CONNECT only
	})
}

// Defect 13: one and a half times Keep Alive did not fit into 16 bits.
func TestKeepAlive(t *testing.T) {
	for v, table := range map[mqtt.Version]map[uint16]time.Duration{
		mqtt.V311: {2: 2 * time.Second, 60: time.Minute, 60000: time.Hour, 65535: time.Hour},
		mqtt.V5:   {2: 2 * time.Second, 60: time.Minute, 61: time.Minute, 65535: time.Minute},
	} {
		for asked, holds := range table {
			inTime(t, func(t *testing.T, r *timed) {
				p := r.connect(hello(v, "oven", "o", func(c *mqtt.Connect) { c.KeepAlive = asked }))
				if told := p.ack.Properties.Number(mqtt.ServerKeepAlive, uint32(asked)); v == mqtt.V5 && told != uint32(holds/time.Second) {
					t.Errorf("asked for %d, told %d", asked, told)
				}
				pass(holds)
				p.quiet()
				code, after := p.until()
				if after != holds*3/2 || v == mqtt.V5 && code != mqtt.KeepAliveTimeout {
					t.Errorf("%s, %d: gone with %v after %s", v, asked, code, after)
				}
			})
		}
	}
	inTime(t, func(t *testing.T, r *timed) {
		p := r.connect(hello(mqtt.V311, "oven", "o", func(c *mqtt.Connect) { c.KeepAlive = 0 }))
		pass(48 * time.Hour)
		p.quiet()
		five := r.connect(hello(mqtt.V5, "oven", "o", func(c *mqtt.Connect) { c.KeepAlive = 0 }))
		if told := five.ack.Properties.Number(mqtt.ServerKeepAlive, 0); told != maxKeepAlive5 {
			t.Errorf("told %d", told)
		}
	})
}

// Defect 9: retained messages were gone after a day, and what had no expiry got one of a day.
func TestRetainedMessagesStay(t *testing.T) {
	inTime(t, func(t *testing.T, r *timed) {
		p := r.connect(hello(mqtt.V5, "admin", "a"))
		p.publish("for/ever", "x", 1, retain)
		p.publish("for/a/minute", "x", 1, retain, expiring(60))
		_ = p.Close()
		pass(30 * time.Second)
		p = r.connect(hello(mqtt.V5, "admin", "b"))
		p.subscribe(0, "for/#")
		for range 2 {
			m := p.receive()
			_, has := m.Properties.Find(mqtt.MessageExpiry)
			if left := m.Properties.Number(mqtt.MessageExpiry, 0); has != (m.Topic == "for/a/minute") || left > 30 {
				t.Errorf("%s expires in %d", m.Topic, left)
			}
		}
		_ = p.Close()
		pass(30 * 24 * time.Hour)
		p = r.connect(hello(mqtt.V5, "admin", "c"))
		p.subscribe(0, "for/#")
		if m := p.receive(); m.Topic != "for/ever" {
			t.Errorf("after a month: %s", m.Topic)
		}
		p.quiet()
		if n := r.Stats().Retained; n != 1 {
			t.Errorf("%d retained", n)
		}
	})
}

func expiring(seconds uint32) func(*mqtt.Publish) {
	return func(m *mqtt.Publish) {
		m.Properties = append(m.Properties, mqtt.Property{ID: mqtt.MessageExpiry, Number: seconds})
	}
}

// Defect 16: $SYS was published anew every second.
func TestSystemTopicsAreRare(t *testing.T) {
	inTime(t, func(t *testing.T, r *timed) {
		p := r.connect(hello(mqtt.V311, "admin", "a"))
		synctest.Wait()
		p.subscribe(0, "$SYS/broker/uptime")
		p.receive()
		for range 3 {
			begun := time.Now()
			_ = p.SetReadDeadline(time.Time{})
			if _, err := mqtt.ReadPacket(p.r, p.v, 1<<20); err != nil {
				t.Fatal(err)
			}
			if after := time.Since(begun); after > systemEvery*time.Second || after < (systemEvery-1)*time.Second {
				t.Errorf("after %s", after)
			}
		}
	})
}

func TestMQTTSessionsExpire(t *testing.T) {
	inTime(t, func(t *testing.T, r *timed) {
		week := r.connect(hello(mqtt.V5, "oven", "o", func(c *mqtt.Connect) {
			c.Clean, c.Properties = false, mqtt.Properties{{ID: mqtt.SessionExpiry, Number: 0xffffffff}}
		}))
		if told := week.ack.Properties.Number(mqtt.SessionExpiry, 0); told != uint32(maxSessionExpiry/time.Second) {
			t.Errorf("a session for ever is kept %d s", told)
		}
		_ = week.Close()
		hour := r.connect(hello(mqtt.V5, "fridge", "f", kept))
		hour.subscribe(1, "cmds/fridge/#")
		hour.send(&mqtt.Disconnect{})
		pass(59 * time.Minute)
		hour = r.connect(hello(mqtt.V5, "fridge", "f", kept))
		if !hour.ack.SessionPresent {
			t.Error("gone before its time")
		}
		hour.send(&mqtt.Disconnect{})
		pass(61 * time.Minute)
		if n := r.Stats(); n.Sessions != 1 || n.Subscriptions != 0 {
			t.Errorf("after its time: %+v", n)
		}
		pass(maxSessionExpiry)
		if n := r.Stats().Sessions; n != 0 {
			t.Errorf("%d sessions after a week", n)
		}
	})
}

func TestWillsWaitForTheirDelay(t *testing.T) {
	inTime(t, func(t *testing.T, r *timed) {
		watch := r.connect(hello(mqtt.V5, "admin", "a", func(c *mqtt.Connect) { c.KeepAlive = 3600 }))
		watch.subscribe(1, "devices/#")
		late := func(c *mqtt.Connect) {
			withWill("devices/oven/state", "gone", false)(c)
			c.Will.Properties = mqtt.Properties{{ID: mqtt.WillDelay, Number: 60}, {ID: mqtt.ContentType, Text: "text/plain"},
				{ID: mqtt.UserPropertyID, Text: "k", Value: "v"}}
		}
		oven := r.connect(hello(mqtt.V5, "oven", "o", kept, late))
		_ = oven.Close()
		pass(50 * time.Second)
		watch.quiet()                                             // and keeps itself alive
		oven = r.connect(hello(mqtt.V5, "oven", "o", kept, late)) // back in time: nothing is said
		pass(50 * time.Second)
		watch.quiet()
		_ = oven.Close()
		begun := time.Now()
		_ = watch.SetReadDeadline(time.Time{})
		got, err := mqtt.ReadPacket(watch.r, watch.v, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		m, ok := got.(*mqtt.Publish)
		if after := time.Since(begun); !ok || after < time.Minute || after > 62*time.Second || m.Properties.Text(mqtt.ContentType) != "text/plain" || len(m.Properties) != 2 {
			t.Errorf("after %s: %+v", after, got)
		}
		// it ends with its session at the latest, and clean ones have no delay
		short := r.connect(hello(mqtt.V5, "oven", "p", late))
		_ = short.Close()
		if m := watch.receive(); string(m.Payload) != "gone" {
			t.Errorf("got %+v", m)
		}
		clean := r.connect(hello(mqtt.V5, "oven", "q", withWill("devices/oven/state", "gone", false)))
		clean.send(&mqtt.Disconnect{})
		asked := r.connect(hello(mqtt.V5, "oven", "r", withWill("devices/oven/state", "asked for", false)))
		asked.send(&mqtt.Disconnect{Code: mqtt.DisconnectWithWill})
		if m := watch.receive(); string(m.Payload) != "asked for" {
			t.Errorf("got %s", m.Payload)
		}
		watch.quiet()
	})
}

func TestQueuesForget(t *testing.T) {
	inTime(t, func(t *testing.T, r *timed) {
		oven := r.connect(hello(mqtt.V5, "oven", "o", func(c *mqtt.Connect) {
			c.Clean, c.Properties = false, mqtt.Properties{{ID: mqtt.SessionExpiry, Number: 7 * 86400}}
		}))
		oven.subscribe(1, "cmds/oven/#")
		oven.send(&mqtt.Disconnect{})
		admin := r.connect(hello(mqtt.V5, "admin", "a", func(c *mqtt.Connect) { c.KeepAlive = 3600 }))
		admin.publish("cmds/oven/a", "old", 1)
		admin.publish("cmds/oven/a", "short", 1, expiring(60))
		_ = admin.Close()
		pass(maxQueueAge - time.Hour)
		admin = r.connect(hello(mqtt.V5, "admin", "a"))
		admin.publish("cmds/oven/a", "new", 1)
		pass(time.Second)
		_ = admin.Close()
		pass(2 * time.Hour)
		oven = r.connect(hello(mqtt.V5, "oven", "o", kept))
		if m := oven.receive(); string(m.Payload) != "new" {
			t.Errorf("got %s", m.Payload)
		}
		oven.quiet()
	})
}

// A Message Expiry Interval of 0 is one: the message goes to who is there, with it (MQTT 5.0 §3.3.2.3.3). It guards against
// taking it for none, by which a command that must not be carried out later waited for a day, and was retained for ever.
func TestMessagesExpireAtOnce(t *testing.T) {
	inTime(t, func(t *testing.T, r *timed) {
		oven := r.connect(hello(mqtt.V5, "oven", "o", kept))
		oven.subscribe(1, "cmds/oven/#")
		admin := r.connect(hello(mqtt.V5, "admin", "a"))
		for qos := range byte(2) {
			admin.publish("cmds/oven/now", "x", qos, expiring(0))
			if p, ok := oven.receive().Properties.Find(mqtt.MessageExpiry); !ok || p.Number != 0 {
				t.Errorf("QoS %d: expiry %+v, %v", qos, p, ok)
			}
		}
		oven.send(&mqtt.Disconnect{})
		oven.gone()
		admin.publish("cmds/oven/now", "late", 1, expiring(0))
		admin.publish("cmds/oven/kept", "old", 1, retain)
		admin.publish("cmds/oven/kept", "new", 1, retain, expiring(0))
		oven = r.connect(hello(mqtt.V5, "oven", "o", kept))
		if m := oven.receive(); string(m.Payload) != "old" {
			t.Errorf("who was away gets %s", m.Payload)
		}
		oven.subscribe(1, "cmds/oven/#")
		oven.quiet()
		pass(2 * time.Second)
		if n := r.Stats().Retained; n != 0 {
			t.Errorf("%d retained", n)
		}
	})
}
