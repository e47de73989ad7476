package sshgate_test

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/devices"
	"github.com/aditdev/adit/internal/sshdtest"
	"github.com/aditdev/adit/internal/store"
)

// newHeldRig has a real sshd on broker, and dan has one strict grant there: for the account that the tests run as.
func newHeldRig(t *testing.T, grant devices.Grant) *rig {
	t.Helper()
	r := newRig(t)
	r.sshd = sshdtest.Start(t, sshdtest.Options{CA: r.ca.PublicKey(), Device: r.ids["broker"], Extra: []string{"AcceptEnv LC_*"}})
	r.strict(grant)
	r.station("broker", 1883)
	return r
}

// strict puts a grant in the place of dan's.
func (r *rig) strict(grant devices.Grant) store.Grant {
	r.t.Helper()
	grant.User, grant.Device, grant.Strict = r.dan.User, r.ids["broker"], true
	if grant.Logins == nil {
		grant.Logins = []string{r.sshd.Login}
	}
	made, err := r.devices.AddGrant(r.t.Context(), "test", grant)
	must(r.t, err)
	must(r.t, r.devices.RemoveGrant(r.t.Context(), "test", r.danGrant))
	r.danGrant = made.ID
	return made
}

// openSSH is the stock client with nothing but what the device's page tells to write.
type openSSH struct {
	t      testing.TB
	dir    string
	config string
	login  string
}

func (r *rig) openSSH() openSSH {
	r.t.Helper()
	sshdtest.NeedTools(r.t, "ssh", "scp", "sftp")
	dir := r.t.TempDir()
	_, port, err := net.SplitHostPort(r.address)
	must(r.t, err)
	block, err := ssh.MarshalPrivateKey(r.danPrivate, "")
	must(r.t, err)
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		must(r.t, os.WriteFile(file, []byte(text), 0o600))
		return file
	}
	key := write("key", string(pem.EncodeToMemory(block)))
	known := write("known", fmt.Sprintf("[127.0.0.1]:%s %sbroker.adit %s", port, ssh.MarshalAuthorizedKey(r.hostKey.PublicKey()),
		ssh.MarshalAuthorizedKey(r.heldKey.PublicKey())))
	config := write("config", fmt.Sprintf("Host hub\n  HostName 127.0.0.1\n  Port %s\n  User dan\n  IdentityFile %s\n  IdentitiesOnly yes\n"+
		"Host *.adit\n  ProxyJump hub\n  IdentityFile none\nHost *\n  UserKnownHostsFile %s\n  StrictHostKeyChecking yes\n  BatchMode yes\n"+
		"  SendEnv LC_*\n", port, key, known))
	return openSSH{t: r.t, dir: dir, config: config, login: r.sshd.Login}
}

func (o openSSH) command(program string, args ...string) *exec.Cmd {
	return exec.CommandContext(o.t.Context(), program, append([]string{"-F", o.config}, args...)...)
}

// run runs a command on the device.
func (o openSSH) run(stdin string, words ...string) (out, errs string, status int) {
	o.t.Helper()
	cmd := o.command("ssh", append([]string{o.login + "@broker.adit"}, words...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return stdout.String(), stderr.String(), exit.ExitCode()
	}
	must(o.t, err)
	return stdout.String(), stderr.String(), 0
}

// Output, errors, input to its end, statuses and signals pass as if the device had answered.
func TestHeldCommands(t *testing.T) {
	t.Parallel()
	r := newHeldRig(t, devices.Grant{})
	o := r.openSSH()
	big := strings.Repeat("0123456789abcdef", 1<<16)
	for _, c := range []struct {
		stdin, command, out, errs string
		status                    int
	}{
		{"", "echo out; echo err >&2; exit 7", "out\n", "err\n", 7},
		{"one\ntwo\n", "wc -l", "2\n", "", 0},
		{big, "cat", big, "", 0},
		{big, "cat >&2", "", big, 0},
		{"", "kill -TERM $$", "", "", 255}, // as ssh has it for a signal
	} {
		out, errs, status := o.run(c.stdin, c.command)
		if strings.TrimSpace(out) != strings.TrimSpace(c.out) || errs != c.errs || status != c.status {
			t.Errorf("%s: %.80q, %.200q, %d", c.command, out, errs, status)
		}
	}
	t.Run("env", func(t *testing.T) {
		cmd := o.command("ssh", o.login+"@broker.adit", "echo $LC_TEST")
		cmd.Env = append(os.Environ(), "LC_TEST=it passed")
		if out, err := cmd.Output(); string(out) != "it passed\n" {
			t.Errorf("%q, %v", out, err)
		}
	})
	eventually(t, "no stream is left", func() bool { return len(r.tunnel.Streams()) == 0 })
}

func TestHeldCopies(t *testing.T) {
	t.Parallel()
	r := newHeldRig(t, devices.Grant{})
	o := r.openSSH()
	data := bytes.Repeat([]byte("any bytes \x00\xff"), 1<<18)
	from, back := filepath.Join(o.dir, "from"), filepath.Join(o.dir, "back")
	must(t, os.WriteFile(from, data, 0o600))
	far := filepath.Join(r.sshd.Home, "far")
	at := o.login + "@broker.adit:"
	for _, c := range []struct{ name, program, to, from string }{
		{"scp by sftp", "scp", at + far, at + far},
		{"scp of old", "scp -O", at + far, at + far},
		{"rsync", "rsync", at + far, at + far},
	} {
		words := strings.Fields(c.program)
		sshdtest.NeedTools(t, words[0])
		copy := func(from, to string) {
			cmd := o.command(words[0], append(words[1:], from, to)...)
			if words[0] == "rsync" {
				cmd = exec.CommandContext(t.Context(), "rsync", "-e", "ssh -F "+o.config, from, to)
			}
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s: %v: %s", c.name, err, out)
			}
		}
		_, _ = os.Remove(far), os.Remove(back)
		copy(from, c.to)
		copy(c.from, back)
		if got, _ := os.ReadFile(back); !bytes.Equal(got, data) {
			t.Errorf("%s: %d bytes came back of %d", c.name, len(got), len(data))
		}
	}
	cmd := o.command("sftp", "-b", "-", o.login+"@broker.adit")
	cmd.Stdin = strings.NewReader("rename " + far + " " + far + "2\nls -l " + far + "2\n")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "far2") {
		t.Errorf("sftp: %v: %s", err, out)
	}
}

// dialHeld is an SSH client behind the gate, as another than OpenSSH may be.
func (r *rig) dialHeld(gate *ssh.Client, user string, methods ...ssh.AuthMethod) (*ssh.Client, error) {
	conn, err := gate.Dial("tcp", "broker.adit:22")
	if err != nil {
		return nil, err
	}
	c, channels, requests, err := ssh.NewClientConn(conn, "broker.adit", &ssh.ClientConfig{User: user, Auth: methods,
		HostKeyCallback: ssh.FixedHostKey(r.heldKey.PublicKey())})
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	client := ssh.NewClient(c, channels, requests)
	r.t.Cleanup(func() { _ = client.Close() })
	return client, nil
}

// A terminal: its size and its changes reach the device, and so do signals.
func TestHeldTerminal(t *testing.T) {
	t.Parallel()
	r := newHeldRig(t, devices.Grant{})
	c, err := r.dialHeld(r.come("dan", r.danKey), r.sshd.Login)
	must(t, err)
	session, err := c.NewSession()
	must(t, err)
	in, err := session.StdinPipe()
	must(t, err)
	var out syncBuffer
	session.Stdout = &out
	must(t, session.RequestPty("xterm", 30, 90, ssh.TerminalModes{}))
	must(t, session.Start("trap 'stty size; exit 3' WINCH; stty size; read line"))
	eventually(t, "the size", func() bool { return strings.Contains(out.String(), "30 90") })
	must(t, session.WindowChange(40, 100))
	eventually(t, "the new size", func() bool {
		_, _ = io.WriteString(in, "\n")
		return strings.Contains(out.String(), "40 100")
	})
	if exit, ok := errors.AsType[*ssh.ExitError](session.Wait()); !ok || exit.ExitStatus() != 3 {
		t.Errorf("it ended with %v", exit)
	}
	streams := r.tunnel.Streams()
	if len(streams) != 1 || streams[0].Login != r.sshd.Login || streams[0].Via != "gate" || streams[0].From != "127.0.0.1" {
		t.Errorf("the list of streams: %+v", streams)
	}
}

// Whoever came may enter the logins of their grant, by no proof or by a key of theirs; nobody else's key opens anything.
func TestHeldLogins(t *testing.T) {
	t.Parallel()
	r := newHeldRig(t, devices.Grant{})
	gate := r.come("dan", r.danKey)
	strangers := newSigner(t)
	for _, c := range []struct {
		name, user string
		methods    []ssh.AuthMethod
		want       bool
	}{
		{"nothing", r.sshd.Login, nil, true},
		{"an own key", r.sshd.Login, []ssh.AuthMethod{ssh.PublicKeys(r.danKey)}, true},
		{"another account", "nobody", nil, false},
		{"another account by an own key", "nobody", []ssh.AuthMethod{ssh.PublicKeys(r.danKey)}, false},
		{"another account by a stranger's key", "nobody", []ssh.AuthMethod{ssh.PublicKeys(strangers)}, false},
		{"another account by a password", "nobody", []ssh.AuthMethod{ssh.Password("nobody")}, false},
		{"no account's name", "-oProxyCommand=x", nil, false},
	} {
		c2, err := r.dialHeld(gate, c.user, c.methods...)
		if (err == nil) != c.want {
			t.Errorf("%s: %v", c.name, err)
		}
		if err == nil {
			_ = c2.Close()
		}
	}
	out, errs, status := r.openSSH().runAs("nobody", "id")
	if status != 255 || out != "" || !strings.Contains(errs, "adit: forbidden: No grant lets you in as") {
		t.Errorf("%q, %q, %d", out, errs, status)
	}
}

func (o openSSH) runAs(login string, words ...string) (out, errs string, status int) {
	o.login = login
	return o.run("", words...)
}

// Within, too, everything is refused that no rule allows.
func TestHeldRefusals(t *testing.T) {
	t.Parallel()
	r := newHeldRig(t, devices.Grant{Targets: []string{"ssh", "tcp:127.0.0.1:1883"}})
	gate := r.come("dan", r.danKey)
	c, err := r.dialHeld(gate, r.sshd.Login)
	must(t, err)
	for _, port := range []string{"127.0.0.1:1883", "localhost:1883"} {
		conn, err := c.Dial("tcp", port)
		if err != nil {
			t.Errorf("a port of the grant: %v", err)
			continue
		}
		_, _ = io.WriteString(conn, "hello ")
		_ = conn.(interface{ CloseWrite() error }).CloseWrite()
		if got, err := io.ReadAll(conn); string(got) != "hello bye" || err != nil {
			t.Errorf("%s: %q, %v", port, got, err)
		}
	}
	for _, port := range []string{"127.0.0.1:22", "localhost:22", "127.0.0.1:80", "192.168.1.2:22"} {
		if _, err := c.Dial("tcp", port); err == nil {
			t.Errorf("%s is forwarded", port)
		}
	}
	if _, err := gate.Dial("tcp", "broker.adit:2222"); err == nil {
		t.Error("a port of no grant is forwarded")
	}
	for _, kind := range []string{"x11", "auth-agent@openssh.com", "tun@openssh.com", "direct-streamlocal@openssh.com", "forwarded-tcpip"} {
		if _, _, err := c.OpenChannel(kind, nil); err == nil {
			t.Errorf("channel %s was opened", kind)
		}
	}
	for _, kind := range []string{"tcpip-forward", "streamlocal-forward@openssh.com"} {
		if ok, _, err := c.SendRequest(kind, true, nil); ok || err != nil {
			t.Errorf("request %s: %v, %v", kind, ok, err)
		}
	}
	session, err := c.NewSession()
	must(t, err)
	for _, kind := range []string{"x11-req", "auth-agent-req@openssh.com", "anything@example.com"} {
		if ok, err := session.SendRequest(kind, true, nil); ok || err != nil {
			t.Errorf("session request %s: %v, %v", kind, ok, err)
		}
	}
	if err := session.RequestSubsystem("netconf"); err == nil {
		t.Error("a subsystem that is not sftp was begun")
	}
	for _, said := range []string{"x11-req", "tun@openssh.com", "streamlocal-forward@openssh.com"} {
		if !strings.Contains(r.log.String(), said) {
			t.Errorf("the log does not tell of %s", said)
		}
	}
}

// A key's own options bind it where the hub ends SSH: what no-pty and permitopen say is said of this server.
func TestHeldKeysOptions(t *testing.T) {
	t.Parallel()
	r := newHeldRig(t, devices.Grant{Targets: []string{"ssh", "tcp:127.0.0.1:1883"}})
	key := newSigner(t)
	r.addKey(`restrict,port-forwarding,permitopen="broker.adit:22"`, key)
	c, err := r.dialHeld(r.come("dan", key), r.sshd.Login)
	must(t, err)
	session, err := c.NewSession()
	must(t, err)
	if err := session.RequestPty("xterm", 24, 80, ssh.TerminalModes{}); err == nil {
		t.Error("a key without pty got a terminal")
	}
	if _, err := c.Dial("tcp", "127.0.0.1:1883"); err == nil {
		t.Error("a key forwards what its permitopen does not name")
	}
}

// Rule 17, and the person reads why.
func TestHeldEndsWithItsGrant(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*rig){
		"removed":         func(r *rig) { must(r.t, r.devices.RemoveGrant(r.t.Context(), "test", r.danGrant)) },
		"another login's": func(r *rig) { r.strict(devices.Grant{Logins: []string{"other"}}) },
		"user":            func(r *rig) { must(r.t, r.accounts.RemoveUser(r.t.Context(), "owner", r.dan.User)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newHeldRig(t, devices.Grant{})
			c, err := r.dialHeld(r.come("dan", r.danKey), r.sshd.Login)
			must(t, err)
			session, err := c.NewSession()
			must(t, err)
			var errs syncBuffer
			session.Stderr = &errs
			must(t, session.Start("sleep 1000"))
			end(r)
			ends(t, "a command", func() { _ = session.Wait(); _ = c.Wait() })
			if name != "user" && !strings.Contains(errs.String(), "adit: ") {
				t.Errorf("the client was told %q", errs.String())
			}
			eventually(t, "no stream is left", func() bool { return len(r.tunnel.Streams()) == 0 })
		})
	}
}

// Rule 6: the hub is an SSH client that checks host keys, and gives nothing to an impostor.
func TestHeldChecksTheDevice(t *testing.T) {
	t.Parallel()
	r := newHeldRig(t, devices.Grant{})
	other := *r.sshd
	other.HostKey = newSigner(t).PublicKey()
	r.sshd = &other
	out, errs, status := r.openSSH().run("", "id")
	if status != 255 || out != "" || !strings.Contains(errs, "another SSH host key") {
		t.Errorf("%q, %q, %d", out, errs, status)
	}
}
