package access

import (
	"slices"
	"testing"
)

// Long because it is a table.
func TestWay(t *testing.T) {
	t.Parallel()
	pi := []string{"pi"}
	raw, held := Grant{Device: "kitchen", Logins: pi}, Grant{Device: "kitchen", Logins: pi, Way: Held}
	root := Grant{Device: "kitchen", Logins: []string{"root"}, Way: Held}
	everyone := Grant{Device: "kitchen", Logins: []string{"*"}, Way: Held}
	ports := func(targets ...string) Grant { return Grant{Device: "kitchen", Targets: targets} }
	denied := Grant{Device: "kitchen", Deny: true, Targets: []string{"ssh"}}
	expired := Grant{Device: "kitchen", Logins: pi, Expires: noon}
	for _, test := range []struct {
		name          string
		grants        []Grant
		target, login string
		way           Way
		want          Verdict
	}{
		{"raw by a raw grant", []Grant{raw}, "ssh", "pi", Raw, Allowed},
		{"held by a raw grant", []Grant{raw}, "ssh", "pi", Held, Allowed},
		{"raw by a strict grant", []Grant{held}, "ssh", "pi", Raw, OtherWay},
		{"raw and no login by a strict grant", []Grant{held}, "ssh", "", Raw, OtherWay},
		{"held by a strict grant", []Grant{held}, "ssh", "pi", Held, Allowed},
		{"another login by a strict grant", []Grant{held}, "ssh", "root", Held, Forbidden},
		{"another device", []Grant{{Device: "shed", Logins: pi}, held}, "ssh", "pi", Raw, OtherWay},
		{"the laxer of two", []Grant{held, raw}, "ssh", "pi", Raw, Allowed},
		{"one that has expired is laxer in vain", []Grant{held, expired}, "ssh", "pi", Raw, OtherWay},
		{"by a tag", []Grant{{Tag: "home", Logins: pi, Way: Held}}, "ssh", "pi", Raw, OtherWay},
		{"deny wins", []Grant{held, denied}, "ssh", "pi", Held, Forbidden},
		{"rescue is SSH too", []Grant{{Device: "kitchen", Logins: pi, Targets: []string{"rescue"}, Way: Held}}, "rescue", "pi", Raw, OtherWay},
		{"every target", []Grant{{Device: "kitchen", Logins: pi, Targets: []string{"*"}, Way: Held}}, "rescue", "pi", Raw, OtherWay},
		{"no SSH, no way", []Grant{{Device: "kitchen", Logins: pi, Targets: []string{"*"}, Way: Held}}, "mqtt", "", Raw, Allowed},

		{"the raw one of two logins", []Grant{raw, root}, "ssh", "pi", Raw, Allowed},
		{"the strict one of two logins", []Grant{raw, root}, "ssh", "root", Raw, OtherWay},
		{"no login where one of two is strict", []Grant{raw, root}, "ssh", "", Raw, OtherWay},
		{"no login where a raw grant has the strict one's", []Grant{held, {Device: "kitchen", Logins: []string{"*"}}}, "ssh", "", Raw, Allowed},
		{"no login where every one is strict but one", []Grant{raw, everyone}, "ssh", "", Raw, OtherWay},

		{"sshd's port by a wildcard beside a strict grant", []Grant{held, ports("tcp:*")}, "tcp:127.0.0.1:22", "", Raw, OtherWay},
		{"by every target", []Grant{held, ports("*")}, "tcp:127.0.0.1:22", "", Raw, OtherWay},
		{"by a wildcard for the host", []Grant{held, ports("tcp:*:22")}, "tcp:192.168.1.2:22", "", Raw, OtherWay},
		{"by a wildcard for the port", []Grant{held, ports("tcp:127.0.0.1:*")}, "tcp:127.0.0.1:22", "", Raw, OtherWay},
		{"by its address", []Grant{held, ports("tcp:127.0.0.1:22")}, "tcp:127.0.0.1:22", "", Raw, OtherWay},
		{"by another name for itself", []Grant{held, ports("tcp:localhost:22")}, "tcp:localhost:22", "", Raw, OtherWay},
		{"by another loopback address", []Grant{held, ports("tcp:127.0.0.2:22")}, "tcp:127.0.0.2:22", "", Raw, OtherWay},
		{"by IPv6", []Grant{held, ports("tcp:[::1]:22")}, "tcp:[::1]:22", "", Raw, OtherWay},
		{"by a form mapped to IPv6", []Grant{held, ports("tcp:[::ffff:127.0.0.1]:22")}, "tcp:[::ffff:127.0.0.1]:22", "", Raw, OtherWay},
		{"where sshd says that it listens", []Grant{held, ports("tcp:*")}, "tcp:127.0.0.1:2200", "", Raw, OtherWay},
		{"by the strict grant itself", []Grant{{Device: "kitchen", Logins: pi, Targets: []string{"ssh", "tcp:10.0.0.9:22"}, Way: Held}}, "tcp:10.0.0.9:22", "", Raw, OtherWay},
		{"of a neighbour that is named", []Grant{held, ports("tcp:10.0.0.9:22")}, "tcp:10.0.0.9:22", "", Raw, Allowed},
		{"of a neighbour whose ports are", []Grant{held, ports("tcp:10.0.0.9:*")}, "tcp:10.0.0.9:22", "", Raw, Allowed},
		{"another port beside a strict grant", []Grant{held, ports("tcp:*")}, "tcp:127.0.0.1:80", "", Raw, Allowed},
		{"sshd's port without a strict grant", []Grant{raw, ports("tcp:*")}, "tcp:127.0.0.1:22", "", Raw, Allowed},
		{"sshd's port where a raw grant lifts it", []Grant{held, raw, ports("tcp:*")}, "tcp:127.0.0.1:22", "", Raw, Allowed},
		{"sshd's port where the other login is strict", []Grant{raw, root, ports("tcp:*")}, "tcp:127.0.0.1:22", "", Raw, OtherWay},
		{"sshd's port with no grant of it", []Grant{held}, "tcp:127.0.0.1:22", "", Raw, Forbidden},
	} {
		p := policy(test.grants...)
		kitchen := p.Devices["kitchen"]
		kitchen.SSHPort = 2200
		p.Devices["kitchen"] = kitchen
		use := Use{User: "op", Device: "kitchen", Target: test.target, Login: test.login, Way: test.way}
		if got := p.Check(use, noon); got != test.want {
			t.Errorf("%s: got %d, want %d", test.name, got, test.want)
		}
	}
}

// Who manages the hub gives the grants, so none binds them.
func TestManagersAreBoundToNoWay(t *testing.T) {
	t.Parallel()
	p := policy(Grant{User: "adm", Device: "kitchen", Logins: []string{"*"}, Way: Held})
	for _, target := range []string{"ssh", "tcp:127.0.0.1:22"} {
		if got := p.Check(Use{User: "adm", Device: "kitchen", Target: target}, noon); got != Allowed {
			t.Errorf("%s: got %d", target, got)
		}
	}
}

func TestReachSaysTheWay(t *testing.T) {
	t.Parallel()
	p := policy(Grant{Device: "kitchen", Logins: []string{"pi"}}, Grant{Device: "kitchen", Logins: []string{"ann", "pi"}, Way: Held},
		Grant{Device: "kitchen", Logins: []string{"root"}, Way: Held})
	r := p.Reach("op", "kitchen", noon)
	if !slices.Equal(r.Logins, []string{"ann", "pi", "root"}) || !slices.Equal(r.Held, []string{"ann", "root"}) ||
		r.Gate != Held {
		t.Errorf("got %+v", r)
	}
	if r := p.Reach("op", "shed", noon); len(r.Logins) > 0 || r.Gate != Raw {
		t.Errorf("a device without a grant: %+v", r)
	}
}

// sshd would forward to its own port for whoever has a certificate that lets it forward.
func TestForwardsNothingPastTheHub(t *testing.T) {
	t.Parallel()
	ports := Grant{Device: "kitchen", Logins: []string{"pi"}, Targets: []string{"ssh", "tcp:*"}}
	if !policy(ports).Forwards("op", "kitchen", "pi", noon) {
		t.Error("a grant of every address forwards nothing")
	}
	if policy(ports, Grant{Device: "kitchen", Logins: []string{"root"}, Way: Held}).Forwards("op", "kitchen", "pi", noon) {
		t.Error("pi may forward to the port where root has to come by the hub")
	}
}
