package agent

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/command"
	"github.com/aditdev/adit/internal/leaktest"
	"github.com/aditdev/adit/internal/porttest"
)

const testDevice = "dev_01JD0000000000000000000000"

// asAdit is the word by which this test program, started by sshd or as a service, becomes adit.
const asAdit = "agent"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == asAdit {
		stdio := command.Stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}
		ctx, stop := signalContext()
		status := command.Report(os.Stderr, Command().Run(ctx, os.Args[2:], stdio))
		stop()
		os.Exit(status)
	}
	leaktest.Main(m)
}

// installed is an enrolled machine whose files lie in a directory of the test's.
func installed(t *testing.T) (Paths, Config, ssh.Signer) {
	t.Helper()
	// Below /var: sshd wants every directory above what it is to run to be root's, and /tmp is everybody's.
	dir, err := os.MkdirTemp("/var/lib", "adit-test-")
	if err != nil {
		dir = t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	p := Paths{Dir: filepath.Join(dir, "adit"), User: os.Geteuid() != 0}
	if err := makeDir(p); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := Config{
		Hub: "http://127.0.0.1:1", HubName: "Test", HubKeys: []string{encodeKey(public)}, Device: testDevice, Name: "kitchen",
		Policy: DefaultPolicy(), Services: defaultServices(),
	}
	if _, err := ensureKey(p.Key()); err != nil {
		t.Fatal(err)
	}
	ca, err := newThrowAway()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.save(p.Config()); err != nil {
		t.Fatal(err)
	}
	if err := writeTrusted(p, c, authorizedLine(ca.PublicKey())); err != nil {
		t.Fatal(err)
	}
	return p, c, ca
}

// realSSHD is Debian's sshd on a port of its own, with settings below a directory of the test's.
type realSSHD struct {
	t       *testing.T
	dir     string
	config  string
	address string
	sshd    sshd
	log     *bytes.Buffer
}

func startSSHD(t *testing.T, settings ...string) *realSSHD {
	t.Helper()
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	r := &realSSHD{t: t, dir: dir, config: filepath.Join(dir, "sshd_config"), log: &bytes.Buffer{}}
	if err := os.Mkdir(filepath.Join(dir, "sshd_config.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(dir, "ssh_host_ed25519_key")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	r.address = porttest.Address(t)
	_, port, _ := net.SplitHostPort(r.address)
	text := fmt.Sprintf("Include %s/sshd_config.d/*.conf\nPort %s\nListenAddress 127.0.0.1\nHostKey %s\nPidFile %s/pid\n",
		dir, port, key, dir) + "UsePAM no\nAuthorizedKeysFile " + dir + "/authorized_keys\nStrictModes no\n" + strings.Join(settings, "\n") + "\n"
	if err := os.WriteFile(r.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r.start()
	return r
}

func (r *realSSHD) start() {
	r.t.Helper()
	cmd := exec.Command("/usr/sbin/sshd", "-D", "-e", "-f", r.config)
	cmd.Stderr = r.log
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if r.t.Failed() {
			r.t.Log("sshd: ", r.log.String())
		}
	})
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	for ctx.Err() == nil {
		for _, s := range listeningSockets() {
			if s.pid == cmd.Process.Pid {
				found, ok := ownedSSHD([]socket{s}, "openssh")
				if !ok {
					r.t.Fatal("sshd listens, but is not recognised")
				}
				r.sshd = found
				return
			}
		}
	}
	r.t.Fatalf("sshd does not listen: %s", r.log.String())
}

// truster is the one for this sshd alone, whatever else listens on the machine.
func (r *realSSHD) truster(p Paths, c Config) truster {
	return truster{paths: p, config: c, sshd: r.sshd, program: programCopy(r.t, p)}
}

// programCopy puts this test program where sshd will run it as nobody, as /usr/local/bin/adit would be.
func programCopy(t *testing.T, p Paths) string {
	t.Helper()
	data, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(filepath.Dir(p.Dir), "adit-program")
	if err := os.WriteFile(path, data, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// ssh runs the stock client with a certificate of ca for principals, which may forward. The command may begin with options.
func (r *realSSHD) ssh(ca ssh.Signer, login string, principals []string, command ...string) (string, error) {
	r.t.Helper()
	dir := r.t.TempDir()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		r.t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		r.t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		r.t.Fatal(err)
	}
	now := time.Now()
	cert := &ssh.Certificate{
		Key: key, CertType: ssh.UserCert, KeyId: "ada", ValidPrincipals: principals,
		ValidAfter: uint64(now.Add(-time.Minute).Unix()), ValidBefore: uint64(now.Add(time.Hour).Unix()),
	}
	cert.Permissions.Extensions = map[string]string{"permit-port-forwarding": ""}
	if err := cert.SignCert(rand.Reader, ca); err != nil {
		r.t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(r.address)
	for name, data := range map[string][]byte{
		"id": pem.EncodeToMemory(block), "id-cert.pub": ssh.MarshalAuthorizedKey(cert),
		"known": []byte("adit " + r.sshd.hostKeys(r.t.Context())[0] + "\n"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	args := append([]string{"-F", "none", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "HostKeyAlias=adit",
		"-o", "UserKnownHostsFile=" + dir + "/known", "-i", dir + "/id", "-p", port, "-l", login, "127.0.0.1"}, command...)
	out, err := exec.CommandContext(ctx, "ssh", args...).CombinedOutput()
	return string(out), err
}
