//go:build unix

package cli

import (
	"slices"
	"strings"
	"testing"

	"github.com/aditdev/adit/internal/wire"
)

func TestDeviceOf(t *testing.T) {
	t.Parallel()
	for typed, want := range map[string]string{
		"kitchen": "kitchen", "kitchen.adit": "kitchen", "Kitchen.ADIT": "kitchen", "a-1": "a-1",
		"dev_01jd0000000000000000000000.adit": "dev_01JD0000000000000000000000",
		"dev_01JD0000000000000000000000":      "dev_01JD0000000000000000000000",
	} {
		if got, err := deviceOf(typed); err != nil || got != want {
			t.Errorf("%q: %q, %v", typed, got, err)
		}
	}
	for _, typed := range []string{"", "-x", "-oProxyCommand=x", "a b", "a;b", "a'b", "$(x)", "kitchen.adit.adit", "dev_x", "ä", "a\n", "../x"} {
		if got, err := deviceOf(typed); wire.CodeOf(err) != wire.Invalid {
			t.Errorf("%q is taken for %q (%v)", typed, got, err)
		}
	}
}

func TestSplitLogin(t *testing.T) {
	t.Parallel()
	if login, device, err := splitLogin("pi@kitchen"); login != "pi" || device != "kitchen" || err != nil {
		t.Errorf("pi@kitchen: %q %q %v", login, device, err)
	}
	for _, typed := range []string{"-l@kitchen", "@kitchen", "a@b@kitchen", "p i@kitchen", "'@kitchen", "$(x)@kitchen"} {
		if login, device, err := splitLogin(typed); wire.CodeOf(err) != wire.Invalid {
			t.Errorf("%q is taken for %q at %q (%v)", typed, login, device, err)
		}
	}
}

func TestSplitOptions(t *testing.T) {
	t.Parallel()
	for typed, want := range map[string]struct{ options, rest string }{
		"kitchen":                         {"", "kitchen"},
		"kitchen -x y":                    {"", "kitchen -x y"},
		"-L 1:a:2 kitchen":                {"-L 1:a:2", "kitchen"},
		"-L1:a:2 -tt kitchen ls":          {"-L1:a:2 -tt", "kitchen ls"},
		"-vtp 22 kitchen":                 {"-vtp 22", "kitchen"},
		"-o User=x -- kitchen":            {"-o User=x", "kitchen"},
		"-NfD 9002 -l pi kitchen -- ls -": {"-NfD 9002 -l pi", "kitchen -- ls -"},
	} {
		options, rest, err := splitOptions(strings.Fields(typed))
		if err != nil || strings.Join(options, " ") != want.options || strings.Join(rest, " ") != want.rest {
			t.Errorf("%q: %q, %q, %v", typed, options, rest, err)
		}
	}
	for _, typed := range []string{"-L", "-F x kitchen", "--help"} {
		if _, _, err := splitOptions(strings.Fields(typed)); wire.CodeOf(err) != wire.Invalid {
			t.Errorf("%q: %v", typed, err)
		}
	}
}

func TestParseForward(t *testing.T) {
	t.Parallel()
	for typed, want := range map[string]forward{
		"22883:127.0.0.1:1883":      {"127.0.0.1:22883", "tcp:127.0.0.1:1883", true},
		"1883":                      {"127.0.0.1:1883", "tcp:127.0.0.1:1883", false},
		"192.168.1.10:80":           {"127.0.0.1:80", "tcp:192.168.1.10:80", false},
		"8080:1883":                 {"127.0.0.1:8080", "tcp:127.0.0.1:1883", true},
		"mqtt":                      {"127.0.0.1:0", "mqtt", false},
		"1883:mqtt":                 {"127.0.0.1:1883", "mqtt", true},
		"0.0.0.0:8080:nas.lan:80":   {"0.0.0.0:8080", "tcp:nas.lan:80", true},
		"0.0.0.0:8080:http":         {"0.0.0.0:8080", "http", true},
		"[::1]:8080:[fd00::2]:80":   {"[::1]:8080", "tcp:[fd00::2]:80", true},
		"0:127.0.0.1:80":            {"127.0.0.1:0", "tcp:127.0.0.1:80", true},
		"localhost:8080:fd00.lan:1": {"localhost:8080", "tcp:fd00.lan:1", true},
		"tcp:nas.lan:80":            {"127.0.0.1:80", "tcp:nas.lan:80", false},
		"8080:tcp:nas.lan:80":       {"127.0.0.1:8080", "tcp:nas.lan:80", true},
	} {
		if got, err := parseForward(typed); err != nil || got != want {
			t.Errorf("%q: %+v, %v", typed, got, err)
		}
	}
	for _, typed := range []string{"", ":", "a:b", "1:2:3:4:5", "99999", "x:99999", "80:-x:1", "ftp", "8080:host:", "::1:80", "1:a b:2", "tcp:nas.lan"} {
		if got, err := parseForward(typed); wire.CodeOf(err) != wire.Invalid {
			t.Errorf("%q is taken for %+v (%v)", typed, got, err)
		}
	}
}

func TestHostKeyLinesAreOfTheDeviceAlone(t *testing.T) {
	t.Parallel()
	const id = "dev_01JD0000000000000000000000"
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAHd0uGyzLcFZJPbdkzUyrYOdXkXmWfcq8mA3uXxHzYp"
	lines, err := hostKeyLines(id, "* "+key+"\n"+id+" "+key+" comment\n@cert-authority * "+key+"\n")
	if err != nil || !slices.Equal(lines, []string{id + " " + key}) {
		t.Errorf("%q, %v", lines, err)
	}
	if _, err := hostKeyLines(id, id+" nonsense\n"); err == nil {
		t.Error("a line that holds no key is taken")
	}
	if _, err := hostKeyLines(id, ""); wire.CodeOf(err) != wire.Conflict {
		t.Errorf("no key at all: %v", err)
	}
}

func TestHubURL(t *testing.T) {
	t.Parallel()
	for typed, want := range map[string]string{
		"https://hub.example.com/": "https://hub.example.com", "hub.example.com": "https://hub.example.com",
		"http://localhost:8080": "http://localhost:8080", "http://127.0.0.1:1/x?y": "http://127.0.0.1:1",
		"http://hub.example.com": "", "ftp://x": "", "https://": "", "": "",
	} {
		if got, err := parseHubURL(typed); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", typed, got, err)
		}
	}
}
