package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aditdev/adit/internal/agent/bridge"
	"github.com/aditdev/adit/internal/agent/gateway"
	"github.com/aditdev/adit/internal/agent/runner"
	"github.com/aditdev/adit/internal/wire"
)

func TestConfigSurvivesItsFile(t *testing.T) {
	_, c, _ := installed(t)
	c.HubName = "Ada's \"hub\" \\ \t é"
	c.Dial, c.Proxy, c.NoProxy, c.CAFile = "10.0.0.1:443", "http://u:p@proxy:3128", "localhost,.lan", "/etc/my ca.pem"
	c.Policy.Targets = append(c.Policy.Targets, "tcp:192.168.1.10:*")
	c.Policy.Root = false
	c.Services.SSH = "127.0.0.1:2222"
	_, hash := gateway.NewPassword()
	c.MQTT = MQTT{
		Listen: oneOrMore{"127.0.0.1:1883", "eth0:1883"},
		Users:  []gateway.User{{Name: "oven", PasswordHash: hash, MaxPacket: 256, Device: true}},
		Bridges: []bridge.Config{{Name: "home", Broker: "127.0.0.1:1884", Username: "u", Password: `p"`, ClientID: "c", Topics: []string{`s/# out 1 "" d/`},
			Version: "5", CleanSession: true, QueueMessages: 5, QueueBytes: 1 << 20, QueueAge: "1h", QueueQoS0: false}},
	}
	c.Policy.Run = true
	c.Commands = []runner.Command{{Name: "open-door", Argv: []string{"/bin/door", `--speed={speed}`, `{door}`}, Timeout: "5s", User: "pi", WorkDir: "/tmp",
		Parameters: []string{"door=[a-z0-9-]{1,32}", `speed=\d{1,3}`}, Environment: []string{`A="b"`}}}
	path := filepath.Join(t.TempDir(), "agent.toml")
	if err := c.save(path); err != nil {
		t.Fatal(err)
	}
	back, err := LoadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c, back); diff != "" {
		t.Errorf("(-written +read)\n%s", diff)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	// Every key is written, and every one that is written is known.
	settings, err := parseTOML(c.text())
	if err != nil {
		t.Fatal(err)
	}
	if len(settings) != len(c.fields()) {
		t.Errorf("%d keys are written, %d known", len(settings), len(c.fields()))
	}
}

func TestConfigIsRefused(t *testing.T) {
	_, c, _ := installed(t)
	for _, x := range []struct{ old, new, says string }{
		{"stream_resume", "stream_resme", `unknown key "policy.stream_resme". Did you mean "policy.stream_resume"?`},
		{"hub_name", "colour", `unknown key "colour"`},
		{`hub = "http://127.0.0.1:1"`, `hub = "http://hub.example"`, "must begin with https://"},
		{`hub = "http://127.0.0.1:1"`, `hub = "https://hub.example/path"`, "is no hub's URL"},
		{testDevice, "kitchen", "is no device id"},
		{`hub_keys = ["`, `hub_keys = ["!`, "no public key"},
		{`"loopback"`, `"everything"`, "neither ssh, mqtt, http, loopback nor tcp:HOST:PORT"},
		{`logins = ["*"]`, `logins = ["a b"]`, "is no account's name"},
		{"stream_resume = 120", "stream_resume = -1", "0 to 3600 seconds"},
		{`ssh = "auto"`, `ssh = "atuo"`, `neither "auto", "builtin" nor HOST:PORT`},
		{`mqtt = "127.0.0.1:1883"`, `mqtt = "1883"`, "is not HOST:PORT"},
		{"root = true", "root = maybe", `"maybe" is no value`},
		{"root = true", `root = "true"`, "policy.root takes true or false"},
		{"stream_resume = 120", "stream_resume = [\"120\"]", "policy.stream_resume takes a whole number"},
		{`logins = ["*"]`, `logins = "*"`, "policy.logins takes a list"},
		{`name = "kitchen"`, `name = 5`, "name takes text in quotes"},
		{"rescue = true", "root = true", "policy.root is set twice"},
		{"\n[services]", "\n[mqtt]\nlisten = \"0.0.0.0:1883\"\n[services]", "every network"},
		{"\n[services]", "\n[mqtt]\nlisten = \"eth0:1883\"\n[services]", "`adit agent mqtt-user add NAME` makes one"},
		{"\n[services]", "\n[mqtt]\nlisten = 5\n[services]", "mqtt.listen takes text in quotes, or a list"},
		{"\n[services]", "\n[mqtt.user]\nname = \"a\"\n[services]", "the table is written [[mqtt.user]]"},
		{"\n[services]", "\n[[mqtt.user]]\nname = \"oven\"\n[services]", "mqtt.user oven has a password_hash that is none"},
		{"\n[services]", "\n[[mqtt.bridge]]\nname = \"a\"\nbroker = \"127.0.0.1:1\"\ntopics = ['devices/# out \"\" home']\n[services]",
			`You probably mean: topic devices/# out 1 "" home/`},
		{"\n[services]", "\n[command]\nname = \"a\"\n[services]", "the table is written [[command]]"},
		{"\n[services]", "\n[[command]]\nname = \"a\"\nargv = [\"/bin/true\", \"{x}\"]\n[services]", "agent.toml: line 20: command a: argv has {x}, for which"},
		{"\n[services]", "\n[[command]]\nname = \"a\"\nargv = \"/bin/true\"\n[services]", "line 22: command.argv takes a list"},
		{"\n[services]", "\n[[command]]\nname = \"a\"\nargv = ['/a']\n[[command]]\nname = 'a'\nargv = ['/b']\n[services]", "command a comes twice"},
		{"\n[services]", "\n[[command]]\nargs = ['/a']\n[services]", `Did you mean "command.argv"?`},
		{"\n[services]", "\n[[mqtt.bridge]]\nname = \"a\"\nbrokr = \"x\"\n[services]", `Did you mean "mqtt.bridge.broker"?`},
	} {
		text := strings.Replace(c.text(), x.old, x.new, 1)
		_, err := parseConfig("agent.toml", []byte(text))
		if err == nil || wire.CodeOf(err) != wire.Invalid || !strings.Contains(err.Error(), x.says) {
			t.Errorf("%s: %v, want %q", x.new, err, x.says)
		}
	}
}

func TestConfigDefaults(t *testing.T) {
	_, c, _ := installed(t)
	head, _, _ := strings.Cut(c.text(), "\n# What this device allows")
	got, err := parseConfig("agent.toml", []byte(head))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(DefaultPolicy(), got.Policy); diff != "" {
		t.Error(diff)
	}
}
