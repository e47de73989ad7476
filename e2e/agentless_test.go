//go:build linux

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// hashRoots does what update-ca-certificates does for openssl; curl reads the file that has all roots.
func (r *rig) hashRoots() {
	r.t.Helper()
	r.device.sh("cd /etc/ssl/certs; ln -s ca-certificates.crt $(openssl x509 -hash -noout -in ca-certificates.crt).0")
}

// agentless makes the device's machine a device with nothing of ours on it, by a line of the page. Its ports 8000 and
// 1883 are offered beside SSH, and one neighbour.
func (r *rig) agentless(line func(installCode) string) {
	r.t.Helper()
	var code installCode
	if err := r.call("POST", "/api/v1/install-codes", ask{"name": "kitchen", "allow": []string{"127.0.0.9:8110"}}, &code); err != nil {
		r.t.Fatal(err)
	}
	out, err := r.device.try("sh", "-c", "export ADIT_FORWARD=8000,1883; "+line(code))
	r.t.Logf("the pasted line said:\n%s", out)
	if err != nil || !strings.Contains(out, "kitchen is online.") {
		r.t.Fatalf("the pasted line: %v", err)
	}
	eventually(r.t, patience, "kitchen online", r.online("kitchen", true))
}

// A machine with OpenSSH and openssl, and nothing of ours, is an ordinary device.
func TestWithoutOurAgent(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		proxy, form string
		line        func(installCode) string
	}{
		{"nginx", "upgrade", func(c installCode) string { return c.CommandOpenssl }},
		{"caddy", "patient", func(c installCode) string { return c.CommandOpenssh }},
		{"caddy-current", "upgrade", func(c installCode) string { return c.CommandOpenssh }},
	} {
		t.Run(c.proxy, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, c.proxy)
			r.startSSHD()
			r.doctor(c.proxy)
			if c.proxy == "nginx" { // else the script finds the roots where curl has them
				r.hashRoots()
			}
			r.agentless(c.line)
			d, err := r.look("kitchen")
			if err != nil || d.Facts.SSH.Server != "openssh" || d.Facts.SSH.Trust != "sshd_config" {
				t.Errorf("%+v, %v", d, err)
			}
			v := r.visitor(c.form)
			v.knows("kitchen")
			v.basics(t)
			r.certified(t)
			v.reaches("kitchen")
			if c.proxy == "nginx" {
				v.forwards(t)
				v.programs(t)
				v.ansible(t)
				t.Run("a gibibyte both ways", func(t *testing.T) { v.gibibyte(t) })
			}
		})
	}
}

// reaches waits until the device's sshd is there: a login with its key that forwards nothing has replaced the one that does.
func (v *visitor) reaches(name string) {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	eventually(v.t, patience, "the sshd of "+name+" reached", func() error {
		if out, err := v.stock(ctx, "ssh", name+".adit", "true").says(); err != nil {
			return errorText(out)
		}
		return nil
	})
}

// certified checks what the hub's certificates open there, and the limits of them and of the device's own key.
func (r *rig) certified(t *testing.T) {
	r.login()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if got := r.adit(ctx, "ssh", login+"@kitchen", "hostname; id -un").text(t); got != "kitchen\nada\n" {
		t.Errorf("adit ssh said %q", got)
	}
	var shell struct{ ID string }
	if err := r.call("POST", "/api/v1/shells", ask{"device": "kitchen", "login": login, "cols": 80, "rows": 24}, &shell); err != nil || shell.ID == "" {
		t.Errorf("a shell for the browser: %v", err)
	}
	r.adit(ctx, "ssh-config").text(t)
	r.device.serve("127.0.0.9:8110", "from the neighbour")
	r.stays("neighbour", "ssh", "-N", "-L", "9110:127.0.0.9:8110", "-L", "9111:127.0.0.9:8111", login+"@kitchen.adit")
	r.host.fetches(t, "http://127.0.0.1:9110/", "from the neighbour")
	if out, err := r.openssh(ctx, "ssh", "-W", "127.0.0.9:8111", login+"@kitchen.adit").says(); err == nil || !strings.Contains(out, "administratively prohibited") {
		t.Errorf("another neighbour is reached: %v\n%s", err, out)
	}
	r.host.signal("neighbour", "TERM")
	target := "$(sed -n 's/^device //p' /etc/adit-ssh/state)@hub.adit.test"
	if out, err := r.device.try("sh", "-c", "ssh -F /etc/adit-ssh/config -o ClearAllForwardings=yes -W 127.0.0.1:22 "+target); err == nil ||
		!strings.Contains(out, "administratively prohibited") {
		t.Errorf("the device's key opens a way: %v\n%s", err, out)
	}
	eventually(t, patience, "kitchen online again, which that login had replaced", r.online("kitchen", true))
}

// The connection comes back by itself: after a restart of the hub, after the cable was cut (ADIT_SOAK says for how long),
// after the machine's own restart. Taking it out leaves the machine as it was.
func TestWithoutOurAgentComesBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, "nginx")
	r.startSSHD()
	r.hashRoots()
	before := r.device.files()
	var code installCode
	r.agentless(func(c installCode) string { code = c; return c.CommandOpenssh })

	r.stopHub("KILL")
	r.startHub()
	eventually(t, patience, "kitchen back after the hub's restart", r.online("kitchen", true))

	r.cut()
	over := time.After(soakFor(t, 0))
	promised(t, noticedWithin, "kitchen offline", r.online("kitchen", false))
	<-over
	r.heal()
	eventually(t, 3*patience, "kitchen back after the cut", r.online("kitchen", true))

	r.device.sh("kill $(cat /etc/adit-ssh/pid)")
	promised(t, noticedWithin, "kitchen offline, as in a restart of the machine", r.online("kitchen", false))
	r.device.daemon("boot", "/dev/null", nil, "/etc/adit-ssh/run")
	eventually(t, patience, "kitchen back after its own restart", r.online("kitchen", true))

	script := fmt.Sprintf("curl -fsSL '%s/i?via=openssh' | sh -s -- --uninstall", hubURL)
	t.Log(r.device.run("sh", "-c", script))
	promised(t, noticedWithin, "kitchen offline for good", r.online("kitchen", false))
	if after := r.device.files(); after != before {
		t.Errorf("after --uninstall:\n%s\nbefore:\n%s", after, before)
	}
	eventually(t, patience, "nothing left running", func() error {
		if left, err := r.device.try("pgrep", "-a", "ssh$|openssl"); err == nil {
			return errorText(left)
		}
		return nil
	})
	r.device.sh("/usr/sbin/sshd -t")
	if code.CommandOpenssl == "" {
		t.Error("there is no line for openssl")
	}
}
