// Package sshdtest runs a real OpenSSH server for tests, on a port and with files of its own.
package sshdtest

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/porttest"
)

// Server is a running sshd that admits its own user by certificates of one CA.
type Server struct {
	Address string
	HostKey ssh.PublicKey
	Login   string // the account that the tests run as
	Home    string // HOME of those who log in, empty at first
}

// Options say whom a Server lets in.
type Options struct {
	CA          ssh.PublicKey // whose certificates open the door
	Device      string        // id; the principal wanted is Device/Login
	HostKeyFile string        // an existing one; empty: a new key
	Keys        string        // the authorized_keys file of its user; empty: none
	Extra       []string      // further lines of its configuration
	Clock       time.Duration // its clock minus this machine's
}

// Start runs sshd until the test ends.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	NeedTools(t, "sshd")
	NeedLogin(t)
	program, err := exec.LookPath("sshd")
	if err != nil {
		program = sbin + "sshd"
	}
	me, err := user.Current()
	must(t, err)
	dir, err := os.MkdirTemp("", "sshd")
	must(t, err)
	home, err := os.MkdirTemp("", "home")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir); _ = os.RemoveAll(home) })
	if me.Uid == "0" {
		must(t, os.MkdirAll("/run/sshd", 0o755)) // where sshd as root keeps unprivileged children
	}
	if o.HostKeyFile == "" {
		o.HostKeyFile = newHostKey(t, dir)
	}
	if o.Keys == "" {
		o.Keys = "none"
	}
	s := &Server{HostKey: hostKey(t, o.HostKeyFile), Login: me.Username, Home: home}
	write(t, filepath.Join(home, ".hushlogin"), "")
	write(t, filepath.Join(dir, "ca.pub"), string(ssh.MarshalAuthorizedKey(o.CA)))
	write(t, filepath.Join(dir, "principals"), o.Device+"/"+s.Login+"\n")
	must(t, os.Chmod(dir, 0o755))
	s.Address = freeAddress(t)
	_, port, err := net.SplitHostPort(s.Address)
	must(t, err)
	write(t, filepath.Join(dir, "config"), strings.Join(append([]string{
		"ListenAddress 127.0.0.1", "Port " + port, "HostKey " + o.HostKeyFile, "PidFile none",
		"UsePAM no", "StrictModes no", "PermitRootLogin prohibit-password", "PasswordAuthentication no",
		"KbdInteractiveAuthentication no", "AuthorizedKeysFile " + o.Keys, "PrintMotd no", "PrintLastLog no",
		"TrustedUserCAKeys " + filepath.Join(dir, "ca.pub"),
		"AuthorizedPrincipalsFile " + filepath.Join(dir, "principals"),
		"SetEnv HOME=" + home, "Subsystem sftp internal-sftp", "MaxStartups 200", "MaxSessions 50",
	}, o.Extra...), "\n")+"\n")
	run(t, exec.Command(program, "-D", "-e", "-f", filepath.Join(dir, "config")), wrongClock(t, o.Clock))
	return s
}

// run starts sshd and waits until it says that it listens.
func run(t testing.TB, cmd *exec.Cmd, environ []string) {
	cmd.Env = append(os.Environ(), environ...)
	log, err := cmd.StderrPipe()
	must(t, err)
	must(t, cmd.Start())
	listening, ended := make(chan struct{}), make(chan struct{})
	listens := sync.OnceFunc(func() { close(listening) }) // a HUP makes it say so again
	var said bytes.Buffer
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(log); lines.Scan(); {
			if fmt.Fprintln(&said, lines.Text()); strings.Contains(lines.Text(), "Server listening") {
				listens()
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("sshd said:\n%s", tail(said.String(), 4000))
		}
	})
	select {
	case <-listening:
	case <-ended:
		t.Fatalf("sshd ended:\n%s", said.String())
	}
}

// wrongClock is the environment in which a program's clock is off. The program `faketime` is asked only for its library:
// it would stay in between, and sshd would outlive it.
func wrongClock(t testing.TB, off time.Duration) []string {
	if off == 0 {
		return nil
	}
	NeedTools(t, "faketime")
	library, err := exec.CommandContext(t.Context(), "faketime", "-m", "-f", "+0s", "printenv", "LD_PRELOAD").Output()
	must(t, err)
	return []string{"LD_PRELOAD=" + strings.TrimSpace(string(library)), fmt.Sprintf("FAKETIME=%+ds", int64(off.Seconds())), "FAKETIME_DONT_FAKE_MONOTONIC=1"}
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

func newHostKey(t testing.TB, dir string) (file string) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	block, err := ssh.MarshalPrivateKey(private, "")
	must(t, err)
	file = filepath.Join(dir, "host")
	write(t, file, string(pem.EncodeToMemory(block)))
	return file
}

func hostKey(t testing.TB, file string) ssh.PublicKey {
	data, err := os.ReadFile(file)
	must(t, err)
	signer, err := ssh.ParsePrivateKey(data)
	must(t, err)
	return signer.PublicKey()
}

// freeAddress is a port that was free a moment ago: sshd does not say which one it took for port 0.
func freeAddress(t testing.TB) string {
	return porttest.Address(t)
}

func write(t testing.TB, path, content string) {
	t.Helper()
	must(t, os.WriteFile(path, []byte(content), 0o600))
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
