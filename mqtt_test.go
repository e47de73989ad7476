package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/agent"
	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/porttest"
	"github.com/aditdev/adit/internal/sshdtest"
	"github.com/aditdev/adit/internal/storetest"
	"github.com/aditdev/adit/internal/wire"
)

// A running hub lets in who commands beside it made a credential for, and sends them away when that is removed.
func TestMQTTCredentials(t *testing.T) {
	t.Parallel()
	environ := append(production(storetest.Dir(t)), "ADIT_MQTT_ADDR="+porttest.Address(t))
	hub := serve(t, environ)
	must(t, environ, "", "user", "create", "--email", "olivia@example.com", "--role", "owner")
	var made struct{ ID, Username, Password, Principal string }
	text := must(t, environ, "", "mqtt", "credential", "create", "--kind", "user", "--user", "olivia", "--json")
	if err := json.Unmarshal([]byte(text), &made); err != nil || made.Principal != "olivia" {
		t.Fatalf("%v %s", err, text)
	}
	address := strings.TrimPrefix(environ[len(environ)-1], "ADIT_MQTT_ADDR=")
	client := speak(t, address, made.Username, made.Password)
	if err := client.Publish(t.Context(), mqtt.Message{Topic: "a/kept", Payload: []byte("x"), QoS: 1, Retain: true}); err != nil {
		t.Fatal(err)
	}
	if list := must(t, environ, "", "mqtt", "credential", "list"); !strings.Contains(list, made.Username+": user olivia") {
		t.Errorf("%s", list)
	}
	began := time.Now()
	must(t, environ, "", "mqtt", "credential", "remove", made.Username)
	<-client.Done()
	if took := time.Since(began); took > promptly {
		t.Errorf("it ended after %v", took)
	}
	if status, _, _ := adithub(t, environ, "", "mqtt", "credential", "remove", made.ID); status != wire.NotFound.ExitCode() {
		t.Errorf("removed twice: %d", status)
	}
	// What was retained is there after a restart; whoever is connected is told goodbye.
	again := must(t, environ, "", "mqtt", "credential", "create", "--kind", "user", "--user", "olivia", "--json", "--expires", "1h")
	if err := json.Unmarshal([]byte(again), &made); err != nil {
		t.Fatal(err)
	}
	client = speak(t, address, made.Username, made.Password)
	if status := hub.stop(); status != 0 {
		t.Errorf("the hub ends with %d", status)
	}
	if e, ok := client.Err().(*mqtt.Error); !ok || e.Code != mqtt.ServerShuttingDown {
		t.Errorf("%v", client.Err())
	}
	serve(t, environ)
	got := make(chan string, 10)
	client = speakWith(t, address, mqtt.Options{Username: made.Username, Password: made.Password, OnPublish: func(p *mqtt.Publish, ack func()) {
		ack()
		got <- p.Topic
	}})
	if _, err := client.Subscribe(t.Context(), mqtt.Subscription{Filter: "a/#", QoS: 1}); err != nil {
		t.Fatal(err)
	}
	if topic := <-got; topic != "a/kept" {
		t.Errorf("%s", topic)
	}
}

// Who is not let in is in the event log, with who they said to be.
func TestMQTTRefusedIsAnEvent(t *testing.T) {
	t.Parallel()
	address := porttest.Address(t)
	environ := append(production(storetest.Dir(t)), "ADIT_MQTT_ADDR="+address)
	hub := serve(t, environ)
	must(t, environ, "", "user", "create", "--email", "olivia@example.com", "--role", "owner")
	owner := token(t, environ, "olivia")
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if client, err := mqtt.NewClient(t.Context(), conn, mqtt.Options{ClientID: "c1", Clean: true, Username: "stranger", Password: "guess"}); err == nil {
		_ = client.Close()
		t.Fatal("let in")
	}
	var page struct {
		Events []struct{ Data map[string]any }
	}
	soon(t, "the event", func() bool {
		return hub.call(owner, "GET", "/api/v1/events?type=mqtt.refused", nil, &page) == 200 && len(page.Events) == 1
	})
	want := "map[address:127.0.0.1 client_id:c1 count:1 name:stranger reason:This MQTT username and password do not belong together, or have expired. via:tcp]"
	if got := fmt.Sprint(page.Events[0].Data); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func speak(t *testing.T, address, username, password string) *mqtt.Client {
	t.Helper()
	return speakWith(t, address, mqtt.Options{Username: username, Password: password})
}

func speakWith(t *testing.T, address string, o mqtt.Options) *mqtt.Client {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	o.ClientID, o.Clean = "test", true
	client, err := mqtt.NewClient(t.Context(), conn, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func TestMQTTImport(t *testing.T) {
	t.Parallel()
	sshdtest.NeedTools(t, "mosquitto_passwd")
	dir := t.TempDir()
	environ := production(filepath.Join(dir, "data"))
	passwords, rules := filepath.Join(dir, "passwd"), filepath.Join(dir, "acl")
	if out, err := exec.Command("mosquitto_passwd", "-c", "-b", passwords, "alice", "secret").CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(rules, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("user alice\ntopic read a/#\ntopic look b\n")
	status, stdout, stderr := adithub(t, environ, "", "mqtt", "import", "--password-file", passwords, "--acl-file", rules)
	if status != wire.Invalid.ExitCode() || !strings.HasPrefix(stdout, rules+":3: ") || !strings.Contains(stderr, "nothing was") {
		t.Errorf("%d %s %s", status, stdout, stderr)
	}
	write("user alice\ntopic read a/#\n")
	if out := must(t, environ, "", "mqtt", "import", "--password-file", passwords, "--acl-file", rules, "--dry-run"); out != "1 credentials and 1 rules to be taken over.\n" {
		t.Errorf("%q", out)
	}
	if out := must(t, environ, "", "mqtt", "credential", "list"); out != "" {
		t.Errorf("a dry run wrote %q", out)
	}
	var done struct{ Credentials, Rules int }
	if err := json.Unmarshal([]byte(must(t, environ, "", "mqtt", "import", "--password-file", passwords, "--acl-file", rules, "--json")), &done); err != nil ||
		done.Credentials != 1 || done.Rules != 1 {
		t.Errorf("%v %+v", err, done)
	}
	for _, args := range [][]string{{"mqtt", "import"}, {"mqtt", "import", "--acl-file", filepath.Join(dir, "none")}, {"mqtt", "credential", "create", "--kind", "boss"}} {
		if status, _, _ := adithub(t, environ, "", args...); status != wire.Invalid.ExitCode() {
			t.Errorf("%v: %d", args, status)
		}
	}
}

// gateway is a device whose agent serves MQTT on a loopback port; it gives the port's address.
func (s *site) gateway(name string) (address string) {
	s.t.Helper()
	var made struct{ Code string }
	if status := s.call(s.owner, "POST", "/api/v1/install-codes", map[string]any{"name": name}, &made); status != 201 {
		s.t.Fatal(status)
	}
	paths := agent.PathsIn(s.t.TempDir())
	if _, _, err := agent.Enroll(s.t.Context(), paths, agent.Enrolment{Hub: s.localhost(), Code: made.Code}); err != nil {
		s.t.Fatal(err)
	}
	address = porttest.Address(s.t)
	config, err := os.ReadFile(paths.Config())
	if err != nil {
		s.t.Fatal(err)
	}
	config = fmt.Appendf(config, "\n[mqtt]\nlisten = %q\n", address)
	if err := os.WriteFile(paths.Config(), config, 0o600); err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- agent.Run(ctx, paths, io.Discard) }()
	s.t.Cleanup(func() { cancel(); <-ended })
	within(s.t, patience, "the device is online", func() bool { return s.online(name) })
	return address
}

// deviceMQTT is what a device's page shows of its MQTT.
type deviceMQTT struct {
	Topics []struct {
		Topic         string
		PayloadBase64 string `json:"payload_base64"`
		Retain        bool
		From          string
	}
	Clients []struct{ Bridge bool }
	Agent   *struct {
		Listeners []struct{ Address string }
	}
	MosquittoConf string `json:"mosquitto_conf"`
}

func (d deviceMQTT) last(topic string) string {
	for _, m := range d.Topics {
		if m.Topic == topic {
			return m.PayloadBase64
		}
	}
	return ""
}

// What a device's page gives to paste bridges a real Mosquitto through a real agent: its messages reach the hub as the device's,
// commands come back, and its state shows.
func TestMosquittoBridgesThroughTheAgent(t *testing.T) {
	t.Parallel()
	sshdtest.NeedTools(t, "mosquitto", "mosquitto_pub", "mosquitto_sub")
	s := newSite(t)
	listener := s.gateway("kitchen")
	var page deviceMQTT
	look := func() deviceMQTT {
		page = deviceMQTT{}
		if status := s.call(s.owner, "GET", "/api/v1/devices/kitchen/mqtt", nil, &page); status != 200 {
			t.Fatal(status)
		}
		return page
	}
	if look(); page.Agent == nil || len(page.Agent.Listeners) != 1 || !strings.Contains(page.MosquittoConf, "address "+listener+"\n") {
		t.Fatalf("%+v", page)
	}
	port := fmt.Sprint(porttest.Free(t))
	file := filepath.Join(t.TempDir(), "mosquitto.conf")
	conf := "user root\nlistener " + port + " 127.0.0.1\nallow_anonymous true\n" + page.MosquittoConf
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	mosquitto := exec.Command("mosquitto", "-c", file)
	if err := mosquitto.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = mosquitto.Process.Kill(); _ = mosquitto.Wait() })
	within(t, patience, "the bridge's state", func() bool { return look().last("devices/kitchen/bridge/mosquitto-kitchen/state") == "MQ==" })
	if len(page.Clients) != 1 || !page.Clients[0].Bridge {
		t.Errorf("%+v", page.Clients)
	}
	if out, err := exec.Command("mosquitto_pub", "-p", port, "-q", "1", "-r", "-t", "sensors/temp", "-m", "21").CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	within(t, patience, "the message", func() bool { return look().last("devices/kitchen/sensors/temp") == "MjE=" })
	sub := exec.Command("mosquitto_sub", "-p", port, "-t", "cmds/#", "-v", "-C", "1", "-W", "60")
	var out strings.Builder
	sub.Stdout = &out
	if err := sub.Start(); err != nil {
		t.Fatal(err)
	}
	if status := s.call(s.owner, "POST", "/api/v1/mqtt/publish", map[string]any{"topic": "cmds/kitchen/light", "payload": "on", "qos": 1, "retain": true}, nil); status != 200 {
		t.Fatal(status)
	}
	if err := sub.Wait(); err != nil || out.String() != "cmds/light on\n" {
		t.Errorf("%v %q", err, out.String())
	}
}
