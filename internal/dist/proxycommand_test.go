package dist

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/aditdev/adit/internal/sshdtest"
)

func parse(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	must(t, err)
	return u
}

// The line goes into people's files: it changes on purpose only.
func TestProxyCommandText(t *testing.T) {
	t.Parallel()
	head := `sh -c 'exec 3>&1 4<&0 >&2 </dev/null; trap : 1 2 15; { exec 3>&-; printf "GET /ssh`
	tail := ` >&3 3>&- 4<&- & exec 3>&- 4<&-; wait || { trap "" 1 2 15; kill $!; wait; } 2>/dev/null'`
	for _, c := range []struct {
		hub, want string
		form      Form
	}{
		{"https://hub.example.com", ` HTTP/1.1\r\nHost: hub.example.com\r\nConnection: Upgrade\r\nUpgrade: ssh\r\n\r\n"; cat <&4; kill $$; } | openssl s_client -quiet -verify_quiet -verify_return_error -verify_hostname hub.example.com -servername hub.example.com -connect hub.example.com:443`, FormUpgrade},
		{"https://hub.example.com:8443", ` HTTP/1.1\r\nHost: hub.example.com:8443\r\nConnection: Upgrade\r\nUpgrade: ssh\r\n\r\n"; sleep 1; cat <&4; kill $$; } | openssl s_client -quiet -verify_quiet -verify_return_error -verify_hostname hub.example.com -servername hub.example.com -connect hub.example.com:8443`, FormPatient},
		{"https://[2001:db8::1]", `?raw HTTP/1.1\r\nHost: [2001:db8::1]\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: YWRpdCByYXcgc3NoZ2F0ZQ==\r\n\r\n"; sleep 1; cat <&4; kill $$; } | openssl s_client -quiet -verify_quiet -verify_return_error -verify_ip 2001:db8::1 -noservername -connect [2001:db8::1]:443`, FormRaw},
	} {
		got := ProxyCommand(parse(t, c.hub), c.form)
		if diff := cmp.Diff(head+c.want+tail, got); diff != "" {
			t.Errorf("%s %s (-want +got):\n%s", c.hub, c.form, diff)
		}
		if strings.Contains(got, "%") || strings.Count(got, "'") != 2 {
			t.Errorf("ssh or a shell would change %s", got)
		}
	}
	if a, b := ProxyCommand(parse(t, "https://h"), ""), ProxyCommand(parse(t, "https://h"), FormPatient); a != b {
		t.Errorf("without a form: %s", a)
	}
	for _, bad := range []string{"http://localhost:8080", "https://$(touch%20x)", "https://a;b", "https://[::1%25eth0]", "https://127.1"} {
		u, err := url.Parse(bad)
		if err == nil && (ProxyCommand(u, FormUpgrade) != "" || OpenSSLGet(u, "/i") != "") {
			t.Errorf("%s gives %s", bad, ProxyCommand(u, FormUpgrade))
		}
	}
}

// laptop is a place with nothing but OpenSSH and openssl, and one shell as /bin/sh.
type laptop struct {
	t    *testing.T
	gate *gate
	dir  string
	env  []string
}

func newLaptop(t *testing.T, g *gate, shell string) *laptop {
	t.Helper()
	sshdtest.NeedTools(t, "ssh", "ssh-keygen", "openssl", shell)
	l := &laptop{t: t, gate: g, dir: t.TempDir()}
	programs := map[string]string{"sh": shell, "cat": "cat", "sleep": "sleep", "openssl": "openssl"}
	if shell == "busybox" { // which is what it is called
		programs["cat"], programs["sleep"] = shell, shell
	}
	for name, program := range programs {
		path, err := exec.LookPath(program)
		must(t, err)
		must(t, os.Symlink(path, filepath.Join(l.dir, name)))
	}
	out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(l.dir, "key")).CombinedOutput()
	if err != nil {
		t.Fatalf("ssh-keygen: %v %s", err, out)
	}
	must(t, os.WriteFile(filepath.Join(l.dir, "known"), []byte(g.knownHosts()), 0o600))
	l.env = []string{"PATH=" + l.dir, "SHELL=" + filepath.Join(l.dir, "sh"), "HOME=" + l.dir, "SSL_CERT_FILE=" + g.ca.file}
	return l
}

// ssh prepares a real ssh whose configuration has this ProxyCommand.
func (l *laptop) ssh(ctx context.Context, form Form, args ...string) *exec.Cmd {
	l.t.Helper()
	config := filepath.Join(l.dir, "config")
	must(l.t, os.WriteFile(config, []byte("Host *\n\tProxyCommand "+ProxyCommand(l.gate.url, form)+"\n\tUserKnownHostsFile "+l.dir+
		"/known\n\tGlobalKnownHostsFile /dev/null\n\tIdentityFile "+l.dir+"/key\n\tIdentitiesOnly yes\n\tBatchMode yes\n\tStrictHostKeyChecking yes\n\tConnectTimeout 60\n"), 0o600))
	path, err := exec.LookPath("ssh")
	must(l.t, err)
	cmd := exec.CommandContext(ctx, path, append([]string{"-F", config, "ada@" + l.gate.url.Hostname()}, args...)...)
	cmd.Env = l.env
	cmd.WaitDelay = patience
	return cmd
}

// each runs a test with each shell and each form, against a gate that takes no byte before its 101 where the form is patient.
func each(t *testing.T, do func(t *testing.T, g *gate, l *laptop, form Form)) {
	for _, shell := range []string{"dash", "busybox"} {
		for host, form := range map[string]Form{"localhost": FormPatient, "127.0.0.1": FormRaw, "Localhost": FormUpgrade} {
			t.Run(shell+" "+string(form), func(t *testing.T) {
				t.Parallel()
				g := newGate(t, strings.ToLower(host))
				if form != FormUpgrade {
					g.patient = 300 * time.Millisecond
				}
				do(t, g, newLaptop(t, g, shell), form) // which starts the gate
			})
		}
	}
}

// Whatever bytes SSH has, they arrive: as many as fill every pipe on the way, both ways at once.
func TestProxyCommandCarriesBytes(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, g *gate, l *laptop, form Form) {
		g.start()
		sent := make([]byte, 3<<20)
		_, _ = rand.Read(sent)
		ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
		defer cancel()
		cmd := l.ssh(ctx, form, "cat")
		cmd.Stdin = bytes.NewReader(sent)
		var said strings.Builder
		cmd.Stderr = &said
		got, err := cmd.Output()
		if err != nil || !bytes.Equal(got, sent) {
			t.Errorf("%d bytes of %d came back, %v\n%s", len(got), len(sent), err, &said)
		}
		if err := <-g.early; err != nil {
			t.Error(err)
		}
		if said.Len() > 0 {
			t.Errorf("said %q", &said)
		}
		noneLeft(t, l)
	})
}

// The hub restarts, ssh is killed, ssh is told to go, the network is dead: nothing of ours stays.
func TestProxyCommandLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(g *gate, ssh *os.Process){
		"the hub closes":  func(g *gate, _ *os.Process) { g.closeAll() },
		"ssh is killed":   func(_ *gate, ssh *os.Process) { _ = ssh.Kill() },
		"ssh is told":     func(_ *gate, ssh *os.Process) { _ = ssh.Signal(syscall.SIGTERM) },
		"interrupted":     func(_ *gate, ssh *os.Process) { _ = syscall.Kill(-ssh.Pid, syscall.SIGINT) },
		"the hub is gone": func(g *gate, _ *os.Process) { g.resetAll() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			each(t, func(t *testing.T, g *gate, l *laptop, form Form) {
				g.start()
				cmd := l.ssh(t.Context(), form, "cat")
				cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // as a shell with job control does
				in, err := cmd.StdinPipe()
				must(t, err)
				out, err := cmd.StdoutPipe()
				must(t, err)
				must(t, cmd.Start())
				_, err = in.Write([]byte("here"))
				must(t, err)
				if _, err := io.ReadFull(out, make([]byte, 4)); err != nil {
					t.Fatalf("never connected: %v", err)
				}
				if n := len(l.processes()); n < 4 { // ssh, sh, its left side with cat, openssl
					t.Fatalf("this test does not see the processes: %d", n)
				}
				end(g, cmd.Process)
				began := time.Now()
				defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
				noneLeft(t, l)
				t.Logf("after %v", time.Since(began).Round(time.Millisecond))
			})
		})
	}
}

// A network that takes no bytes holds openssl in a write. ssh gives up by its keep-alives, and says so.
func TestProxyCommandEndsInADeadNetwork(t *testing.T) {
	t.Parallel()
	heard := make(chan os.Signal, 1)
	signal.Notify(heard, syscall.SIGHUP) // below nohup the programs would ignore it too
	t.Cleanup(func() { signal.Stop(heard) })
	each(t, func(t *testing.T, g *gate, l *laptop, form Form) {
		g.stalled = true
		g.start()
		line := strings.TrimPrefix(ProxyCommand(g.url, form), "sh -c ")
		cmd := exec.CommandContext(t.Context(), filepath.Join(l.dir, "sh"), "-c", strings.Trim(line, "'"))
		cmd.Env = l.env
		in, err := cmd.StdinPipe()
		must(t, err)
		must(t, cmd.Start())
		if err := <-g.early; err != nil {
			t.Fatal(err)
		}
		full := in.(*os.File)
		must(t, full.SetWriteDeadline(time.Now().Add(20*time.Second)))
		for n, err := 1, error(nil); err == nil && n > 0; { // until every buffer on the way is full
			must(t, full.SetWriteDeadline(time.Now().Add(2*time.Second)))
			n, err = full.Write(make([]byte, 64<<10))
		}
		must(t, cmd.Process.Signal(syscall.SIGHUP))
		_ = in.Close()
		defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
		noneLeft(t, l)
	})
}

// Who is not the hub gets nothing, and ssh ends.
func TestProxyCommandVerifies(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, g *gate, l *laptop, form Form) {
		g.start()
		l.env = append(l.env, "SSL_CERT_FILE="+newAuthority(t).file)
		ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
		defer cancel()
		out, err := l.ssh(ctx, form, "cat").CombinedOutput()
		if err == nil || !strings.Contains(string(out), "verify error") {
			t.Errorf("%v\n%s", err, out)
		}
		select {
		case <-g.early:
			t.Error("it asked all the same")
		default:
		}
		noneLeft(t, l)
	})
}

// processes are those of the laptop: what has its PATH in the environment.
func (l *laptop) processes() map[int]string {
	found := map[int]string{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		environ, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		if bytes.Contains(environ, []byte("PATH="+l.dir)) {
			name, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "comm"))
			found[pid] = strings.TrimSpace(string(name))
		}
	}
	return found
}

// noneLeft waits until no process of the laptop is there any more. 5 s is the promise, to whoever has a machine for themselves.
func noneLeft(t *testing.T, l *laptop) {
	t.Helper()
	await(t, patience, func() error {
		if left := l.processes(); len(left) > 0 {
			return fmt.Errorf("left behind: %v", slices.Sorted(maps.Values(left)))
		}
		return nil
	})
}
