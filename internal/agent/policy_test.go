package agent

import (
	"slices"
	"testing"

	"github.com/aditdev/adit/internal/wire"
)

func TestTargets(t *testing.T) {
	allowed, err := allowTargets("192.168.1.10:80, nas.lan:*,[fd00::1]:443")
	if err != nil {
		t.Fatal(err)
	}
	p := DefaultPolicy().Allow(allowed)
	for target, want := range map[string]bool{
		"ssh": true, "mqtt": true, "http": true, "rescue": true,
		"tcp:127.0.0.1:22": true, "tcp:127.9.9.9:1": true, "tcp:[::1]:80": true, "tcp:localhost:80": true, "tcp:LOCALHOST:80": true,
		"tcp:[::ffff:127.0.0.1]:80": true,
		"tcp:0.0.0.0:80":            false, // the kernel takes it for this machine, but nobody wrote it so
		"tcp:[::]:80":               false,
		"tcp:127.0.0.1.evil.com:80": false,
		"tcp:192.168.1.10:80":       true, "tcp:192.168.1.10:81": false, "tcp:192.168.1.11:80": false,
		"tcp:[::ffff:192.168.1.10]:80": true,
		"tcp:nas.lan:1":                true, "tcp:NAS.lan:65535": true, "tcp:x.nas.lan:1": false,
		"tcp:[fd00::1]:443": true, "tcp:[fd00:0::1]:443": true, "tcp:[fd00::2]:443": false,
		"tcp:10.0.0.1:22": false,
	} {
		parsed, err := wire.ParseTarget(target)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.CheckTarget(parsed); (err == nil) != want {
			t.Errorf("%s: %v", target, err)
		} else if err != nil && wire.CodeOf(err) != wire.Forbidden {
			t.Errorf("%s: code %s", target, wire.CodeOf(err))
		}
	}
	p.Rescue, p.Targets = false, []string{"tcp:*:443"}
	for target, want := range map[string]bool{"rescue": false, "ssh": false, "tcp:anything.example:443": true, "tcp:127.0.0.1:22": false} {
		if err := p.CheckTarget(wire.Target(target)); (err == nil) != want {
			t.Errorf("%s: %v", target, err)
		}
	}
}

func TestAllowLists(t *testing.T) {
	for _, bad := range []string{"80", "host", "host:0", "host:99999", "a b:80:90", "$(x):80", "tcp:tcp:a:1"} {
		if got, err := allowTargets(bad); err == nil {
			t.Errorf("%q became %q", bad, got)
		}
	}
	if got, err := allowTargets(""); err != nil || len(got) != 0 {
		t.Errorf("%q %v", got, err)
	}
}

func TestLogins(t *testing.T) {
	for _, c := range []struct {
		policy Policy
		login  string
		want   bool
	}{
		{Policy{Logins: []string{"*"}, Root: true}, "root", true},
		{Policy{Logins: []string{"*"}}, "root", false},
		{Policy{Logins: []string{"root"}}, "root", false},
		{Policy{Logins: []string{"*"}}, "pi", true},
		{Policy{Logins: []string{"pi"}, Root: true}, "root", false},
		{Policy{Logins: []string{"pi"}}, "Pi", false},
		{Policy{}, "pi", false},
	} {
		if got := c.policy.AllowsLogin(c.login); got != c.want {
			t.Errorf("%+v %s: %v", c.policy, c.login, got)
		}
	}
}

func TestSourcesDiffer(t *testing.T) {
	var seen []string
	for _, user := range []string{"usr_1", "usr_2", "usr_3", ""} {
		ip := loopbackSource(user).To4()
		if ip[0] != 127 || ip[1] != 1 || ip[2] == 0 && ip[3] == 0 || ip[2] == 255 && ip[3] == 255 {
			t.Errorf("%q from %s", user, ip)
		}
		if slices.Contains(seen, ip.String()) {
			t.Errorf("%q shares %s", user, ip)
		}
		seen = append(seen, ip.String())
	}
}
