//go:build linux

package e2e

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A demo is a running `make run`, without the building.
type demo struct {
	t    testing.TB
	cmd  *exec.Cmd
	port string
	link string
}

// buffer is a bytes.Buffer for a program's output that the test reads while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func startDemo(t testing.TB, data, port string) *demo {
	t.Helper()
	var out buffer
	d := &demo{t: t, cmd: exec.Command(built("adit-demo")), port: port}
	d.cmd.Env = append(os.Environ(), "PORT="+port, "ADIT_DATA="+data)
	d.cmd.Stdout, d.cmd.Stderr = &out, &out
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.stop() })
	eventually(t, 40*time.Second, "the demo running", func() error {
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		d.link = strings.TrimSpace(lines[len(lines)-1])
		if !strings.HasPrefix(d.link, "http://localhost:"+port+"/") {
			return &exec.Error{Name: "last line of the output", Err: errorText(out.String())}
		}
		return nil
	})
	return d
}

type errorText string

func (e errorText) Error() string { return string(e) }

// stop ends the demo as Ctrl-C does, and waits.
func (d *demo) stop() {
	if d.cmd.ProcessState != nil {
		return
	}
	_ = d.cmd.Process.Signal(syscall.SIGINT)
	_ = d.cmd.Wait()
}

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// localBrowser starts Chromium on this machine, for hubs on localhost.
func localBrowser(t testing.TB) *browser {
	t.Helper()
	options, err := json.Marshal(ask{"profile": filepath.Join(t.TempDir(), "profile")})
	if err != nil {
		t.Fatal(err)
	}
	return startBrowser(t, exec.Command("node", "browser.mjs", string(options)))
}

// What a newcomer does first: make run, follow the link, see the demo device, open a shell; stop; and once more.
func TestRun(t *testing.T) {
	data, port := t.TempDir(), freePort(t)
	d := startDemo(t, data, port)
	b := localBrowser(t)
	b.open(d.link)
	b.wait("[data-testid=device-row-demo]", "")
	b.openShell("http://localhost:"+port, "demo")
	b.run("echo it-is-$((40+2))")
	b.sees("it-is-42", 10*time.Second)
	b.clean()

	out, err := exec.Command("env", "PORT="+port, "ADIT_DATA="+t.TempDir(), built("adit-demo")).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "taken") {
		t.Errorf("a second demo on the same port: %v, said %q", err, out)
	}

	first := d.link
	d.stop()
	again := startDemo(t, data, port)
	if again.link == first {
		t.Error("the one-time link is the same as the first time")
	}
	b.open("http://localhost:" + port + "/app/")
	b.wait("[data-testid=device-row-demo]", "")
	var rows int
	b.do("count", ask{"on": "[data-testid^=device-row-]"}, &rows)
	if rows != 1 {
		t.Errorf("%d devices after the second run, want the same one", rows)
	}
}
