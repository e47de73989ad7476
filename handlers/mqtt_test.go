package handlers

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/aditdev/adit/internal/devices"
	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/sshdtest"
	"github.com/aditdev/adit/internal/store"
)

// mqttSocket opens the WebSocket door.
func (r *rig) mqttSocket(subprotocols []string, headers ...string) (*websocket.Conn, *http.Response, error) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	h := http.Header{}
	for i := 0; i+1 < len(headers); i += 2 {
		h.Set(headers[i], headers[i+1])
	}
	ws, res, err := websocket.Dial(ctx, r.url+"/mqtt", &websocket.DialOptions{Subprotocols: subprotocols, HTTPHeader: h})
	if err == nil {
		r.t.Cleanup(func() { _ = ws.CloseNow() })
	}
	return ws, res, err
}

// speak connects an MQTT client over WebSocket; what it receives comes on the channel.
func (r *rig) speak(o mqtt.Options) (*mqtt.Client, <-chan mqtt.Message, error) {
	r.t.Helper()
	ws, _, err := r.mqttSocket([]string{"mqtt"})
	r.must(err)
	return r.speakOn(websocket.NetConn(context.Background(), ws, websocket.MessageBinary), o)
}

func (r *rig) speakOn(conn net.Conn, o mqtt.Options) (*mqtt.Client, <-chan mqtt.Message, error) {
	r.t.Helper()
	got := make(chan mqtt.Message, 1000)
	o.OnPublish = func(p *mqtt.Publish, ack func()) { got <- p.Message(); ack() }
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	c, err := mqtt.NewClient(ctx, conn, o)
	if err == nil {
		r.t.Cleanup(func() { _ = c.Close() })
	}
	return c, got, err
}

// as speaks as a person, by a token of theirs.
func (r *rig) as(name string) (*mqtt.Client, <-chan mqtt.Message) {
	r.t.Helper()
	var token MQTTToken
	r.call(name, "POST", v1("mqtt/tokens"), nil, 201, &token)
	c, got, err := r.speak(mqtt.Options{ClientID: name, Username: token.Username, Password: token.Password, Clean: true})
	r.must(err)
	return c, got
}

func (r *rig) subscribe(c *mqtt.Client, filter string) mqtt.ReasonCode {
	r.t.Helper()
	codes, err := c.Subscribe(r.t.Context(), mqtt.Subscription{Filter: filter, QoS: 1})
	r.must(err)
	return codes[0]
}

// grantMQTT lets the operator of kitchen use its target mqtt.
func (r *rig) grantMQTT() store.Grant {
	r.t.Helper()
	g, err := r.Devices.AddGrant(r.t.Context(), "test", devices.Grant{User: r.users["operator"], Device: r.device["kitchen"].ID, Targets: []string{"mqtt"}})
	r.must(err)
	return g
}

// The door takes WebSockets of subprotocol mqtt, from programs and from the hub's own pages, and signs nobody in by cookie.
func TestMQTTDoor(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for name, test := range map[string]struct {
		headers []string
		status  int
	}{
		"a program":               {nil, 101},
		"the hub's own page":      {[]string{"Origin", r.url}, 101},
		"another site's page":     {[]string{"Origin", "https://evil.example"}, 403},
		"a page of another port":  {[]string{"Origin", "http://127.0.0.1:1"}, 403},
		"a sandboxed page":        {[]string{"Origin", "null"}, 403},
		"a cookie without Origin": {[]string{"Cookie", cookieName + "=x"}, 403},
	} {
		_, res, err := r.mqttSocket([]string{"mqtt"}, test.headers...)
		if res == nil || res.StatusCode != test.status {
			t.Errorf("%s: %v %v", name, res, err)
		}
	}
	if got := r.do("", "GET", "/mqtt", nil); got.status != 426 || got.header.Get("Upgrade") != "websocket" {
		t.Errorf("without an upgrade: %d %s", got.status, got.body)
	}
	ws, _, err := r.mqttSocket(nil)
	r.must(err)
	if _, _, err := ws.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
		t.Errorf("without a subprotocol: %v", err)
	}
	cookie := []string{"Origin", r.url, "Cookie", r.session("admin")}
	ws, _, err = r.mqttSocket([]string{"mqttv3.1", "mqtt"}, cookie...)
	r.must(err)
	if _, _, err := r.speakOn(websocket.NetConn(context.Background(), ws, websocket.MessageBinary), mqtt.Options{ClientID: "x", Clean: true}); !refused(err, mqtt.BadUserNameOrPassword) {
		t.Errorf("by cookie: %v", err)
	}
	for name, o := range map[string]mqtt.Options{"nobody": {}, "a stranger": {Username: "who", Password: "knows"}, "an API token": {Username: "admin", Password: r.tokens["admin"]}} {
		o.ClientID, o.Clean = "x", true
		if _, _, err := r.speak(o); !refused(err, mqtt.BadUserNameOrPassword) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func refused(err error, code mqtt.ReasonCode) bool {
	e, ok := errors.AsType[*mqtt.Error](err)
	return ok && e.Code == code
}

// People speak of what their role gives them, and no longer than their sign-in and grants do (rule 17).
func TestPeopleSpeakMQTT(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	grant := r.grantMQTT()
	kitchen, cmds, err := r.speakOn(r.carrier("kitchen"), mqtt.Options{ClientID: "agent", Clean: true})
	r.must(err)
	if code := r.subscribe(kitchen, "cmds/kitchen/#"); code != 1 {
		t.Fatal(code)
	}
	if code := r.subscribe(kitchen, "cmds/+/#"); code != mqtt.NotAuthorized {
		t.Errorf("a device reads everybody's commands: %v", code)
	}
	operator, reports := r.as("operator")
	other, _ := r.as("other")
	viewer, seen := r.as("viewer")
	for _, test := range []struct {
		who    *mqtt.Client
		filter string
		want   mqtt.ReasonCode
	}{
		{operator, "devices/kitchen/#", 1}, {operator, "$share/g/devices/kitchen/#", 1}, {operator, "devices/#", mqtt.NotAuthorized},
		{other, "devices/kitchen/#", mqtt.NotAuthorized}, {other, "$share/g/devices/kitchen/#", mqtt.NotAuthorized},
		{viewer, "devices/kitchen/+", 1}, {viewer, "cmds/kitchen/#", mqtt.NotAuthorized}, {viewer, "$SYS/#", mqtt.NotAuthorized},
	} {
		if got := r.subscribe(test.who, test.filter); got != test.want {
			t.Errorf("%s: %v", test.filter, got)
		}
	}
	r.must(kitchen.Publish(t.Context(), mqtt.Message{Topic: "devices/kitchen/temp", Payload: []byte("21"), QoS: 1}))
	r.awaitMessage(reports, "devices/kitchen/temp")
	r.awaitMessage(seen, "devices/kitchen/temp")
	r.must(operator.Publish(t.Context(), mqtt.Message{Topic: "cmds/kitchen/light", Payload: []byte("on"), QoS: 1}))
	r.awaitMessage(cmds, "cmds/kitchen/light")
	for topic, who := range map[string]*mqtt.Client{"devices/kitchen/temp": operator, "cmds/kitchen/x": viewer, "cmds/shed/x": kitchen, "devices/shed/x": kitchen} {
		if err := who.Publish(t.Context(), mqtt.Message{Topic: topic, QoS: 1}); !refused(err, mqtt.NotAuthorized) {
			t.Errorf("%s: %v", topic, err)
		}
	}
	// Without the grant nothing is delivered any more; without the token the connection ends.
	r.must(r.Devices.RemoveGrant(t.Context(), "test", grant.ID))
	r.must(kitchen.Publish(t.Context(), mqtt.Message{Topic: "devices/kitchen/temp", QoS: 1}))
	r.awaitMessage(seen, "devices/kitchen/temp")
	began := time.Now()
	r.must(r.Accounts.RevokeToken(t.Context(), r.principal("operator"), r.tokenID("operator")))
	<-operator.Done()
	if took := time.Since(began); took > promptly {
		t.Errorf("it ended after %v", took)
	}
	if len(reports) != 0 {
		t.Errorf("%+v came after the grant was gone", <-reports)
	}
}

// tokenID is the id of somebody's own API token.
func (r *rig) tokenID(name string) string {
	r.t.Helper()
	p, err := r.Accounts.ByToken(r.t.Context(), r.tokens[name])
	r.must(err)
	return p.Credential
}

// carrier is a connection of a device's agent to the broker.
func (r *rig) carrier(name string) net.Conn {
	r.t.Helper()
	conn, err := r.connect(name).MQTT(r.t.Context())
	r.must(err)
	return conn
}

func (r *rig) awaitMessage(from <-chan mqtt.Message, topic string) mqtt.Message {
	r.t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case m := <-from:
			if m.Topic == topic {
				return m
			}
		case <-deadline:
			r.t.Fatalf("no message of %s", topic)
		}
	}
}

// Credentials that the API makes serve mosquitto_pub and mosquitto_sub on ADIT_MQTT_ADDR; a rule opens what they have not.
func TestMosquittoClients(t *testing.T) {
	t.Parallel()
	sshdtest.NeedTools(t, "mosquitto_pub", "mosquitto_sub")
	r := newRig(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	r.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	listening := make(chan error, 1)
	go func() { listening <- r.MQTT.Listen(ctx, l) }()
	t.Cleanup(func() { cancel(); <-listening })
	_, port, _ := net.SplitHostPort(l.Addr().String())
	var thing, app NewMQTTCredential
	r.call("admin", "POST", v1("mqtt/credentials"), object{"kind": "thing", "device": "kitchen", "thing": "oven"}, 201, &thing)
	r.call("admin", "POST", v1("mqtt/credentials"), object{"kind": "application", "username": "nodered"}, 201, &app)
	r.call("admin", "POST", v1("mqtt/rules"), object{"subject": "credential:nodered", "access": "read", "filter": "devices/+/+/temp"}, 201, nil)
	for _, version := range []string{"mqttv31", "mqttv311", "mqttv5"} {
		args := func(c NewMQTTCredential, more ...string) []string {
			return append([]string{"-p", port, "-V", version, "-u", c.Credential.Username, "-P", c.Password}, more...)
		}
		sub := exec.Command("mosquitto_sub", args(app, "-t", "devices/+/+/temp", "-q", "2", "-C", "1", "-W", "60")...)
		var out bytes.Buffer
		sub.Stdout, sub.Stderr = &out, &out
		subscribed := func() bool {
			return slices.ContainsFunc(r.MQTT.Backend.Clients(), func(c messaging.Client) bool { return len(c.Subscriptions) > 0 })
		}
		r.becomes(func() bool { return !subscribed() }) // the one before is gone
		r.must(sub.Start())
		r.becomes(subscribed)
		if text, err := exec.Command("mosquitto_pub", args(thing, "-t", "devices/kitchen/oven/temp", "-m", "180", "-q", "2")...).CombinedOutput(); err != nil {
			t.Errorf("%s: %v %s", version, err, text)
		}
		if err := sub.Wait(); err != nil || out.String() != "180\n" {
			t.Errorf("%s: %v %s", version, err, out.String())
		}
	}
	text, err := exec.Command("mosquitto_pub", "-p", port, "-V", "mqttv5", "-u", "nodered", "-P", "wrong", "-t", "a", "-m", "x").CombinedOutput()
	if err == nil || !strings.Contains(strings.ToLower(string(text)), "not authori") && !strings.Contains(strings.ToLower(string(text)), "password") {
		t.Errorf("a wrong password: %v %s", err, text)
	}
	r.call("admin", "DELETE", v1("mqtt/credentials/%s", app.Credential.ID), nil, 204, nil)
	var rules []MQTTRule
	r.call("admin", "GET", v1("mqtt/rules"), nil, 200, &rules)
	for _, rule := range rules {
		if !rule.Builtin {
			t.Errorf("the rule of a credential that is gone stays: %+v", rule)
		}
	}
	events := r.listen("admin", "0")
	for _, event := range []string{"event: mqtt.credential_added", "event: mqtt.rule_added", "event: mqtt.credential_removed"} {
		r.await(events, event)
	}
}

// becomes waits for what must become so.
func (r *rig) becomes(is func() bool) {
	r.t.Helper()
	deadline := time.After(patience)
	for tick := time.NewTicker(10 * time.Millisecond); !is(); {
		select {
		case <-tick.C:
		case <-deadline:
			r.t.Fatal("it does not become so")
		}
	}
}

// tap opens the stream of messages and gives its lines.
func (r *rig) tap(as, query string) <-chan string {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url+v1("mqtt/tap?")+query, nil)
	r.must(err)
	req.Header.Set("Authorization", "Bearer "+r.tokens[as])
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	r.must(err)
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "text/event-stream" {
		body, _ := io.ReadAll(res.Body)
		r.t.Fatalf("%s %s", res.Status, body)
	}
	lines, done := make(chan string, 10_000), make(chan struct{})
	go func() {
		defer close(done)
		defer close(lines)
		s := bufio.NewScanner(res.Body)
		s.Buffer(nil, 8<<20)
		for s.Scan() {
			lines <- s.Text()
		}
	}()
	r.t.Cleanup(func() { cancel(); res.Body.Close(); <-done })
	return lines
}

// awaitFrame gives the next message of a topic that a tap shows.
func (r *rig) awaitFrame(lines <-chan string, topic string) MQTTMessage {
	r.t.Helper()
	for {
		line, ok := r.await(lines, "data: ")
		if !ok {
			r.t.Fatalf("the tap ended before %s", topic)
		}
		var f MQTTFrame
		r.must(json.Unmarshal([]byte(strings.TrimPrefix(line, "data: ")), &f))
		for _, m := range f.Messages {
			if m.Topic == topic {
				return m
			}
		}
	}
}

func TestMQTTTap(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	grant := r.grantMQTT()
	publish := func(body object) { t.Helper(); r.call("admin", "POST", v1("mqtt/publish"), body, 200, nil) }
	publish(object{"topic": "devices/kitchen/kept", "payload": "1", "retain": true, "qos": 1})
	publish(object{"topic": "devices/shed/kept", "payload": "1", "retain": true, "qos": 1})
	lines := r.tap("operator", "filter="+url.QueryEscape("#"))
	if m := r.awaitFrame(lines, "devices/kitchen/kept"); m.PayloadBase64 != "MQ==" || !m.Retain || value(m.From) != "admin" || m.Bytes != 1 {
		t.Errorf("%+v", m)
	}
	big := base64.StdEncoding.EncodeToString(make([]byte, 1_000_000))
	publish(object{"topic": "devices/shed/x", "payload": "secret"})
	publish(object{"topic": "devices/kitchen/big", "payload_base64": big, "qos": 2, "content_type": "application/octet-stream", "expiry_seconds": 60,
		"user_properties": []object{{"name": "a", "value": "b"}}, "correlation_base64": "AQI=", "response_topic": "devices/kitchen/r"})
	m := r.awaitFrame(lines, "devices/kitchen/big")
	if m.Bytes != 1_000_000 || base64.StdEncoding.DecodedLen(len(m.PayloadBase64)) < 4096 || len(m.PayloadBase64) > 5500 || m.Qos != 2 || value(m.ContentType) == "" ||
		m.ExpiresAt == nil || len(value(m.UserProperties)) != 1 || value(m.CorrelationBase64) != "AQI=" || value(m.ResponseTopic) != "devices/kitchen/r" {
		t.Errorf("%.300v", m)
	}
	// What the grant no longer gives is not shown, and the stream ends with the sign-in.
	r.must(r.Devices.RemoveGrant(t.Context(), "test", grant.ID))
	publish(object{"topic": "devices/kitchen/later", "payload": "x"})
	r.must(r.Accounts.RevokeToken(t.Context(), r.principal("operator"), r.tokenID("operator")))
	for line := range lines {
		if strings.Contains(line, "shed") || strings.Contains(line, "later") {
			t.Errorf("it shows %.200s", line)
		}
	}
	if got := r.do("admin", "GET", v1("mqtt/tap?filter=a%%2F%%23%%2Fb"), nil); got.status != 400 {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := r.do("operator", "GET", v1("mqtt/tap?device=kitchen"), nil); got.status != 401 {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := r.do("viewer", "GET", v1("mqtt/tap?device=kitchen"), nil); got.status != 403 {
		t.Errorf("%d %s", got.status, got.body)
	}
	problem := r.tap("admin", "device=kitchen")
	r.await(problem, "event: problem")
	if line, _ := r.await(problem, "data: "); !strings.Contains(line, `"code":"offline"`) {
		t.Errorf("%s", line)
	}
}

// A request reaches the device and its answer comes back; who is away and who says nothing are told apart.
func TestMQTTRequest(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ask := object{"topic": "cmds/kitchen/reboot", "payload": "now", "qos": 1, "wait_seconds": 30}
	if got := r.do("admin", "POST", v1("mqtt/publish"), ask); got.status != 503 || got.problem(t).Code != "offline" {
		t.Errorf("nobody listens: %d %s", got.status, got.body)
	}
	kitchen, cmds, err := r.speakOn(r.carrier("kitchen"), mqtt.Options{ClientID: "agent", Clean: true})
	r.must(err)
	r.subscribe(kitchen, "cmds/kitchen/#")
	answered := make(chan error, 1)
	go func() {
		q := <-cmds
		if err := kitchen.Publish(context.Background(), mqtt.Message{Topic: "replies/h/another", QoS: 1}); !refused(err, mqtt.NotAuthorized) {
			answered <- errors.Join(errors.New("another reply topic is open"), err)
			return
		}
		answered <- kitchen.Publish(context.Background(), mqtt.Message{Topic: q.ResponseTopic, Correlation: q.Correlation, Payload: []byte("in 5 s"),
			QoS: 1, ContentType: "text/plain"})
	}()
	var got MQTTPublished
	r.call("admin", "POST", v1("mqtt/publish"), ask, 200, &got)
	r.must(<-answered)
	if got.Reply == nil || got.Reply.PayloadBase64 != base64.StdEncoding.EncodeToString([]byte("in 5 s")) || value(got.Reply.From) != "kitchen" ||
		value(got.Reply.ContentType) != "text/plain" || got.TookMs == nil {
		t.Errorf("%+v", got)
	}
	ask["wait_seconds"] = 0.2
	if silent := r.do("admin", "POST", v1("mqtt/publish"), ask); silent.status != 504 || silent.problem(t).Code != "offline" {
		t.Errorf("nobody answers: %d %s", silent.status, silent.body)
	}
	for name, body := range map[string]object{
		"qos": {"topic": "a", "qos": 3}, "wait": {"topic": "a", "wait_seconds": 31}, "expiry": {"topic": "a", "expiry_seconds": 0},
		"two payloads": {"topic": "a", "payload": "x", "payload_base64": "eA=="}, "no base64": {"topic": "a", "payload_base64": "%"},
		"wildcard": {"topic": "a/#"}, "topic": {"topic": strings.Repeat("a", 300)}, "property": {"topic": "a", "user_properties": []object{{"name": "\x00", "value": ""}}},
	} {
		if got := r.do("admin", "POST", v1("mqtt/publish"), body); got.status != 400 {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	if got := r.do("admin", "POST", v1("mqtt/publish"), object{"topic": "a", "payload": strings.Repeat("a", 1<<20)}); got.status != 413 {
		t.Errorf("a large payload: %d %s", got.status, got.body)
	}
	if got := r.do("admin", "POST", v1("mqtt/publish"), object{"topic": "a", "payload": strings.Repeat("a", 3<<20)}); got.status != 413 {
		t.Errorf("a large body: %d %s", got.status, got.body)
	}
}

func TestMQTTRetained(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.grantMQTT()
	for _, topic := range []string{"devices/kitchen/a", "devices/kitchen/b", "devices/shed/a", "cmds/kitchen/c"} {
		r.call("admin", "POST", v1("mqtt/publish"), object{"topic": topic, "payload": "x", "retain": true, "qos": 1}, 200, nil)
	}
	list := func(as, query string) (out MQTTRetained) {
		t.Helper()
		r.call(as, "GET", v1("mqtt/retained")+query, nil, 200, &out)
		return out
	}
	if got := list("admin", ""); got.Total != 4 || got.TotalBytes != 4 || got.More || got.Messages[0].Topic != "cmds/kitchen/c" {
		t.Errorf("%+v", got)
	}
	if got := list("admin", "?limit=1&after=devices/kitchen/a&filter=devices/%2B/%2B"); len(got.Messages) != 1 || got.Messages[0].Topic != "devices/kitchen/b" || !got.More {
		t.Errorf("%+v", got)
	}
	if got := list("operator", ""); got.Total != 3 {
		t.Errorf("%+v", got)
	}
	clear := func(as string, body object, status int) (out MQTTCleared) {
		t.Helper()
		r.call(as, "POST", v1("mqtt/retained/clear"), body, status, &out)
		return out
	}
	if got := clear("operator", object{"filter": "#", "dry_run": true}, 200); got.Count != 1 || got.Topics[0] != "cmds/kitchen/c" {
		t.Errorf("an operator clears %+v", got)
	}
	if got := clear("admin", object{"filter": "devices/kitchen/#", "dry_run": true}, 200); got.Count != 2 || list("admin", "").Total != 4 {
		t.Errorf("%+v", got)
	}
	r.call("admin", "POST", v1("mqtt/retained/clear"), object{"filter": "devices/kitchen/#", "expect": 3}, 409, nil)
	// A device's retained messages follow its name, and go with it.
	r.call("admin", "PATCH", v1("devices/kitchen"), object{"name": "hall"}, 200, nil)
	if got := list("admin", "?filter=devices/hall/%23"); got.Total != 2 || list("admin", "").Total != 4 {
		t.Errorf("%+v", got)
	}
	if got := clear("admin", object{"filter": "devices/hall/#", "expect": 2}, 200); got.Count != 2 || list("admin", "").Total != 2 {
		t.Errorf("%+v", got)
	}
	r.call("admin", "DELETE", v1("devices/hall"), nil, 204, nil)
	if got := list("admin", ""); got.Total != 1 || got.Messages[0].Topic != "devices/shed/a" {
		t.Errorf("%+v", got)
	}
	r.await(r.listen("admin", "0"), "event: mqtt.cleared")
}

func TestMQTTClientsAndStatus(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.grantMQTT()
	oven, _, err := r.speakOn(r.carrier("kitchen"), mqtt.Options{ClientID: "homeassistant", Username: "oven", Clean: true})
	r.must(err)
	r.subscribe(oven, "cmds/kitchen/oven/#")
	r.as("admin")
	var status MQTTStatus
	r.call("viewer", "GET", v1("mqtt"), nil, 200, &status)
	if status.Backend != "embedded" || !status.Connected || status.Clients != 2 || status.Address != nil {
		t.Errorf("%+v", status)
	}
	clients := func(as string) (list []MQTTClient) {
		t.Helper()
		r.call(as, "GET", v1("mqtt/clients"), nil, 200, &list)
		return list
	}
	if n := len(clients("admin")); n != 2 {
		t.Errorf("an admin sees %d", n)
	}
	if list := clients("other"); len(list) != 0 {
		t.Errorf("%+v", list)
	}
	list := clients("viewer")
	if len(list) != 1 || list[0].ClientID != "homeassistant" || list[0].Principal.Name != "kitchen/oven" || list[0].Door != "carrier" || list[0].Version != "5.0" ||
		len(list[0].Subscriptions) != 1 {
		t.Fatalf("%+v", list)
	}
	var device DeviceMQTT
	r.must(oven.Publish(t.Context(), mqtt.Message{Topic: "devices/kitchen/oven/temp", Payload: []byte("180"), QoS: 1}))
	r.call("viewer", "GET", v1("devices/kitchen/mqtt"), nil, 200, &device)
	if len(device.Clients) != 1 || device.Agent != nil || !strings.Contains(value(device.AgentProblem), "older") ||
		!strings.Contains(device.MosquittoConf, "devices/kitchen/") || !strings.Contains(device.AgentToml, "cmds/kitchen/") {
		t.Errorf("%+v", device)
	}
	r.becomes(func() bool { // the hub's own tap runs beside the broker
		r.call("viewer", "GET", v1("devices/kitchen/mqtt"), nil, 200, &device)
		return len(device.Topics) > 0
	})
	if m := device.Topics[0]; m.Topic != "devices/kitchen/oven/temp" || value(m.From) != "kitchen/oven" {
		t.Errorf("%+v", m)
	}
	r.call("admin", "DELETE", v1("mqtt/clients/%s", list[0].ID), nil, 204, nil)
	<-oven.Done()
	r.await(r.listen("admin", "0"), "event: mqtt.kicked")
}

func TestMQTTTemplatesAndImport(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	message := object{"topic": "cmds/kitchen/x", "payload": "on", "qos": 1}
	var saved MQTTTemplate
	r.call("viewer", "POST", v1("mqtt/templates"), object{"name": "on", "message": message}, 201, &saved)
	var list []MQTTTemplate
	r.call("viewer", "GET", v1("mqtt/templates"), nil, 200, &list)
	if len(list) != 1 || list[0].Message.Topic != "cmds/kitchen/x" || value(list[0].Message.Qos) != 1 {
		t.Errorf("%+v", list)
	}
	r.call("admin", "DELETE", v1("mqtt/templates/%s", saved.ID), nil, 404, nil)
	r.call("viewer", "DELETE", v1("mqtt/templates/%s", saved.ID), nil, 204, nil)
	r.call("viewer", "POST", v1("mqtt/templates"), object{"name": "bad", "message": object{"topic": "a", "qos": 7}}, 400, nil)

	var done MQTTImported
	lines := strings.Repeat("pattern read public/#\n", 20_000) // larger than other bodies may be
	r.call("admin", "POST", v1("mqtt/import"), object{"acl_file": lines, "dry_run": true}, 200, &done)
	if done.Rules != 1 || len(done.Problems) != 0 {
		t.Errorf("%+v", done)
	}
	r.call("admin", "POST", v1("mqtt/import"), object{"password_file": "x", "acl_file": "topic a\n"}, 200, &done)
	if len(done.Problems) != 2 || done.Problems[0].File != "password_file" || done.Problems[1].Line != 1 {
		t.Errorf("%+v", done)
	}
	r.call("viewer", "POST", v1("mqtt/credentials"), object{"kind": "user", "expires_in": "soon"}, 400, nil)
	r.call("viewer", "POST", v1("mqtt/credentials"), object{"kind": "application"}, 403, nil)
}

// Proxies forget WebSockets that are silent for a minute, and MQTT's own keep-alive may be an hour.
func TestMQTTDoorIsPinged(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	pinged := make(chan struct{}, 1)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, r.url+"/mqtt", &websocket.DialOptions{Subprotocols: []string{"mqtt"}, OnPingReceived: func(context.Context, []byte) bool {
		select {
		case pinged <- struct{}{}:
		default:
		}
		return true
	}})
	r.must(err)
	defer ws.CloseNow()
	var token MQTTToken
	r.call("admin", "POST", v1("mqtt/tokens"), nil, 201, &token)
	_, _, err = r.speakOn(websocket.NetConn(context.Background(), ws, websocket.MessageBinary), mqtt.Options{ClientID: "x", Clean: true,
		Username: token.Username, Password: token.Password, KeepAlive: time.Hour})
	r.must(err)
	select {
	case <-pinged:
	case <-ctx.Done():
		t.Error("no ping")
	}
}
