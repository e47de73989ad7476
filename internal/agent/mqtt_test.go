package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aditdev/adit/internal/command"
	"github.com/aditdev/adit/internal/wire"
)

// agentCommand runs a command of the agent's with its directory and gives what it printed.
func agentCommand(t *testing.T, p Paths, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, notes bytes.Buffer
	err = Command().Run(context.Background(), append(args, "--dir", p.Dir), command.Stdio{In: strings.NewReader(stdin), Out: &out, Err: &notes})
	return out.String(), notes.String(), err
}

func TestMQTTUsersComeAndGo(t *testing.T) {
	p, _, _ := installed(t)
	text, err := os.ReadFile(p.Config())
	if err != nil {
		t.Fatal(err)
	}
	before := string(text) + "\n# mine\n[mqtt] # a comment\nlisten = \"127.0.0.1:1883\"\n"
	if err := os.WriteFile(p.Config(), []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	password, _, err := agentCommand(t, p, "", "mqtt-user", "add", "oven", "--max-packet", "256")
	if err != nil || len(strings.TrimSpace(password)) != 26 {
		t.Fatalf("%q, %v", password, err)
	}
	if _, _, err := agentCommand(t, p, "long enough\n", "mqtt-user", "add", "bridge", "--device", "--password-stdin"); err != nil {
		t.Fatal(err)
	}
	c, err := LoadConfig(p.Config())
	if err != nil || len(c.MQTT.Users) != 2 || c.MQTT.Users[0].MaxPacket != 256 || !c.MQTT.Users[1].Device {
		t.Fatalf("%+v, %v", c.MQTT, err)
	}
	if file, _ := os.ReadFile(p.Config()); bytes.Contains(file, []byte(strings.TrimSpace(password))) || bytes.Contains(file, []byte("long enough")) {
		t.Error("a password stands in the file")
	}
	if out, _, err := agentCommand(t, p, "", "mqtt-user", "list"); err != nil || out != "oven\tthing, at most 256 bytes\nbridge\tdevice\n" {
		t.Errorf("%q, %v", out, err)
	}
	for _, x := range []struct {
		args string
		code wire.Code
	}{{"add oven", wire.Conflict}, {"add Oven", wire.Invalid}, {"remove stove", wire.NotFound}, {"add", wire.Invalid}, {"", wire.Invalid}, {"add a --max-packet 3", wire.Invalid}} {
		if _, _, err := agentCommand(t, p, "", append([]string{"mqtt-user"}, strings.Fields(x.args)...)...); wire.CodeOf(err) != x.code {
			t.Errorf("mqtt-user %s: %v", x.args, err)
		}
	}
	for _, name := range []string{"oven", "bridge"} {
		if _, _, err := agentCommand(t, p, "", "mqtt-user", "remove", name); err != nil {
			t.Fatal(err)
		}
	}
	if after, _ := os.ReadFile(p.Config()); string(after) != before {
		t.Errorf("the file is not as before: %s", after)
	}
}

func TestMQTTCheckShowsTheLinesThatWereMeant(t *testing.T) {
	p, _, _ := installed(t)
	conf := filepath.Join(t.TempDir(), "mosquitto.conf")
	write := func(text string) {
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("listener 1883\n# topic x in\nconnection hub\naddress 127.0.0.1:11883\ntopic devices/# out \"\" home\ntopic cmds/# in remote \"\"\n")
	out, _, err := agentCommand(t, p, "", "mqtt-check", conf)
	if command.Report(os.Stderr, err) != 1 {
		t.Errorf("wrong lines end with %v", err)
	}
	for _, line := range []string{`topic devices/# out 1 "" home/`, `topic cmds/# in 1 remote/ ""`} {
		if !strings.Contains(out, line) {
			t.Errorf("%s is not shown: %s", line, out)
		}
	}
	write("connection hub\ntopic devices/# out 1 \"\" home\n\nconnection other\ntopic a/# both 1 \"\" x/\n")
	out, _, err = agentCommand(t, p, "", "mqtt-check", conf)
	if err != nil || !strings.Contains(out, "home/ is probably meant") || !strings.Contains(out, "other, 1 topic lines") {
		t.Errorf("%s, %v", out, err)
	}
	if _, _, err := agentCommand(t, p, "", "mqtt-check", conf+"x"); wire.CodeOf(err) != wire.NotFound {
		t.Error(err)
	}
}

// The hub may ask before there is anything, and an agent without MQTT says so in the schema's words.
func TestCallMQTT(t *testing.T) {
	p, c, _ := installed(t)
	d := newTestDevice(t, p, c)
	got, err := d.Call(t.Context(), wire.MethodMQTT, nil)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := json.Marshal(got); err != nil || string(text) != `{"bridges":[],"listeners":[]}` {
		t.Errorf("%s, %v", text, err)
	}
}
