package sshserver

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/leaktest"
	"github.com/aditdev/adit/internal/sshdtest"
	"github.com/aditdev/adit/internal/wire"
)

const sftpWord = "serve-sftp"

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == sftpWord {
		if err := ServeSFTP(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	_ = HearHangUps() // the tests may run below nohup, as an agent may
	leaktest.Main(m)
}

const testDevice = "dev_01JD0000000000000000000000"

// rig is a running server, its CA, and a directory from which the real OpenSSH clients speak to it.
type rig struct {
	t       *testing.T
	dir     string
	address string
	ca      ssh.Signer
	hostKey ssh.Signer
	login   string
}

func newRig(t *testing.T) *rig {
	t.Helper()
	sshdtest.NeedLogin(t)
	dir := t.TempDir()
	hostKey, err := EnsureHostKey(filepath.Join(dir, "host_key"))
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, dir: dir, ca: newSigner(t), hostKey: hostKey, login: currentUser(t)}
	server := New(Config{
		Log:     slog.New(slog.NewTextHandler(t.Output(), nil)),
		HostKey: hostKey,
		UserCA:  func() (ssh.PublicKey, error) { return r.ca.PublicKey(), nil },
		Principal: func(login string) string {
			if login == "forbidden" {
				return ""
			}
			return testDevice + "/" + login
		},
		Dial: func(ctx context.Context, host string, port int) (net.Conn, error) {
			if host != "127.0.0.1" {
				return nil, wire.Errorf(wire.Forbidden, "The device does not allow %s.", host)
			}
			var d net.Dialer
			return d.DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		},
		SFTP: []string{os.Args[0], sftpWord},
		Now:  time.Now,
	})
	r.listen(server)
	r.write("known_hosts", "adit "+string(ssh.MarshalAuthorizedKey(hostKey.PublicKey())))
	r.newKey("id", nil)
	return r
}

func (r *rig) listen(server *Server) {
	r.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	r.address = l.Addr().String()
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { server.Serve(conn) })
		}
	})
	r.t.Cleanup(func() {
		_ = l.Close()
		server.Close()
		wg.Wait()
	})
}

func currentUser(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("id", "-un").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func newSigner(t *testing.T) ssh.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// certificate is a good one for login; change may spoil it.
func (r *rig) certificate(key ssh.PublicKey, login string, change func(*ssh.Certificate)) *ssh.Certificate {
	r.t.Helper()
	now := time.Now()
	cert := &ssh.Certificate{
		Key: key, CertType: ssh.UserCert, KeyId: "ada", ValidPrincipals: []string{testDevice + "/" + login},
		ValidAfter: uint64(now.Add(-5 * time.Minute).Unix()), ValidBefore: uint64(now.Add(time.Hour).Unix()),
		Permissions: ssh.Permissions{Extensions: map[string]string{"permit-pty": "", "permit-port-forwarding": ""}},
	}
	ca := r.ca
	if change != nil {
		change(cert)
	}
	if err := cert.SignCert(rand.Reader, ca); err != nil {
		r.t.Fatal(err)
	}
	return cert
}

// newKey writes key and certificate as ssh wants them.
func (r *rig) newKey(name string, change func(*ssh.Certificate)) {
	r.t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		r.t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		r.t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		r.t.Fatal(err)
	}
	r.write(name, string(pem.EncodeToMemory(block)))
	r.write(name+"-cert.pub", string(ssh.MarshalAuthorizedKey(r.certificate(key, r.login, change))))
}

func (r *rig) write(name, text string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) options(key string) []string {
	_, port, _ := net.SplitHostPort(r.address)
	return []string{
		"-F", "none", "-o", "Port=" + port, "-o", "HostKeyAlias=adit", "-o", "StrictHostKeyChecking=yes",
		"-o", "UserKnownHostsFile=" + filepath.Join(r.dir, "known_hosts"), "-o", "IdentitiesOnly=yes",
		"-o", "IdentityFile=" + filepath.Join(r.dir, key), "-o", "BatchMode=yes", "-o", "LogLevel=INFO",
	}
}

// run runs a real OpenSSH program: program, our options, then args, in which HOST stands for the server.
func (r *rig) run(program, key, stdin string, args ...string) (stdout, stderr string, err error) {
	r.t.Helper()
	sshdtest.NeedTools(r.t, program)
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	argv := r.options(key)
	for _, a := range args {
		argv = append(argv, strings.ReplaceAll(a, "HOST", r.login+"@127.0.0.1"))
	}
	cmd := exec.CommandContext(ctx, program, argv...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

func exitCode(err error) int {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	if err != nil {
		return -1
	}
	return 0
}

func TestCommands(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	home, _ := os.UserHomeDir()
	shell := filepath.Base(shellOf(r.login))
	for _, c := range []struct {
		name, stdin    string
		args           []string
		stdout, stderr string
		status         int
	}{
		{name: "output", args: []string{"HOST", "echo out; echo err >&2"}, stdout: "out\n", stderr: "err\n"},
		{name: "exit status", args: []string{"HOST", "exit 7"}, status: 7},
		{name: "stdin", stdin: "some\ninput\n", args: []string{"HOST", "wc -l"}, stdout: "2\n"},
		{name: "killed by a signal", args: []string{"HOST", "kill -TERM $$"}, status: 255},
		{name: "environment", args: []string{"HOST", "echo $USER $HOME $PWD"}, stdout: r.login + " " + home + " " + home + "\n"},
		{name: "language is taken", args: []string{"-o", "SetEnv=LC_ALL=xx", "HOST", "echo $LC_ALL"}, stdout: "xx\n"},
		{name: "loader settings are not", args: []string{"-o", "SetEnv=LD_PRELOAD=xx", "HOST", "echo $LD_PRELOAD"}, stdout: "\n"},
		{name: "login shell by stdin", stdin: "echo $0; exit 3\n", args: []string{"HOST"}, stdout: "-" + shell + "\n", status: 3},
		{name: "terminal", args: []string{"-tt", "HOST", "tty >/dev/null && echo yes"}, stdout: "yes\r\n"},
	} {
		stdout, stderr, err := r.run("ssh", "id", c.stdin, c.args...)
		if stdout != c.stdout || !strings.Contains(stderr, c.stderr) || exitCode(err) != c.status {
			t.Errorf("%s: status %d (%v), stdout %q, stderr %q", c.name, exitCode(err), err, stdout, stderr)
		}
	}
}

func TestBulkBothWays(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	data := make([]byte, 8<<20)
	_, _ = rand.Read(data)
	stdout, stderr, err := r.run("ssh", "id", string(data), "HOST", "cat")
	if err != nil || stdout != string(data) {
		t.Errorf("%d bytes of %d came back: %v %s", len(stdout), len(data), err, stderr)
	}
}

func TestCopies(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.write("source", strings.Repeat("0123456789abcdef", 1<<16))
	source, copied, back := filepath.Join(r.dir, "source"), filepath.Join(r.dir, "copied"), filepath.Join(r.dir, "back")
	if _, stderr, err := r.run("scp", "id", "", source, "HOST:"+copied); err != nil {
		t.Fatalf("scp up: %v %s", err, stderr)
	}
	batch := fmt.Sprintf("get %s %s\nmkdir %s\nchmod 700 %[3]s\n", copied, back, filepath.Join(r.dir, "made"))
	if _, stderr, err := r.run("sftp", "id", batch, "-b", "-", "HOST"); err != nil {
		t.Fatalf("sftp: %v %s", err, stderr)
	}
	a, _ := os.ReadFile(source)
	b, err := os.ReadFile(back)
	if err != nil || !bytes.Equal(a, b) {
		t.Errorf("%d bytes went, %d came back: %v", len(a), len(b), err)
	}
	if info, err := os.Stat(filepath.Join(r.dir, "made")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("made: %v %v", info, err)
	}
}

func echoServer(t *testing.T) (port string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				_, _ = io.Copy(conn, conn)
				_ = conn.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	_, port, _ = net.SplitHostPort(l.Addr().String())
	return port
}

func TestForwarding(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	port := echoServer(t)
	// -W is direct-tcpip as -L and -D use it; the end of input must come back as the end of output.
	stdout, stderr, err := r.run("ssh", "id", "through and back", "-W", "127.0.0.1:"+port, "HOST")
	if err != nil || stdout != "through and back" {
		t.Errorf("-W: %q %v %s", stdout, err, stderr)
	}
	if _, stderr, err = r.run("ssh", "id", "", "-W", "192.0.2.1:80", "HOST"); err == nil || !strings.Contains(stderr, "does not allow 192.0.2.1") {
		t.Errorf("beyond the policy: %v %s", err, stderr)
	}
	r.newKey("plain", func(c *ssh.Certificate) { delete(c.Extensions, "permit-port-forwarding") })
	if _, stderr, err = r.run("ssh", "plain", "", "-W", "127.0.0.1:"+port, "HOST"); err == nil || !strings.Contains(stderr, "not granted") {
		t.Errorf("without the extension: %v %s", err, stderr)
	}
	if _, _, err = r.run("ssh", "id", "", "-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:"+port, "HOST", "true"); exitCode(err) != 255 {
		t.Errorf("-R was granted: %v", err)
	}
}

func TestForceCommand(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.newKey("forced", func(c *ssh.Certificate) {
		c.CriticalOptions = map[string]string{"force-command": "echo forced, not $SSH_ORIGINAL_COMMAND"}
	})
	if stdout, _, _ := r.run("ssh", "forced", "", "HOST", "id"); stdout != "forced, not id\n" {
		t.Errorf("ran %q", stdout)
	}
}

// Every certificate that must not open: each differs from a good one in one point.
func TestRefusedCertificates(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	other := newSigner(t)
	key := newSigner(t)
	for _, c := range []struct {
		name   string
		login  string
		change func(*ssh.Certificate)
		sign   func(*ssh.Certificate)
	}{
		{name: "no principals", change: func(c *ssh.Certificate) { c.ValidPrincipals = nil }},
		{name: "another device", change: func(c *ssh.Certificate) { c.ValidPrincipals = []string{"dev_x/" + r.login} }},
		{name: "another login", change: func(c *ssh.Certificate) { c.ValidPrincipals = []string{testDevice + "/somebody"} }},
		{name: "bare login as principal", change: func(c *ssh.Certificate) { c.ValidPrincipals = []string{r.login} }},
		{name: "host certificate", change: func(c *ssh.Certificate) { c.CertType = ssh.HostCert }},
		{name: "expired", change: func(c *ssh.Certificate) { c.ValidBefore = c.ValidAfter + 1 }},
		{name: "not yet", change: func(c *ssh.Certificate) { c.ValidAfter += 3600; c.ValidBefore += 3600 }},
		{name: "for ever", change: func(c *ssh.Certificate) { c.ValidBefore = ssh.CertTimeInfinity }},
		{name: "two days", change: func(c *ssh.Certificate) { c.ValidBefore += 48 * 3600 }},
		{name: "unknown critical option", change: func(c *ssh.Certificate) { c.CriticalOptions = map[string]string{"new-thing": ""} }},
		{name: "source address", change: func(c *ssh.Certificate) { c.CriticalOptions = map[string]string{"source-address": "0.0.0.0/0"} }},
		{name: "another CA", sign: func(c *ssh.Certificate) { _ = c.SignCert(rand.Reader, other) }},
		{name: "forged", sign: func(c *ssh.Certificate) { c.KeyId = "mallory" }},
		{name: "login that policy forbids", login: "forbidden"},
		{name: "account without a shell", login: "nobody"},
		{name: "no such account", login: "nosuchaccount"},
	} {
		login := r.login
		if c.login != "" {
			login = c.login
		}
		cert := r.certificate(key.PublicKey(), login, c.change)
		if c.sign != nil {
			c.sign(cert)
		}
		if err := r.tryLogin(login, cert, key); err == nil {
			t.Errorf("%s: let in", c.name)
		}
	}
	if err := r.tryLogin(r.login, r.certificate(key.PublicKey(), r.login, nil), key); err != nil {
		t.Errorf("a good one is refused, so this test proves nothing: %v", err)
	}
	config := &ssh.ClientConfig{User: r.login, Auth: []ssh.AuthMethod{ssh.PublicKeys(r.ca)}, HostKeyCallback: ssh.FixedHostKey(r.hostKey.PublicKey())}
	if _, err := ssh.Dial("tcp", r.address, config); err == nil {
		t.Error("the CA's bare key let in")
	}
}

func (r *rig) tryLogin(login string, cert *ssh.Certificate, key ssh.Signer) error {
	signer, err := ssh.NewCertSigner(cert, key)
	if err != nil {
		return err
	}
	client, err := ssh.Dial("tcp", r.address, &ssh.ClientConfig{
		User: login, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: ssh.FixedHostKey(r.hostKey.PublicKey()),
	})
	if err != nil {
		return err
	}
	return client.Close()
}

func (r *rig) client() *ssh.Client {
	r.t.Helper()
	key := newSigner(r.t)
	signer, err := ssh.NewCertSigner(r.certificate(key.PublicKey(), r.login, nil), key)
	if err != nil {
		r.t.Fatal(err)
	}
	client, err := ssh.Dial("tcp", r.address, &ssh.ClientConfig{
		User: r.login, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: ssh.FixedHostKey(r.hostKey.PublicKey()),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = client.Close() })
	return client
}

func TestTerminalAndSignals(t *testing.T) {
	t.Parallel()
	client := newRig(t).client()
	s, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.RequestPty("xterm", 24, 80, ssh.TerminalModes{}); err != nil {
		t.Fatal(err)
	}
	stdin, _ := s.StdinPipe()
	stdout, _ := s.StdoutPipe()
	// Says its size when it begins and at each change of it, and how it is told to end.
	const script = `trap 'stty size' WINCH; trap 'echo told; exit 5' TERM; stty size; echo $TERM; while :; do sleep 0.1; done`
	if err := s.Start(script); err != nil {
		t.Fatal(err)
	}
	out := newLines(stdout)
	out.expect(t, "24 80", "xterm")
	if err := s.WindowChange(50, 132); err != nil {
		t.Fatal(err)
	}
	out.expect(t, "50 132")
	if err := s.Signal(ssh.SIGTERM); err != nil {
		t.Fatal(err)
	}
	out.expect(t, "told")
	err = s.Wait()
	if exit, ok := errors.AsType[*ssh.ExitError](err); !ok || exit.ExitStatus() != 5 {
		t.Errorf("ended with %v", err)
	}
	_ = stdin.Close()
}

func TestUnknownChannelsAndRequestsAreRefused(t *testing.T) {
	t.Parallel()
	client := newRig(t).client()
	for _, kind := range []string{"x11", "auth-agent@openssh.com", "forwarded-tcpip", "direct-streamlocal@openssh.com", "tun@openssh.com"} {
		if _, _, err := client.OpenChannel(kind, nil); err == nil {
			t.Errorf("channel %s was opened", kind)
		}
	}
	for _, kind := range []string{"tcpip-forward", "streamlocal-forward@openssh.com", "anything"} {
		if ok, _, err := client.SendRequest(kind, true, nil); ok || err != nil {
			t.Errorf("request %s: %v %v", kind, ok, err)
		}
	}
	s, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"auth-agent-req@openssh.com", "x11-req", "break"} {
		if ok, err := s.SendRequest(kind, true, nil); ok || err != nil {
			t.Errorf("request %s: %v %v", kind, ok, err)
		}
	}
	if err := s.RequestSubsystem("netconf"); err == nil {
		t.Error("an unknown subsystem was started")
	}
}

func TestChannelsAreCounted(t *testing.T) {
	t.Parallel()
	client := newRig(t).client()
	var opened []ssh.Channel
	for range maxChannels {
		ch, requests, err := client.OpenChannel("session", nil)
		if err != nil {
			t.Fatal(err)
		}
		go ssh.DiscardRequests(requests)
		opened = append(opened, ch)
	}
	if _, _, err := client.OpenChannel("session", nil); err == nil {
		t.Error("one more channel than allowed was opened")
	}
	_ = opened[0].Close()
	for deadline := time.Now().Add(time.Minute); ; {
		ch, requests, err := client.OpenChannel("session", nil)
		if err == nil {
			go ssh.DiscardRequests(requests)
			_ = ch.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("a closed channel is never given back: %v", err)
		}
	}
}

func TestSilentClientIsCutOff(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	conn, err := net.Dial("tcp", r.address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetReadDeadline(time.Now().Add(handshakeTimeout + time.Minute))
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Errorf("still open after the handshake's time: %v", err)
	}
}

// lines reads lines with a time limit, so that a program that says too little fails the test instead of hanging it.
type lines struct{ next chan string }

func newLines(r io.Reader) *lines {
	l := &lines{make(chan string, 100)}
	go func() {
		defer close(l.next)
		var line []byte
		b := make([]byte, 1)
		for {
			if _, err := r.Read(b); err != nil {
				return
			}
			if b[0] != '\n' {
				line = append(line, b[0])
				continue
			}
			l.next <- strings.TrimRight(string(line), "\r")
			line = nil
		}
	}()
	return l
}

// expect waits for each of want in turn, passing over what a shell says besides.
func (l *lines) expect(t *testing.T, want ...string) {
	t.Helper()
	limit := time.After(time.Minute)
	for _, w := range want {
		for got, ok := "", true; got != w; {
			select {
			case got, ok = <-l.next:
			case <-limit:
				ok = false
			}
			if !ok {
				t.Fatalf("never said %q", w)
			}
		}
	}
}
