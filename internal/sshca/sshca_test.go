package sshca

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/wire"
)

func newCA(t *testing.T) *CA {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := New(key)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func newKey(t *testing.T) ssh.PublicKey {
	t.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// Rule 4: one exact principal, a short life around the device's clock, no critical options.
func TestSign(t *testing.T) {
	t.Parallel()
	ca, key := newCA(t), newKey(t)
	for name, clock := range map[string]time.Time{
		"now":                 time.Now(),
		"minutes off":         time.Now().Add(-7 * time.Minute),
		"decades off":         time.Now().AddDate(-40, 0, 0),
		"the dawn of time":    time.Unix(5, 0),
		"a battery in future": time.Now().AddDate(12, 0, 0),
	} {
		cert, err := ca.Sign(Request{Key: key, User: "usr_1", Device: "dev_1", Login: "pi", Clock: clock})
		if err != nil {
			t.Fatal(err)
		}
		checker := ssh.CertChecker{
			Clock:           func() time.Time { return clock },
			IsUserAuthority: func(k ssh.PublicKey) bool { return string(k.Marshal()) == string(ca.signer.PublicKey().Marshal()) },
		}
		if err := checker.CheckCert("dev_1/pi", cert); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if life := time.Duration(cert.ValidBefore-cert.ValidAfter) * time.Second; life > Life {
			t.Errorf("%s: lives %v", name, life)
		}
		if !slices.Equal(cert.ValidPrincipals, []string{"dev_1/pi"}) || len(cert.CriticalOptions) != 0 || cert.CertType != ssh.UserCert {
			t.Errorf("%s: %+v", name, cert)
		}
		checker.Clock = func() time.Time { return clock.Add(Life) }
		if checker.CheckCert("dev_1/pi", cert) == nil {
			t.Errorf("%s: valid too long", name)
		}
	}
}

func TestExtensionsFollowTheGrant(t *testing.T) {
	t.Parallel()
	ca, key := newCA(t), newKey(t)
	for forwards, want := range map[bool]bool{false: false, true: true} {
		cert, err := ca.Sign(Request{Key: key, User: "u", Device: "d", Login: "pi", Clock: time.Now(), Forwards: forwards})
		if err != nil {
			t.Fatal(err)
		}
		for _, extension := range []string{"permit-port-forwarding", "permit-agent-forwarding", "permit-X11-forwarding"} {
			if _, got := cert.Extensions[extension]; got != want {
				t.Errorf("forwards %v: %s is %v", forwards, extension, got)
			}
		}
		if _, ok := cert.Extensions["permit-pty"]; !ok {
			t.Error("no pty")
		}
	}
}

func TestSignRefuses(t *testing.T) {
	t.Parallel()
	ca, good := newCA(t), newKey(t)
	certificate, err := ca.Sign(Request{Key: good, User: "u", Device: "d", Login: "pi", Clock: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]Request{
		"no login":               {Key: good, Device: "d"},
		"a login with a slash":   {Key: good, Device: "d", Login: "pi/root"},
		"a login with an option": {Key: good, Device: "d", Login: "-oProxyCommand"},
		"no device":              {Key: good, Login: "pi"},
		"a certificate as key":   {Key: certificate, Device: "d", Login: "pi"},
		"a short RSA key":        {Key: public(t, &small.PublicKey), Device: "d", Login: "pi"},
	} {
		r.Clock = time.Now()
		if _, err := ca.Sign(r); wire.CodeOf(err) != wire.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ca.Sign(Request{Key: public(t, &curve.PublicKey), Device: "d", Login: "pi", Clock: time.Now()}); err != nil {
		t.Errorf("ECDSA: %v", err)
	}
}

func public(t *testing.T, key any) ssh.PublicKey {
	t.Helper()
	p, err := ssh.NewPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestParseKeys(t *testing.T) {
	t.Parallel()
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(newKey(t))))
	host, err := ParseHostKey(line + " root@kitchen")
	if err != nil || host.Line != line || !strings.HasPrefix(host.Fingerprint, "SHA256:") {
		t.Errorf("%+v, %v", host, err)
	}
	for _, bad := range []string{"", "ssh-ed25519", "cert-authority " + line, line + "\n" + line, `command="x" ` + line, "no key"} {
		if _, err := ParseKey(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func FuzzParseHostKey(f *testing.F) {
	f.Add("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINjv4Xh6vcEhNjm5bCfefMzFo6Y3cjRAWIr7WgNVlHS8 comment")
	f.Fuzz(func(t *testing.T, line string) {
		key, err := ParseHostKey(line)
		if err == nil && strings.ContainsAny(key.Line, "\n\r") {
			t.Errorf("%q has a line break", key.Line)
		}
	})
}
