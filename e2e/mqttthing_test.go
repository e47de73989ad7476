//go:build linux

package e2e

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// lanAddress is where the agent listens for things, on the device's interface lan0.
const lanAddress = "192.168.7.1:1883"

// An arduino speaks as the library PubSubClient does with the settings that it comes with: MQTT 3.1, a buffer of 256 bytes
// into which each packet must go, QoS 0, a ping when nothing was sent for 15 seconds.
type arduino struct {
	t       testing.TB
	conn    net.Conn
	in      *bufio.Reader
	packets chan packet   // what comes once it is let in, but for answers to pings
	pongs   chan struct{} // answers to pings that nobody has looked at

	mu    sync.Mutex
	spoke time.Time // when it last sent something
}

// packet is one that came; err where none could come any more.
type packet struct {
	kind byte
	body []byte
	err  error
}

const (
	arduinoBuffer    = 256
	arduinoKeepAlive = 15
)

// text is a string as MQTT writes it.
func text(s string) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...) }

// connect gives the return code of CONNACK.
func (a *arduino) connect(m *machine, username, password string) byte {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := m.dial(ctx, "tcp", lanAddress)
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { conn.Close() })
	a.conn, a.in = conn, bufio.NewReader(conn)
	body := append(text("MQIsdp"), 3, 0, 0, arduinoKeepAlive)
	body = append(body, text("arduinoClient")...)
	if username != "" {
		body[9] = 0xc0
		body = append(append(body, text(username)...), text(password)...)
	}
	body[9] |= 0x02 // clean session
	a.write(0x10, body)
	got := a.read()
	if got.err != nil || got.kind != 0x20 || len(got.body) != 2 {
		a.t.Fatalf("in answer to CONNECT: %+v", got)
	}
	if got.body[1] == 0 {
		a.run()
	}
	return got.body[1]
}

// run reads and pings until the connection ends, as the sketch's loop does.
func (a *arduino) run() {
	a.packets, a.pongs = make(chan packet, 100), make(chan struct{}, 100)
	ended := make(chan struct{})
	var looping sync.WaitGroup
	looping.Go(func() {
		defer close(ended)
		for p := (packet{}); p.err == nil; {
			if p = a.read(); p.err == nil && p.kind == 0xd0 {
				a.pongs <- struct{}{}
			} else {
				a.packets <- p
			}
		}
	})
	looping.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ended:
				return
			case <-tick.C:
				a.pingWhereSilent()
			}
		}
	})
	a.t.Cleanup(func() { a.conn.Close(); looping.Wait() })
}

func (a *arduino) pingWhereSilent() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if time.Since(a.spoke) >= arduinoKeepAlive*time.Second {
		_, _ = a.conn.Write([]byte{0xc0, 0}) // who reads sees that it is lost
		a.spoke = time.Now()
	}
}

func (a *arduino) write(kind byte, body []byte) {
	a.t.Helper()
	packet := append([]byte{kind, byte(len(body))}, body...)
	if len(body) > 127 { // two bytes of length are as many as the buffer needs
		packet = append([]byte{kind, byte(len(body)) | 0x80, byte(len(body) >> 7)}, body...)
	}
	if len(packet) > arduinoBuffer {
		a.t.Fatalf("%d bytes do not go into the sketch's buffer", len(packet))
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, err := a.conn.Write(packet); err != nil {
		a.t.Fatal(err)
	}
	a.spoke = time.Now()
}

// read reads one packet. One that does not go into the buffer breaks the sketch.
func (a *arduino) read() packet {
	kind, err := a.in.ReadByte()
	if err != nil {
		return packet{err: err}
	}
	length, err := binary.ReadUvarint(a.in)
	if err != nil {
		return packet{err: err}
	}
	if length+3 > arduinoBuffer {
		return packet{err: fmt.Errorf("a packet of %d bytes breaks the sketch", length+2)}
	}
	body := make([]byte, length)
	_, err = io.ReadFull(a.in, body)
	return packet{kind, body, err}
}

// next is the next packet but for answers to pings.
func (a *arduino) next() packet {
	a.t.Helper()
	select {
	case p := <-a.packets:
		if p.err != nil {
			a.t.Fatalf("the sketch reads: %v", p.err)
		}
		return p
	case <-time.After(patience):
		a.t.Fatalf("nothing came to the sketch within %v", patience)
		return packet{}
	}
}

// message is the next PUBLISH, as "TOPIC PAYLOAD".
func (a *arduino) message() string {
	a.t.Helper()
	got := a.next()
	kind, body := got.kind, got.body
	if kind&0xf6 != 0x30 || len(body) < 2 || int(binary.BigEndian.Uint16(body)) > len(body)-2 {
		a.t.Fatalf("packet %#x %q where a message of QoS 0 was to come", kind, body)
	}
	end := 2 + int(binary.BigEndian.Uint16(body))
	return string(body[2:end]) + " " + string(body[end:])
}

func (a *arduino) publish(topic, payload string) {
	a.t.Helper()
	a.write(0x30, append(text(topic), payload...))
}

func (a *arduino) subscribe(filter string) {
	a.t.Helper()
	a.write(0x82, append(append([]byte{0, 2}, text(filter)...), 0))
	if got := a.next(); got.kind != 0x90 || len(got.body) != 3 || got.body[2] != 0 {
		a.t.Fatalf("in answer to SUBSCRIBE: %+v", got)
	}
}

// newLAN puts a machine beside the device, on its interface lan0. The device's agent is the only thing that it reaches.
func (r *rig) newLAN() *machine {
	r.t.Helper()
	thing := newMachine(r.t, "oven", "device")
	out, err := exec.Command("nsenter", "-t", r.device.pid, "-n", "ip", "link", "add", "lan0", "type", "veth", "peer", "name", "eth0", "netns", thing.pid).CombinedOutput()
	if err != nil {
		r.t.Fatalf("veth: %v\n%s", err, out)
	}
	r.device.sh("ip addr add 192.168.7.1/24 dev lan0; ip link set lan0 up; iptables -A INPUT -i lan0 -p tcp --dport 1883 -j ACCEPT; " +
		"iptables -A OUTPUT -o lan0 -m conntrack --ctstate ESTABLISHED -j ACCEPT")
	thing.sh("ip addr add 192.168.7.2/24 dev eth0; ip link set eth0 up")
	return thing
}

// A thing without TLS in the device's network: its value appears in the browser, what is typed there reaches it, and
// nothing reaches it that would break it.
func TestMQTTThing(t *testing.T) {
	t.Parallel()
	r := newRig(t, "nginx")
	r.startSSHD()
	r.install()
	machine := r.newLAN()
	password := strings.TrimSpace(r.device.sh("adit agent mqtt-user add oven --max-packet 256 2>/dev/null"))
	r.device.sh("adit agent mqtt-user add fridge 2>/dev/null")
	r.configure("[mqtt]\nlisten = [\"127.0.0.1:" + agentPort + "\", \"lan0:1883\"]")
	for name, who := range map[string][2]string{"a wrong password": {"oven", "wrong"}, "nobody": {}, "somebody else": {"stove", password}} {
		if code := (&arduino{t: t}).connect(machine, who[0], who[1]); code != 4 && code != 5 {
			t.Errorf("%s: CONNACK says %d, want 4 or 5", name, code)
		}
	}
	a := &arduino{t: t}
	if code := a.connect(machine, "oven", password); code != 0 {
		t.Fatalf("CONNACK says %d", code)
	}
	a.subscribe("cmds/kitchen/oven/#")
	b := r.browser()
	b.signIn("[data-testid=nav-mqtt]")
	b.open(consoleURL + "?filter=devices/kitchen/%23&topic=devices/kitchen/oven/temp")
	b.wait(tapLive, "")
	a.publish("devices/kitchen/fridge/temp", "4.0") // which is not its own
	a.publish("devices/kitchen/oven/temp", "21.5")
	b.wait(topicRow("devices/kitchen/oven/temp"), "21.5")
	if n := b.count(topicRow("devices/kitchen/fridge/temp")); n != 0 {
		t.Error("one thing speaks as another")
	}
	b.open(consoleURL + "?filter=devices/kitchen/%23&pane=publish")
	b.fill("#mqtt-publish-topic", "cmds/kitchen/oven/heat")
	b.fill("#mqtt-publish-payload", "180")
	b.click("[data-testid=mqtt-send]")
	b.wait("[data-testid=mqtt-result]", "Published at")
	if got := a.message(); got != "cmds/kitchen/oven/heat 180" {
		t.Errorf("the command typed in the console came as %q", got)
	}
	eventually(t, patience, "a ping answered", func() error {
		select {
		case <-a.pongs:
			return nil
		default:
			return errNotYet
		}
	})
	r.tooLarge(a, b)
	b.clean()
}

// tooLarge types a command that the thing has no room for, and one of exactly the size that it has.
func (r *rig) tooLarge(a *arduino, b *browser) {
	r.t.Helper()
	largest := strings.Repeat("x", arduinoBuffer-len("cmds/kitchen/oven/heat")-2-3)
	for _, payload := range []string{strings.Repeat("x", 300), largest + "xx", largest} {
		b.fill("#mqtt-publish-payload", payload)
		b.click("[data-testid=mqtt-send]")
		b.wait("[data-testid=mqtt-send]:not([disabled])", "")
		b.wait("[data-testid=mqtt-result]", "Published at")
	}
	if got := a.message(); got != "cmds/kitchen/oven/heat "+largest {
		r.t.Errorf("after a command that is too large came %q", got)
	}
	eventually(r.t, patience, "two messages counted as too large", func() error {
		listener, err := r.listener("192.168.7.1:1883")
		if err == nil && (listener.Dropped != 2 || listener.Refused != 3 || len(listener.Things) != 2) {
			err = fmt.Errorf("%+v", listener)
		}
		return err
	})
	for _, thing := range r.must(r.listener("192.168.7.1:1883")).Things {
		if thing.Connected != (thing.Name == "oven") {
			r.t.Errorf("%s: connected is %v", thing.Name, thing.Connected)
		}
	}
}

// mqttListener is one of a device's, as GET /api/v1/devices/{device}/mqtt shows it.
type mqttListener struct {
	Address          string
	Refused, Dropped int
	Things           []struct {
		Name      string
		Connected bool
	}
}

func (r *rig) must(l mqttListener, err error) mqttListener {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
	return l
}

func (r *rig) listener(address string) (mqttListener, error) {
	var d struct {
		Agent struct{ Listeners []mqttListener }
	}
	if err := r.call("GET", "/api/v1/devices/kitchen/mqtt", nil, &d); err != nil {
		return mqttListener{}, err
	}
	for _, l := range d.Agent.Listeners {
		if l.Address == address || l.Address == "lan0:1883" {
			return l, nil
		}
	}
	return mqttListener{}, fmt.Errorf("no listener %s among %+v", address, d.Agent.Listeners)
}

// signIn opens the site as the owner and waits for a part of it.
func (b *browser) signIn(part string) {
	b.t.Helper()
	b.open(hubURL + "/app/login")
	b.fill("#email", ownerEmail)
	b.fill("#password", ownerPassword)
	b.click("[data-testid=login-form] [type=submit]")
	b.wait(part, "")
}
