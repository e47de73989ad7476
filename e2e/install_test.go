//go:build linux

package e2e

import (
	"bytes"
	"context"
	"testing"
)

// A machine without sshd and without root: the agent's built-in SSH server lets its one user in.
func TestPlainUser(t *testing.T) {
	t.Parallel()
	r := newRig(t, "nginx")
	r.device.sh("useradd -m -s /bin/bash " + login)
	var code installCode
	if err := r.call("POST", "/api/v1/install-codes", ask{"name": "kitchen"}, &code); err != nil {
		t.Fatal(err)
	}
	before := r.device.files()
	t.Log(r.device.run("su", "-", login, "-c", code.Command))
	promised(t, onlineAfterInstall, "kitchen online", r.online("kitchen", true))
	d, err := r.look("kitchen")
	if err != nil {
		t.Fatal(err)
	}
	if d.Facts.SSH.Server != "builtin" {
		t.Errorf("SSH server %q, want builtin", d.Facts.SSH.Server)
	}
	if after := r.device.files(); after != before {
		t.Errorf("an install without root changed the system:\n%s", after)
	}
	r.login()
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	defer cancel()
	if got := r.adit(ctx, "ssh", login+"@kitchen", "hostname; id -un; echo $0").text(t); got != "kitchen\nada\n-bash\n" && got != "kitchen\nada\nbash\n" && got != "kitchen\nada\n/bin/bash\n" {
		t.Errorf("adit ssh said %q", got)
	}
	r.device.run("su", "-", login, "-c", "~/.local/bin/adit agent uninstall")
	promised(t, noticedWithin, "kitchen gone", r.online("kitchen", false))
}

// The check looks, and touches nothing.
func TestCheckOnlyLooks(t *testing.T) {
	t.Parallel()
	r := newRig(t, "nginx")
	r.startSSHD()
	var code installCode
	if err := r.call("POST", "/api/v1/install-codes", ask{}, &code); err != nil {
		t.Fatal(err)
	}
	before := r.device.files()
	t.Log(r.device.run("bash", "-c", code.CommandCheck))
	if after := r.device.files(); after != before {
		t.Errorf("the check changed something:\n%s", after)
	}
}

// The short line has its code in a URL, so a person confirms the device.
func TestShortLineWaitsForAPerson(t *testing.T) {
	t.Parallel()
	r := newRig(t, "caddy")
	r.startSSHD()
	var code installCode
	if err := r.call("POST", "/api/v1/install-codes", ask{"name": "kitchen"}, &code); err != nil {
		t.Fatal(err)
	}
	t.Log(r.device.run("bash", "-c", code.CommandShort))
	d, err := r.look("kitchen")
	if err != nil {
		t.Fatal(err)
	}
	if d.Status != "pending" || d.Online {
		t.Fatalf("before approval: %+v", d)
	}
	if err := r.call("POST", "/api/v1/devices/kitchen/approve", nil, nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "kitchen online after the click", r.online("kitchen", true))
}

// Taking it out leaves the machine as it was.
func TestUninstall(t *testing.T) {
	t.Parallel()
	r := newRig(t, "nginx")
	r.startSSHD()
	before := r.device.files()
	r.install()
	r.device.run("/usr/local/bin/adit", "agent", "uninstall")
	if after := r.device.files(); after != before {
		t.Errorf("after uninstalling:\n%s", after)
	}
	promised(t, noticedWithin, "kitchen offline", r.online("kitchen", false))
	r.device.sh("/usr/sbin/sshd -t")
}

// files is every file of the system that an installer could change, with its size and date.
func (m *machine) files() string {
	m.t.Helper()
	out := m.sh("find /etc /usr/local /root /var/lib /tmp ! -type d -printf '%p %s %T@\\n' | sort")
	return string(bytes.TrimSpace([]byte(out)))
}
