package agent

import (
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"net"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/agent/sshserver"
	"github.com/aditdev/adit/internal/porttest"
	"github.com/aditdev/adit/internal/sshdtest"
	"github.com/aditdev/adit/internal/wire"
)

func newTestDevice(t *testing.T, p Paths, c Config) *device {
	t.Helper()
	d, err := newDevice(slog.New(slog.NewTextHandler(t.Output(), nil)), p, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.close)
	return d
}

// whoAnswers opens target for user and gives the first line that comes, as SSH servers speak first.
func whoAnswers(t *testing.T, d *device, target wire.Target, user string) string {
	t.Helper()
	conn, err := d.Open(t.Context(), wire.Open{Target: target, User: user})
	if err != nil {
		return err.Error()
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	buf := make([]byte, 100)
	n, err := conn.Read(buf)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(buf[:n]))
}

func TestOpenChecksThePolicy(t *testing.T) {
	p, c, _ := installed(t)
	c.Policy.Rescue, c.Policy.Targets = false, []string{"ssh", "loopback"}
	d := newTestDevice(t, p, c)
	for _, target := range []string{"rescue", "mqtt", "http", "tcp:192.0.2.1:80", "tcp:example.com:80"} {
		_, err := d.Open(t.Context(), wire.Open{Target: wire.Target(target)})
		if wire.CodeOf(err) != wire.Forbidden {
			t.Errorf("%s: %v", target, err)
		}
	}
	if _, err := d.Open(t.Context(), wire.Open{Target: "unix:/run/docker.sock"}); wire.CodeOf(err) != wire.Invalid {
		t.Errorf("an unknown kind of target: %v", err)
	}
	if _, err := d.Open(t.Context(), wire.Open{Target: "tcp:127.0.0.1:1"}); wire.CodeOf(err) != wire.Offline || !strings.Contains(err.Error(), "Nothing listens at 127.0.0.1:1") {
		t.Errorf("a closed port: %v", err)
	}
}

// Each user reaches sshd from a loopback address of their own, so that one person's failures shut out nobody else.
func TestSourcesByUser(t *testing.T) {
	p, c, _ := installed(t)
	d := newTestDevice(t, p, c)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	var seen []string
	for _, user := range []string{"usr_ada", "usr_bob", "usr_ada"} {
		conn, err := d.Open(t.Context(), wire.Open{Target: wire.Target("tcp:" + l.Addr().String()), User: user})
		if err != nil {
			t.Fatal(err)
		}
		far, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		host, _, _ := net.SplitHostPort(far.RemoteAddr().String())
		seen = append(seen, host)
		_, _ = far.Close(), conn.Close()
	}
	if seen[0] != loopbackSource("usr_ada").String() || seen[1] == seen[0] || seen[2] != seen[0] {
		t.Errorf("came from %v", seen)
	}
}

// Target ssh: sshd where it takes the hub's certificates, and then nothing else in its place; rescue always ours.
func TestWhoServesSSH(t *testing.T) {
	rootOnly(t)
	p, c, _ := installed(t)
	server := startSSHD(t)
	d := newTestDevice(t, p, c)
	if got := whoAnswers(t, d, "ssh", "usr_1"); got != "SSH-2.0-Adit" {
		t.Errorf("before sshd was set up: %s", got)
	}
	if _, err := server.truster(p, c).byDropIn(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.sshd = server.sshd // of all on this machine, this one
	if got := whoAnswers(t, d, "ssh", "usr_1"); !strings.HasPrefix(got, "SSH-2.0-OpenSSH_") {
		t.Errorf("with sshd set up: %s", got)
	}
	if got := whoAnswers(t, d, "rescue", "usr_1"); got != "SSH-2.0-Adit" {
		t.Errorf("rescue: %s", got)
	}
	c.Services.SSH = server.address
	if got := whoAnswers(t, newTestDevice(t, p, c), "ssh", "usr_1"); !strings.HasPrefix(got, "SSH-2.0-OpenSSH_") {
		t.Errorf("with its address in the settings: %s", got)
	}
	c.Services.SSH = sshBuiltin
	if got := whoAnswers(t, newTestDevice(t, p, c), "ssh", "usr_1"); got != "SSH-2.0-Adit" {
		t.Errorf("with builtin in the settings: %s", got)
	}
}

// Dropbear knows no user certificates: it is recognised, left alone, and the built-in server answers instead.
func TestDropbear(t *testing.T) {
	rootOnly(t)
	sshdtest.NeedTools(t, "dropbear", "dropbearkey")
	p, c, ca := installed(t)
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	if out, err := exec.Command("dropbearkey", "-t", "ed25519", "-f", key).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	address := porttest.Address(t)
	cmd := exec.Command("/usr/sbin/dropbear", "-F", "-E", "-r", key, "-p", address, "-P", filepath.Join(dir, "pid"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	var own []socket
	err := await(t.Context(), func() bool {
		own = slices.DeleteFunc(listeningSockets(), func(s socket) bool { return s.pid != cmd.Process.Pid })
		return len(own) > 0
	})
	if err != nil {
		t.Fatal(err)
	}
	found, ok := ownedSSHD(own, "dropbear")
	if !ok || found.address != address || found.kind != "dropbear" {
		t.Fatalf("found %+v", found)
	}
	facts := sshFacts(t.Context(), p, c, found)
	if facts.Server != "builtin" || facts.Note == nil || !strings.Contains(*facts.Note, "Dropbear") {
		t.Errorf("facts say %+v", facts)
	}
	if out, err := throughBuiltin(t, newTestDevice(t, p, c), p, ca, "echo in"); err != nil || out != "in\n" {
		t.Errorf("%v %q", err, out)
	}
}

// throughBuiltin runs a command over target ssh with a certificate of ca, checking the agent's host key.
func throughBuiltin(t *testing.T, d *device, p Paths, ca ssh.Signer, command string) (string, error) {
	t.Helper()
	conn, err := d.Open(t.Context(), wire.Open{Target: wire.TargetSSH, User: "usr_1"})
	if err != nil {
		return "", err
	}
	key, err := newThrowAway()
	if err != nil {
		t.Fatal(err)
	}
	now := uint64(time.Now().Unix())
	cert := &ssh.Certificate{Key: key.PublicKey(), CertType: ssh.UserCert, ValidPrincipals: []string{testDevice + "/root"}, ValidAfter: now - 60, ValidBefore: now + 60}
	if err := cert.SignCert(rand.Reader, ca); err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewCertSigner(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	hostKey, err := sshserver.EnsureHostKey(p.HostKey())
	if err != nil {
		t.Fatal(err)
	}
	c, channels, requests, err := ssh.NewClientConn(conn, "adit", &ssh.ClientConfig{
		User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: ssh.FixedHostKey(hostKey.PublicKey()),
	})
	if err != nil {
		return "", err
	}
	client := ssh.NewClient(c, channels, requests)
	defer func() { _ = client.Close() }()
	session, err := client.NewSession()
	if err != nil {
		return "", err
	}
	out, err := session.Output(command)
	return string(out), err
}

// Ending the agent ends what its built-in server serves: Run must not hang on somebody's open shell.
func TestCloseEndsBuiltinConnections(t *testing.T) {
	p, c, _ := installed(t)
	d := newTestDevice(t, p, c)
	conn, err := d.Open(t.Context(), wire.Open{Target: wire.TargetRescue})
	if err != nil {
		t.Fatal(err)
	}
	d.close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Errorf("still open: %v", err)
	}
}

func TestCallFacts(t *testing.T) {
	p, c, _ := installed(t)
	d := newTestDevice(t, p, c)
	got, err := d.Call(t.Context(), wire.MethodFacts, nil)
	if err != nil {
		t.Fatal(err)
	}
	report := got.(wire.FactsReport)
	for _, member := range []string{`"hostname"`, `"os"`, `"arch"`, `"cpus":` + strconv.Itoa(runtime.NumCPU()), `"services"`, `"ssh"`, `"policy"`} {
		if !strings.Contains(string(report.Facts), member) {
			t.Errorf("no %s in %s", member, report.Facts)
		}
	}
	if len(report.SSHHostKeys) == 0 || len(report.Facts) > 24<<10 {
		t.Errorf("%d keys, %d bytes", len(report.SSHHostKeys), len(report.Facts))
	}
	if _, err := d.Call(context.Background(), "format-disk", nil); wire.CodeOf(err) != wire.NotFound {
		t.Error(err)
	}
}
