package conformance

import (
	"context"
	_ "embed"
	"fmt"
	"net"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
	paho5 "github.com/eclipse/paho.golang/paho"
	paho3 "github.com/eclipse/paho.mqtt.golang"

	"github.com/aditdev/adit/internal/sshdtest"
)

// client is a client library of others.
type client interface {
	subscribe(filter string, qos byte) error
	publish(topic, payload string, qos byte, retain bool) error
	cut() // the connection, without a word
}

// connects makes a client whose messages go to got, as "QOS TOPIC PAYLOAD", with "retained " before those that are.
type connects func(t *testing.T, g target, door, id, will string, got chan<- string) client

// Client libraries that people use speak with the hub over TCP and WebSocket: QoS 0, 1 and 2, retained messages, Wills, shared subscriptions.
func TestClientLibraries(t *testing.T) {
	t.Parallel()
	g := wholeHub(t).target
	for name, connect := range map[string]connects{"paho.golang": connectPaho5, "paho.mqtt.golang": connectPaho3} {
		for door := range g.doors {
			t.Run(name+"/"+door, func(t *testing.T) {
				t.Parallel()
				clientsTalk(t, func(id, will string, got chan<- string) client { return connect(t, g, door, id, will, got) })
			})
		}
	}
}

func clientsTalk(t *testing.T, connect func(id, will string, got chan<- string) client) {
	unique := fmt.Sprintf("u%d", runs.Add(1))
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	got := make(chan string, 64)
	a, b := connect(unique+"a", "", got), connect(unique+"b", unique+"/will", make(chan string, 64))
	check(a.subscribe(unique+"/#", 2))
	for qos := range byte(3) {
		check(b.publish(fmt.Sprintf("%s/%d", unique, qos), "hello", qos, false))
		wants(t, got, fmt.Sprintf("%d %s/%d hello", qos, unique, qos))
	}
	check(b.publish(unique+"/kept", "state", 1, true))
	wants(t, got, "1 "+unique+"/kept state")
	late := make(chan string, 64)
	check(connect(unique+"c", "", late).subscribe(unique+"/kept", 1))
	wants(t, late, "retained 1 "+unique+"/kept state")
	b.cut()
	wants(t, got, "0 "+unique+"/will gone")

	one, two := make(chan string, 64), make(chan string, 64)
	check(connect(unique+"d", "", one).subscribe("$share/"+unique+"/"+unique+"/shared", 1))
	check(connect(unique+"e", "", two).subscribe("$share/"+unique+"/"+unique+"/shared", 1))
	for i := range 10 {
		check(a.publish(unique+"/shared", fmt.Sprint(i), 1, false))
	}
	var all []string
	for range 10 {
		select {
		case m := <-one:
			all = append(all, "one: "+m)
		case m := <-two:
			all = append(all, "two: "+m)
		case <-time.After(patience):
			t.Fatalf("only %q have come", all)
		}
	}
	for _, member := range []string{"one", "two"} {
		if !slices.ContainsFunc(all, func(m string) bool { return strings.HasPrefix(m, member) }) {
			t.Errorf("%s has got nothing of %q", member, all)
		}
	}
}

func wants(t *testing.T, got <-chan string, want string) {
	t.Helper()
	select {
	case m := <-got:
		if m != want {
			t.Errorf("got %q, want %q", m, want)
		}
	case <-time.After(patience):
		t.Fatalf("%q does not come", want)
	}
}

func message(topic string, payload []byte, qos byte, retained bool) string {
	text := fmt.Sprintf("%d %s %s", qos, topic, payload)
	if retained {
		text = "retained " + text
	}
	return text
}

// five is paho.golang: MQTT 5.0.
type five struct {
	*paho5.Client
	conn net.Conn
}

func connectPaho5(t *testing.T, g target, door, id, will string, got chan<- string) client {
	conn, err := g.doors[door]()
	if err != nil {
		t.Fatal(err)
	}
	conn = packets.NewThreadSafeConn(conn) // it writes a packet in pieces
	c := paho5.NewClient(paho5.ClientConfig{Conn: conn, PacketTimeout: patience, OnPublishReceived: []func(paho5.PublishReceived) (bool, error){
		func(p paho5.PublishReceived) (bool, error) {
			got <- message(p.Packet.Topic, p.Packet.Payload, p.Packet.QoS, p.Packet.Retain)
			return true, nil
		}}})
	hello := &paho5.Connect{ClientID: id, CleanStart: true, KeepAlive: 30, UsernameFlag: true, Username: g.user, PasswordFlag: true, Password: []byte(g.pass)}
	if will != "" {
		hello.WillMessage = &paho5.WillMessage{Topic: will, Payload: []byte("gone")}
	}
	if _, err := c.Connect(within(t), hello); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Disconnect(&paho5.Disconnect{}); _ = conn.Close() })
	return five{c, conn}
}

func (f five) subscribe(filter string, qos byte) error {
	_, err := f.Subscribe(context.Background(), &paho5.Subscribe{Subscriptions: []paho5.SubscribeOptions{{Topic: filter, QoS: qos}}})
	return err
}

func (f five) publish(topic, payload string, qos byte, retain bool) error {
	_, err := f.Publish(context.Background(), &paho5.Publish{Topic: topic, Payload: []byte(payload), QoS: qos, Retain: retain})
	return err
}

func (f five) cut() { _ = f.conn.Close() }

// three is paho.mqtt.golang: MQTT 3.1.1.
type three struct {
	paho3.Client
	conn *net.Conn
}

func connectPaho3(t *testing.T, g target, door, id, will string, got chan<- string) client {
	var conn net.Conn
	o := paho3.NewClientOptions().AddBroker(g.url).SetClientID(id).SetUsername(g.user).SetPassword(g.pass).SetProtocolVersion(4).
		SetAutoReconnect(false).SetOrderMatters(true).SetConnectTimeout(patience)
	o.SetCustomOpenConnectionFn(func(*url.URL, paho3.ClientOptions) (_ net.Conn, err error) {
		if door == "websocket" {
			conn, err = paho3.NewWebsocket(g.url, nil, patience, nil, nil)
		} else {
			conn, err = g.doors[door]()
		}
		return conn, err
	})
	o.SetDefaultPublishHandler(func(_ paho3.Client, m paho3.Message) { got <- message(m.Topic(), m.Payload(), m.Qos(), m.Retained()) })
	if will != "" {
		o.SetWill(will, "gone", 0, false)
	}
	c := paho3.NewClient(o)
	if err := done(c.Connect()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Disconnect(100) })
	return three{c, &conn}
}

func done(token paho3.Token) error {
	if !token.WaitTimeout(patience) {
		return fmt.Errorf("nothing within %s", patience)
	}
	return token.Error()
}

func (c three) subscribe(filter string, qos byte) error { return done(c.Subscribe(filter, qos, nil)) }

func (c three) publish(topic, payload string, qos byte, retain bool) error {
	return done(c.Publish(topic, qos, retain, payload))
}

func (c three) cut() { _ = (*c.conn).Close() }

//go:embed client.py
var pythonClient string

// The same with Debian's python3-paho-mqtt.
func TestPythonClient(t *testing.T) {
	t.Parallel()
	sshdtest.NeedTools(t, "python3")
	g := wholeHub(t)
	for _, version := range []string{"3", "4", "5"} {
		for door, address := range map[string]string{"tcp": h(g, "tcp"), "websockets": h(g, "websocket")} {
			t.Run(version+"/"+door, func(t *testing.T) {
				t.Parallel()
				cmd := exec.CommandContext(t.Context(), "/usr/bin/python3", "-c", pythonClient, version, door, address, g.user, g.pass, fmt.Sprintf("u%d", runs.Add(1)))
				if out, err := cmd.CombinedOutput(); err != nil || !strings.HasSuffix(string(out), "all done\n") {
					t.Errorf("%v\n%s", err, out)
				}
			})
		}
	}
}

// h is the address of a door.
func h(g *hub, door string) string {
	if door == "tcp" {
		return g.raw
	}
	u, err := url.Parse(g.url)
	if err != nil {
		panic(err) // our own
	}
	return u.Host
}
