package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/mqtttest"
	"github.com/aditdev/adit/internal/porttest"
	"github.com/aditdev/adit/internal/storetest"
	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
)

// behind is a hub with a Mosquitto behind it, an owner alice and a device kitchen.
type behind struct {
	*running
	environ         []string
	address, owner  string
	user, password  string // alice's
	key             ed25519.PrivateKey
	device          string
	broker          *mqtttest.Broker
	kitchenPassword string
}

func newBehind(t *testing.T) *behind {
	t.Helper()
	b := &behind{broker: mqtttest.Behind(t, "."), address: porttest.Address(t)}
	b.environ = append(production(storetest.Dir(t)), "ADIT_MQTT_ADDR="+b.address, "ADIT_MQTT_BACKEND=mqtt://adit_hub:pw@"+b.broker.Address)
	b.running = serve(t, b.environ)
	must(t, b.environ, "", "user", "create", "--email", "alice@example.com", "--role", "owner")
	b.owner = token(t, b.environ, "alice")
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	b.key, b.device = key, enrolKey(t, b.running, b.owner, wire.EncodeKey(public))
	b.user, b.password = b.credential("--kind", "user", "--user", "alice")
	_, b.kitchenPassword = b.credential("--kind", "device", "--device", "kitchen", "--username", "k")
	b.connected()
	return b
}

func (b *behind) credential(args ...string) (username, password string) {
	b.t.Helper()
	var made struct{ Username, Password string }
	text := must(b.t, b.environ, "", append([]string{"mqtt", "credential", "create", "--json"}, args...)...)
	if err := json.Unmarshal([]byte(text), &made); err != nil {
		b.t.Fatal(err)
	}
	return made.Username, made.Password
}

// status is the broker as the API shows it.
func (b *behind) status() (s struct {
	Backend, Problem string
	Connected        bool
	Clients          int
}) {
	b.t.Helper()
	if status := b.call(b.owner, "GET", "/api/v1/mqtt", nil, &s); status != 200 {
		b.t.Fatal(status)
	}
	return s
}

func (b *behind) connected() {
	b.t.Helper()
	within(b.t, patience, "the hub is connected to the broker", func() bool { return b.status().Connected })
}

// pub runs mosquitto_pub at the hub's TCP door.
func (b *behind) pub(user, password string, args ...string) (string, error) {
	b.t.Helper()
	host, port, _ := net.SplitHostPort(b.address)
	out, err := exec.CommandContext(b.t.Context(), "mosquitto_pub", append([]string{"-h", host, "-p", port, "-u", user, "-P", password}, args...)...).CombinedOutput()
	return string(out), err
}

// speakOn connects over any connection; what comes is on the channel.
func (b *behind) speakOn(conn net.Conn, o mqtt.Options, filters ...string) (*mqtt.Client, chan mqtt.Message) {
	b.t.Helper()
	got := make(chan mqtt.Message, 100)
	o.Clean, o.OnPublish = true, func(p *mqtt.Publish, ack func()) { got <- p.Message(); ack() }
	c, err := mqtt.NewClient(b.t.Context(), conn, o)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = c.Close() })
	for _, f := range filters {
		if codes, err := c.Subscribe(b.t.Context(), mqtt.Subscription{Filter: f, QoS: 2}); err != nil || codes[0].Failed() {
			b.t.Fatal(codes, err)
		}
	}
	return c, got
}

// socket opens the WebSocket door.
func (b *behind) socket() net.Conn {
	b.t.Helper()
	ws, err := stream.Dialer{}.Dial(b.t.Context(), b.url+"/mqtt", nil, wire.SubprotocolMQTT)
	if err != nil {
		b.t.Fatal(err)
	}
	return ws.NetConn(context.Background())
}

// carrier is a connection of kitchen's agent for MQTT.
func (b *behind) carrier() net.Conn {
	b.t.Helper()
	ctx := b.t.Context()
	ws, err := stream.Dialer{}.Dial(ctx, b.url+wire.PathTunnel, nil, wire.SubprotocolTunnel)
	if err != nil {
		b.t.Fatal(err)
	}
	m, hello, err := ws.ReadMessage(ctx)
	if err != nil {
		b.t.Fatal(err)
	}
	auth, err := wire.Encode(wire.Auth{Purpose: wire.PurposeMQTT, Device: b.device, Host: "localhost:8080", Nonce: wire.NewID(),
		Instance: wire.Instance{Counter: 1, Random: "a"}, Carriers: []string{m.(wire.Hello).Nonce}, Clock: time.Now().UnixMilli()})
	if err != nil {
		b.t.Fatal(err)
	}
	if err := ws.WriteRaw(wire.AppendSignature(auth, ed25519.Sign(b.key, wire.AgentTranscript(hello, auth, "localhost:8080")))); err != nil {
		b.t.Fatal(err)
	}
	if _, _, err := ws.ReadMessage(ctx); err != nil {
		b.t.Fatal(err)
	}
	return ws.NetConn(context.Background())
}

func arrives(t *testing.T, got <-chan mqtt.Message, topic, payload string) {
	t.Helper()
	select {
	case m := <-got:
		if m.Topic != topic || string(m.Payload) != payload {
			t.Errorf("%s %s, want %s %s", m.Topic, m.Payload, topic, payload)
		}
	case <-time.After(patience):
		t.Fatalf("%s did not come", topic)
	}
}

// Every door leads to the broker behind, as who the hub knows it to be; and that broker's own list holds.
func TestExternalBroker(t *testing.T) {
	t.Parallel()
	b := newBehind(t)
	_, got := b.speakOn(b.socket(), mqtt.Options{ClientID: "page", Username: b.user, Password: b.password}, "devices/#")
	for _, version := range []string{"mqttv311", "mqttv5"} {
		for qos := range 3 {
			topic := fmt.Sprintf("devices/kitchen/%s/%d", version, qos)
			if out, err := b.pub("k", b.kitchenPassword, "-V", version, "-q", fmt.Sprint(qos), "-t", topic, "-m", "x"); err != nil {
				t.Fatal(err, out)
			}
			arrives(t, got, topic, "x")
		}
	}
	if out, err := b.pub("k", "guess", "-V", "5", "-t", "devices/kitchen/a", "-m", "x"); err == nil {
		t.Errorf("a wrong password passes: %s", out)
	}
	device, cmds := b.speakOn(b.carrier(), mqtt.Options{ClientID: "agent", Will: mqtt.NewPublish(mqtt.Message{Topic: "devices/kitchen/will", Payload: []byte("gone")})}, "cmds/kitchen/#")
	thing, _ := b.speakOn(b.carrier(), mqtt.Options{Version: mqtt.V311, ClientID: "agent", Username: "oven"})
	for c, topic := range map[*mqtt.Client]string{device: "devices/kitchen/a", thing: "devices/kitchen/oven/a"} {
		if err := c.Publish(t.Context(), mqtt.Message{Topic: topic, Payload: []byte("y"), QoS: 1}); err != nil {
			t.Fatal(err)
		}
		arrives(t, got, topic, "y")
	}
	if err := device.Publish(t.Context(), mqtt.Message{Topic: "devices/shed/a", QoS: 1}); err == nil {
		t.Error("kitchen writes to shed")
	}
	if status := b.call(b.owner, "POST", "/api/v1/mqtt/publish", map[string]any{"topic": "cmds/kitchen/go", "payload": "now", "qos": 1}, nil); status != 200 {
		t.Fatal(status)
	}
	arrives(t, cmds, "cmds/kitchen/go", "now")
	var clients []struct {
		ClientID  string `json:"client_id"`
		Door      string
		Principal struct{ Name string }
	}
	if status := b.call(b.owner, "GET", "/api/v1/mqtt/clients", nil, &clients); status != 200 || len(clients) != 3 || b.status().Backend != "external" {
		t.Errorf("%d %+v", status, clients)
	}
	_ = device.CloseWith(mqtt.DisconnectWithWill)
	arrives(t, got, "devices/kitchen/will", "gone")
}

// Rule 17: the removal of a device ends its connections to a broker behind the hub, by carrier and by credential.
func TestExternalBrokerRevocation(t *testing.T) {
	t.Parallel()
	b := newBehind(t)
	carrier, _ := b.speakOn(b.carrier(), mqtt.Options{ClientID: "agent"})
	plain := speak(t, b.address, "k", b.kitchenPassword)
	renamed := speak(t, b.address, b.user, b.password)
	if err := renamed.Publish(t.Context(), mqtt.Message{Topic: "devices/kitchen/kept", Payload: []byte("1"), QoS: 1, Retain: true}); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if status := b.call(b.owner, "PATCH", "/api/v1/devices/kitchen", map[string]any{"name": "galley"}, nil); status != 200 {
		t.Fatal(status)
	}
	for _, c := range []*mqtt.Client{carrier, plain} {
		<-c.Done()
	}
	if took := time.Since(began); took > promptly {
		t.Errorf("renamed after %s", took)
	}
	var list struct{ Messages []struct{ Topic string } }
	if status := b.call(b.owner, "GET", "/api/v1/mqtt/retained?filter="+url.QueryEscape("devices/#"), nil, &list); status != 200 || len(list.Messages) != 1 ||
		list.Messages[0].Topic != "devices/galley/kept" {
		t.Errorf("%d %+v", status, list)
	}
	plain = speak(t, b.address, "k", b.kitchenPassword)
	if err := plain.Publish(t.Context(), mqtt.Message{Topic: "devices/galley/a", QoS: 1}); err != nil {
		t.Error(err)
	}
	began = time.Now()
	if status := b.call(b.owner, "DELETE", "/api/v1/devices/galley", nil, nil); status != 204 {
		t.Fatal(status)
	}
	<-plain.Done()
	if took := time.Since(began); took > promptly {
		t.Errorf("removed after %s", took)
	}
	if e, ok := plain.Err().(*mqtt.Error); !ok || e.Code != mqtt.NotAuthorized {
		t.Error(plain.Err())
	}
}

// tap looks at messages as a page does; seen waits for a payload.
func (b *behind) tap(filter string) (seen func(payload string)) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 3*patience)
	b.t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, "GET", b.url+"/api/v1/mqtt/tap?filter="+url.QueryEscape(filter), nil)
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+b.owner)
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil || res.StatusCode != 200 {
		b.t.Fatal(res, err)
	}
	b.t.Cleanup(func() { _ = res.Body.Close() })
	frames := bufio.NewReader(res.Body)
	return func(payload string) {
		b.t.Helper()
		for line := ""; !strings.Contains(line, base64.StdEncoding.EncodeToString([]byte(payload))); {
			if line, err = frames.ReadString('\n'); err != nil {
				b.t.Fatal(err)
			}
		}
	}
}

// What pages do works on a broker behind the hub: looking, asking, listing and clearing; and they say when it is away.
func TestExternalBrokerConsole(t *testing.T) {
	t.Parallel()
	b := newBehind(t)
	seen := b.tap("a/#")
	send := func(m map[string]any, want int) (answer struct {
		Reply struct {
			Payload []byte `json:"payload_base64"`
		}
	}) {
		t.Helper()
		if status := b.call(b.owner, "POST", "/api/v1/mqtt/publish", m, &answer); status != want {
			t.Fatalf("%d", status)
		}
		return answer
	}
	send(map[string]any{"topic": "a/b", "payload": "seen-by-tap", "qos": 2, "retain": true}, 200)
	seen("seen-by-tap")
	device, asked := b.speakOn(b.carrier(), mqtt.Options{ClientID: "agent"}, "cmds/kitchen/#")
	go func() {
		m := <-asked
		_ = device.Publish(context.Background(), mqtt.Message{Topic: m.ResponseTopic, Correlation: m.Correlation, Payload: []byte("pong"), QoS: 1})
	}()
	if got := send(map[string]any{"topic": "cmds/kitchen/ping", "payload": "", "qos": 1, "wait_seconds": 10}, 200); string(got.Reply.Payload) != "pong" {
		t.Errorf("%+v", got)
	}
	var list struct {
		Total    int
		Messages []struct{ Topic string }
	}
	if status := b.call(b.owner, "GET", "/api/v1/mqtt/retained", nil, &list); status != 200 || list.Total != 1 || list.Messages[0].Topic != "a/b" {
		t.Errorf("%d %+v", status, list)
	}
	var cleared struct{ Count int }
	if status := b.call(b.owner, "POST", "/api/v1/mqtt/retained/clear", map[string]any{"filter": "a/#", "expect": 1}, &cleared); status != 200 || cleared.Count != 1 {
		t.Errorf("%d %+v", status, cleared)
	}
	if status := b.call(b.owner, "GET", "/api/v1/mqtt/retained", nil, &list); status != 200 || list.Total != 0 {
		t.Errorf("%d %+v", status, list)
	}
	b.broker.Kill()
	within(t, patience, "the hub says that the broker is away", func() bool { return b.status().Problem != "" })
	send(map[string]any{"topic": "a/b"}, 503)
	if out, err := b.pub("k", b.kitchenPassword, "-t", "devices/kitchen/a", "-m", "x"); err == nil || !strings.Contains(out, "unavailable") {
		t.Errorf("%v %s", err, out)
	}
	b.broker.Run()
	b.connected()
	send(map[string]any{"topic": "a/b", "payload": "seen-again", "qos": 1}, 200)
	seen("seen-again")
}

// Rule 9: a hub whose own name at the broker could be a device's does not start, and does not say its password.
func TestExternalBrokerNeedsANameOfItsOwn(t *testing.T) {
	t.Parallel()
	var said bytes.Buffer
	status := run(t.Context(), program{args: []string{"serve"}, environ: append(production(storetest.Dir(t)), "PORT=0", "ADIT_MQTT_BACKEND=mqtt://hub:geheim@127.0.0.1:1"),
		stdin: strings.NewReader(""), stdout: io.Discard, stderr: &said})
	if status == 0 || !strings.Contains(said.String(), "ADIT_MQTT_BACKEND") || strings.Contains(said.String(), "geheim") {
		t.Errorf("%d %s", status, &said)
	}
}

// The hub is the door to the broker behind: whoever must answer a hook and is not connected through it is away, and that is
// said at once and not when the wait is over.
func TestExternalBrokerKnowsWhoIsAway(t *testing.T) {
	t.Parallel()
	b := newBehind(t)
	var made struct{ Source struct{ Slug string } }
	if status := b.call(b.owner, "POST", "/api/v1/hooks/sources", map[string]any{"name": "door", "verify": map[string]any{"kind": "none"},
		"action": map[string]any{"kind": "publish", "topic": "cmds/kitchen/door"}}, &made); status != 201 {
		t.Fatal(status)
	}
	hook := func(wait string) int {
		answer, err := http.Post(b.url+"/hook/"+made.Source.Slug+"?wait="+wait, "text/plain", strings.NewReader("open"))
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		return answer.StatusCode
	}
	b.speakOn(b.socket(), mqtt.Options{ClientID: "page", Username: b.user, Password: b.password})
	began := time.Now()
	if status := hook("20s"); status != 503 || time.Since(began) > 15*time.Second {
		t.Errorf("%d after %v while the device is away", status, time.Since(began))
	}
	device, _ := b.speakOn(b.carrier(), mqtt.Options{ClientID: "agent"}, "cmds/kitchen/#")
	if status := hook("300ms"); status != 504 {
		t.Errorf("%d while it is there and says nothing", status)
	}
	_ = device.Close()
	within(t, patience, "the device is away again", func() bool { return b.status().Clients == 1 })
	if status := hook("20s"); status != 503 {
		t.Errorf("%d when it has gone", status)
	}
}
