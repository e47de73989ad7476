package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/sshdtest"
	"github.com/aditdev/adit/internal/wire"
)

// A running hub lets in who commands beside it made a credential for, and sends them away when that is removed.
func TestMQTTCredentials(t *testing.T) {
	t.Parallel()
	environ := append(production(t.TempDir()), fmt.Sprintf("ADIT_MQTT_ADDR=127.0.0.1:%d", freePort(t)))
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
	if took := time.Since(began); took > 2*time.Second {
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
