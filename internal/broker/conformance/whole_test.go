package conformance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/porttest"
)

// hub is adit-hub as a process, with the tester as a user of it who may everything.
type hub struct {
	target
	cmd *exec.Cmd
	raw string // address of its TCP door
}

// wholeHub builds and runs one. Raw TCP comes in at ADIT_MQTT_ADDR, WebSockets at GET /mqtt.
func wholeHub(t *testing.T) *hub {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "adit-hub")
	if out, err := exec.Command("go", "build", "-o", program, "../../..").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	web, raw := porttest.Free(t), porttest.Free(t)
	env := append(os.Environ(), fmt.Sprintf("PORT=%d", web), fmt.Sprintf("ADIT_URL=http://localhost:%d", web), fmt.Sprintf("ADIT_MQTT_ADDR=127.0.0.1:%d", raw),
		"ADIT_SECRET=for-this-test-only-0123456789abcdef", "ADIT_DATA="+filepath.Join(dir, "data"))
	h := &hub{cmd: exec.Command(program, "serve")}
	var log bytes.Buffer
	h.cmd.Env, h.cmd.Stderr = env, &log
	h.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := h.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = h.cmd.Process.Signal(syscall.SIGTERM)
		if err := h.cmd.Wait(); err != nil {
			t.Errorf("the hub: %v\n%s", err, &log)
		}
	})
	h.raw, h.url = fmt.Sprintf("127.0.0.1:%d", raw), fmt.Sprintf("ws://127.0.0.1:%d/mqtt", web)
	h.doors = map[string]dial{"tcp": dialTCP(h.raw), "websocket": dialWebSocket(h.url)}
	reachable(t, func() error { return get(fmt.Sprintf("http://127.0.0.1:%d/readyz", web)) })
	h.user, h.pass = makeTester(t, program, env)
	return h
}

func get(url string) error {
	res, err := http.Get(url)
	if err == nil {
		err = res.Body.Close()
	}
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, res.Status)
	}
	return err
}

// makeTester makes an owner, and an MQTT credential of theirs.
func makeTester(t *testing.T, program string, env []string) (username, password string) {
	t.Helper()
	command := func(stdin string, args ...string) []byte {
		cmd := exec.Command(program, args...)
		cmd.Env, cmd.Stdin = env, strings.NewReader(stdin)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("adit-hub %v: %v", args, err)
		}
		return out
	}
	command("a password of this test", "user", "create", "--email", "tester@example.org", "--role", "owner", "--password-stdin")
	var made struct{ Username, Password string }
	if err := json.Unmarshal(command("", "mqtt", "credential", "create", "--kind", "user", "--user", "tester@example.org", "--json"), &made); err != nil {
		t.Fatal(err)
	}
	return made.Username, made.Password
}

// memory is what the hub has resident, in bytes.
func (h *hub) memory(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", h.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

// Each row holds for a whole hub: its doors, its rules and its database around the broker.
func TestRowsHoldForWholeHub(t *testing.T) {
	t.Parallel()
	h := wholeHub(t)
	for _, w := range rows(t, "rows") {
		each(t, w, h.target, true)
	}
}

// 200 peers, strangers and others, that say they will send 256 MB each cost nothing, and the hub goes on.
func TestQuarterGigabytesCostNothing(t *testing.T) {
	t.Parallel()
	h := wholeHub(t)
	before := h.memory(t)
	for i := range 100 {
		for name, door := range h.doors {
			r := h.run(t, "4", door, true)
			if err := r.do(scripted(t, "a> 10 ffffff7f\na! --\nconnect b\nb> 30 ffffff7f\nb! --")); err != nil {
				t.Fatalf("%d by %s: %v", i, name, err)
			}
		}
	}
	if grown := h.memory(t) - before; grown > 32<<20 {
		t.Errorf("the hub has grown by %d MiB", grown>>20)
	}
	r := h.run(t, "5", h.doors["tcp"], true)
	if err := r.do(scripted(t, "connect a\nsub a 1 \"~/t\"\nconnect b\npub b 1 \"~/t\" 'x'\nget a 1 \"~/t\" 'x'")); err != nil {
		t.Error(err)
	}
}

// scripted is a row of a test's own.
func scripted(t *testing.T, steps string) row {
	t.Helper()
	all, err := parse("own", "== steps 4:- 5:-\n"+steps)
	if err != nil {
		t.Fatal(err)
	}
	return all[0]
}

// run prepares one with a name of its own.
func (g target) run(t *testing.T, version string, d dial, exact bool) *run {
	t.Helper()
	r := newRun(version, fmt.Sprintf("u%d", runs.Add(1)), d, exact)
	r.user, r.pass = g.user, g.pass
	return r
}

func reachable(t *testing.T, try func() error) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}
