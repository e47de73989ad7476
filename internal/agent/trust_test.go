package agent

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/sshdtest"
)

func rootOnly(t *testing.T) {
	t.Helper()
	sshdtest.NeedRoot(t)
	sshdtest.NeedTools(t, "sshd", "ssh", "ssh-keygen")
}

// sshd takes the hub's certificates after one file was added, each for exactly its account and device, and is exactly
// as before once that was taken back.
func TestTrustByDropIn(t *testing.T) {
	rootOnly(t)
	p, c, ca := installed(t)
	d := startSSHD(t)
	before := d.sshd.settings(t.Context())
	tr := d.truster(p, c)
	r, err := tr.byDropIn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if out, err := d.ssh(ca, "root", []string{testDevice + "/root"}, "echo in"); err != nil || out != "in\n" {
		t.Errorf("a good certificate: %v %s", err, out)
	}
	for name, principals := range map[string][]string{
		"another account": {testDevice + "/pi"}, "another device": {"dev_other/root"}, "bare login": {"root"},
	} {
		if out, err := d.ssh(ca, "root", principals, "echo in"); err == nil {
			t.Errorf("%s was let in: %s", name, out)
		}
	}
	if data, _ := os.ReadFile(p.UserCA()); strings.Count(string(data), "\n") != 1 {
		t.Errorf("the throw-away CA is still trusted:\n%s", data)
	}
	if err := takeBackTrust(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, d.sshd.settings(t.Context())); diff != "" {
		t.Errorf("sshd's settings changed (-before +after):\n%s", diff)
	}
	if _, err := os.Stat(r.DropIn); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is still there", r.DropIn)
	}
}

// The device's own policy holds at sshd too.
func TestPolicyAtSSHD(t *testing.T) {
	rootOnly(t)
	p, c, ca := installed(t)
	d := startSSHD(t)
	if _, err := d.truster(p, c).byDropIn(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.Policy.Root = false
	if err := writePrincipals(p, c); err != nil {
		t.Fatal(err)
	}
	if out, err := d.ssh(ca, "root", []string{testDevice + "/root"}, "echo in"); err == nil {
		t.Errorf("root was let in against the policy: %s", out)
	}
}

// A site's own settings for certificates are never replaced, wherever they stand; a broken result is taken back.
func TestDropInIsRefusedOrTakenBack(t *testing.T) {
	rootOnly(t)
	for _, c := range []struct {
		name, says string
		settings   []string
		spoil      func(*truster)
	}{
		{name: "own CA", settings: []string{"TrustedUserCAKeys /dev/null"}, says: "trustedusercakeys of its own"},
		{name: "own principals", settings: []string{"AuthorizedPrincipalsFile /etc/ssh/principals"}, says: "authorizedprincipalsfile of its own"},
		{name: "own CA for some", settings: []string{"Match User nobody", "TrustedUserCAKeys /dev/null"}, says: "for some connections"},
		{name: "nobody may log in", settings: []string{"AllowUsers nosuchaccount"}, says: "a login with a certificate did not work"},
		{name: "program that sshd refuses to run", says: "a login with a certificate did not work", spoil: func(t *truster) {
			_ = os.Chmod(t.program, 0o777)
		}},
		{name: "program that is no path", says: "does not accept the added settings", spoil: func(t *truster) { t.program = "adit" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, config, _ := installed(t)
			d := startSSHD(t, c.settings...)
			before := d.sshd.settings(t.Context())
			tr := d.truster(p, config)
			if c.spoil != nil {
				c.spoil(&tr)
			}
			if _, err := tr.byDropIn(t.Context()); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v, want %q", err, c.says)
			}
			if diff := cmp.Diff(before, d.sshd.settings(t.Context())); diff != "" {
				t.Errorf("sshd's settings changed (-before +after):\n%s", diff)
			}
			left, _ := filepath.Glob(filepath.Join(d.dir, "sshd_config.d", "*"))
			if len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
			if err := d.sshd.awaitListening(t.Context()); err != nil {
				t.Error(err)
			}
			if data, _ := os.ReadFile(p.UserCA()); strings.Count(string(data), "\n") != 1 {
				t.Errorf("the throw-away CA is still trusted:\n%s", data)
			}
		})
	}
}

func TestTrustByAuthorizedKeys(t *testing.T) {
	rootOnly(t)
	p, c, ca := installed(t)
	d := startSSHD(t, "TrustedUserCAKeys /dev/null")
	keys := filepath.Join(d.dir, "authorized_keys")
	const theirs = "# mine\nssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGsomebody me@home"
	if err := os.WriteFile(keys, []byte(theirs), 0o640); err != nil {
		t.Fatal(err)
	}
	r, err := d.truster(p, c).byAuthorizedKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r.Keys != keys {
		t.Errorf("wrote %s", r.Keys)
	}
	if out, err := d.ssh(ca, "root", []string{testDevice + "/root"}, "echo in"); err != nil || out != "in\n" {
		t.Errorf("a good certificate: %v %s", err, out)
	}
	if out, err := d.ssh(ca, "root", []string{"root"}, "echo in"); err == nil {
		t.Errorf("a bare login as principal was let in: %s", out)
	}
	if data, _ := os.ReadFile(keys); strings.Contains(string(data), throwAway) || !strings.HasPrefix(string(data), theirs+"\n") {
		t.Errorf("file is now:\n%s", data)
	}
	if err := takeBackTrust(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	data, _ := os.ReadFile(keys)
	info, err := os.Stat(keys)
	if err != nil || string(data) != theirs+"\n" || info.Mode().Perm() != 0o640 {
		t.Errorf("%v, %v, and the file is:\n%s", err, info.Mode(), data)
	}
}

// banner is a server at a loopback address that greets everybody.
func banner(t *testing.T, host string) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", host+":0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, "welcome\n")
			_ = conn.Close()
		}
	}()
	return l.Addr().String()
}

// Rule 3: sshd itself forwards people (ssh -L, -D, -W: all ask for direct-tcpip) only to where the device's policy lets
// them, by whichever way it trusts the hub; a changed policy counts when the agent has started again.
func TestForwardsFollowThePolicy(t *testing.T) {
	rootOnly(t)
	own, neighbour, other := banner(t, "127.0.0.1"), banner(t, "127.0.0.2"), banner(t, "127.0.0.3")
	_, ownPort, _ := net.SplitHostPort(own)
	for name, trust := range map[string]func(truster, context.Context) (trustRecord, error){
		"drop-in": truster.byDropIn, "authorized_keys": truster.byAuthorizedKeys,
	} {
		t.Run(name, func(t *testing.T) {
			p, c, ca := installed(t)
			d := startSSHD(t)
			if _, err := trust(d.truster(p, c), t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, step := range []struct {
				targets []string
				open    []string
				refused []string
			}{
				{DefaultPolicy().Targets, []string{own, "localhost:" + ownPort}, []string{neighbour, other}},
				{DefaultPolicy().Allow([]string{"tcp:" + neighbour}).Targets, []string{own, neighbour}, []string{other}},
				{[]string{"ssh", "tcp:127.0.0.2:*"}, []string{neighbour}, []string{own, other}},
				{[]string{"ssh", "tcp:*:" + ownPort}, []string{own}, []string{neighbour, other}},
				{[]string{"ssh", "mqtt"}, nil, []string{own, neighbour}},
				{[]string{"tcp:*:*", "ssh"}, []string{own, neighbour, other}, nil},
			} {
				c.Policy.Targets = step.targets
				if err := refreshTrusted(p, c); err != nil {
					t.Fatal(err)
				}
				d.forwards(ca, step.targets, step.open, step.refused)
			}
		})
	}
}

func (r *realSSHD) forwards(ca ssh.Signer, targets, open, refused []string) {
	r.t.Helper()
	for _, address := range open {
		if out, err := r.ssh(ca, "root", []string{testDevice + "/root"}, "-W", address); err != nil || out != "welcome\n" {
			r.t.Errorf("%q: to %s: %v %s", targets, address, err, out)
		}
	}
	for _, address := range refused {
		if out, err := r.ssh(ca, "root", []string{testDevice + "/root"}, "-W", address); err == nil || !strings.Contains(out, "administratively prohibited") {
			r.t.Errorf("%q: to %s: %v %s", targets, address, err, out)
		}
	}
}

// A line that its owner took out of the file stays out.
func TestRemovedKeyLineStaysOut(t *testing.T) {
	p, c, ca := installed(t)
	keys := filepath.Join(p.Dir, "authorized_keys")
	const theirs = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGsomebody me@home\n"
	if err := os.WriteFile(keys, []byte(theirs), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := (truster{paths: p, config: c}).renewKeyLine(keys, ca.PublicKey()); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(keys); err != nil || string(data) != theirs {
		t.Errorf("%v\n%s", err, data)
	}
}

// A test that was killed leaves a CA line whose key nobody has; the agent removes it when it starts.
func TestStrayThrowAwayIsRemovedAtStart(t *testing.T) {
	p, c, _ := installed(t)
	stray, err := newThrowAway()
	if err != nil {
		t.Fatal(err)
	}
	keys := filepath.Join(p.Dir, "authorized_keys")
	tr := truster{paths: p, config: c}
	for file, line := range map[string]string{
		p.UserCA(): authorizedLine(stray.PublicKey()), keys: tr.keyLine(stray.PublicKey(), "root", throwAway),
	} {
		if err := addKeyLine(file, line); err != nil {
			t.Fatal(err)
		}
	}
	if err := (trustRecord{Keys: keys}).save(p.Trust()); err != nil {
		t.Fatal(err)
	}
	if err := refreshTrusted(p, c); err != nil {
		t.Fatal(err)
	}
	if data, _ := os.ReadFile(p.UserCA()); strings.Count(string(data), "\n") != 1 {
		t.Errorf("still trusted:\n%s", data)
	}
	if _, err := os.Stat(keys); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the line in authorized_keys is still there")
	}
}
