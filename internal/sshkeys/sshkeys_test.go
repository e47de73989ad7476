package sshkeys_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/sshkeys"
	"github.com/aditdev/adit/internal/wire"
)

func lineOf(t testing.TB, public any) string {
	t.Helper()
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

func newLine(t testing.TB) string {
	t.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return lineOf(t, public)
}

func rsaLine(t testing.TB, bits int) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return lineOf(t, key.Public())
}

// Rule 3: an option that is not honoured is refused, never ignored.
func TestParse(t *testing.T) {
	t.Parallel()
	line := newLine(t)
	for _, c := range []struct{ line, refused string }{
		{line, ""},
		{line + " ada@laptop", ""},
		{`restrict,port-forwarding,permitopen="broker.adit:22" ` + line, ""},
		{`from="192.0.2.0/24,!192.0.2.9,2001:db8::*",no-pty ` + line, ""},
		{`expiry-time="20301231" ` + line, ""},
		{`no-agent-forwarding,no-X11-forwarding,no-user-rc ` + line, ""},
		{rsaLine(t, 3072), ""},
		{rsaLine(t, 2048), "2048 bits"},
		{`command="/bin/true" ` + line, "command"},
		{`environment="A=B" ` + line, "environment"},
		{`permitlisten="8080" ` + line, "permitlisten"},
		{`agent-forwarding ` + line, "agent-forwarding"},
		{`cert-authority ` + line, "cert-authority"},
		{`principals="a" ` + line, "principals"},
		{`tunnel="1" ` + line, "tunnel"},
		{`verify-required ` + line, "verify-required"},
		{`from="*.example.com" ` + line, "host names"},
		{`from="" ` + line, "from="},
		{`permitopen="kitchen.adit" ` + line, "HOST:PORT"},
		{`permitopen="kitchen.adit:0" ` + line, "HOST:PORT"},
		{`permitopen=":22" ` + line, "HOST:PORT"},
		{`expiry-time="tomorrow" ` + line, "YYYYMMDD"},
		{line + "\n" + newLine(t), "more than one line"},
		{"", "no SSH public key"},
		{"ssh-ed25519 AAAA", "no SSH public key"},
		{strings.Repeat("a", 9000), "8192"},
	} {
		key, err := sshkeys.Parse(c.line)
		switch {
		case c.refused == "" && err != nil:
			t.Errorf("%.60s: %v", c.line, err)
		case c.refused != "" && (err == nil || !strings.Contains(wire.MessageOf(err), c.refused)):
			t.Errorf("%.60s: %v, want a word of %q", c.line, err, c.refused)
		case err == nil:
			again, err := sshkeys.Reparse(key.Options.String())
			if err != nil || again.String() != key.Options.String() {
				t.Errorf("%q is read again as %q, %v", key.Options, again, err)
			}
		}
	}
}

func options(t testing.TB, text string) sshkeys.Options {
	t.Helper()
	o, err := sshkeys.Reparse(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return o
}

func TestAllowsFrom(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		options, address string
		want             bool
	}{
		{``, "203.0.113.1", true},
		{`from="203.0.113.1"`, "203.0.113.1", true},
		{`from="203.0.113.1"`, "::ffff:203.0.113.1", true},
		{`from="203.0.113.1"`, "203.0.113.2", false},
		{`from="203.0.113.0/24,!203.0.113.7"`, "203.0.113.8", true},
		{`from="203.0.113.0/24,!203.0.113.7"`, "203.0.113.7", false},
		{`from="!203.0.113.7,203.0.113.0/24"`, "203.0.113.7", false},
		{`from="!203.0.113.7"`, "203.0.113.8", false},
		{`from="203.0.113.*"`, "203.0.113.200", true},
		{`from="203.0.113.?"`, "203.0.113.20", false},
		{`from="2001:DB8::/32"`, "2001:db8::1", true},
		{`from="0.0.0.0/0"`, "nonsense", false},
	} {
		if got := options(t, c.options).AllowsFrom(c.address); got != c.want {
			t.Errorf("%s: %s: %v", c.options, c.address, got)
		}
	}
}

func TestAllowsOpen(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		options, host string
		port          uint32
		want          bool
	}{
		{``, "kitchen.adit", 22, true},
		{`permitopen="kitchen.adit:22"`, "Kitchen.adit", 22, true},
		{`permitopen="kitchen.adit:22"`, "kitchen.adit", 1883, false},
		{`permitopen="kitchen.adit:22"`, "shed.adit", 22, false},
		{`permitopen="kitchen.adit:22",permitopen="shed.adit:*"`, "shed.adit", 9, true},
		{`restrict`, "kitchen.adit", 22, false},
		{`restrict,permitopen="kitchen.adit:22"`, "kitchen.adit", 22, false},
		{`restrict,port-forwarding,permitopen="kitchen.adit:22"`, "kitchen.adit", 22, true},
		{`restrict,port-forwarding,permitopen="kitchen.adit:22"`, "kitchen.adit", 23, false},
		{`no-port-forwarding`, "kitchen.adit", 22, false},
	} {
		if got := options(t, c.options).AllowsOpen(c.host, c.port); got != c.want {
			t.Errorf("%s: %s:%d: %v", c.options, c.host, c.port, got)
		}
	}
}

func TestTerminalAndExpiry(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{"": true, "no-pty": false, "restrict": false, "restrict,pty": true} {
		if got := options(t, text).PTY(); got != want {
			t.Errorf("%q: terminal %v", text, got)
		}
	}
	for text, want := range map[string]string{
		`expiry-time="20301231"`:                        "2030-12-31T00:00:00Z",
		`expiry-time="203012312359Z"`:                   "2030-12-31T23:59:00Z",
		`expiry-time="20301231235958z"`:                 "2030-12-31T23:59:58Z",
		`expiry-time="20301231",expiry-time="20291231"`: "2029-12-31T00:00:00Z",
	} {
		if got := options(t, text).Expires().Format(time.RFC3339); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	line := newLine(f)
	f.Add(`restrict,permitopen="a:1",from="1.2.3.4" ` + line)
	f.Fuzz(func(t *testing.T, text string) {
		key, err := sshkeys.Parse(text)
		if err != nil {
			return
		}
		again, err := sshkeys.Reparse(key.Options.String())
		if err != nil || again.String() != key.Options.String() {
			t.Errorf("%q is read again as %q, %v", key.Options, again, err)
		}
	})
}
