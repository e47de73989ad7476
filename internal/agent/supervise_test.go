package agent

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/aditdev/adit/internal/command"
	"github.com/aditdev/adit/internal/wire"
)

func adit(t *testing.T, args ...string) (int, string) {
	t.Helper()
	var b bytes.Buffer
	err := Command().Run(t.Context(), args, command.Stdio{In: strings.NewReader(""), Out: &b, Err: &b})
	return command.Report(&b, err), b.String()
}

// The plain supervisor brings back an agent that was killed, an agent stays up although its hub is nowhere, and
// --stop ends both.
func TestSupervisor(t *testing.T) {
	p, c, _ := installed(t)
	if status, says := adit(t, "supervise", "--dir", p.Dir); status != 0 {
		t.Fatal(says)
	}
	stopped := false
	t.Cleanup(func() {
		if !stopped {
			_ = stopSupervisor(context.Background(), p)
		}
	})
	var s Status
	running := func(than int) func() bool {
		return func() bool {
			s, _ = readStatus(p, c)
			return s.Running && s.PID != than && s.Cause != ""
		}
	}
	if err := await(t.Context(), running(0)); err != nil {
		t.Fatalf("the agent does not run: %+v", s)
	}
	if s.Online || s.Cause != "tcp" {
		t.Errorf("%+v", s)
	}
	if status, says := adit(t, "run", "--dir", p.Dir); status != wire.Conflict.ExitCode() {
		t.Errorf("a second agent: %d %s", status, says)
	}
	if status, says := adit(t, "supervise", "--dir", p.Dir); status != 0 {
		t.Errorf("starting it twice: %s", says)
	}
	first := s.PID
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := await(t.Context(), running(first)); err != nil {
		t.Fatal("killed, and never came back")
	}
	if status, says := adit(t, "status", "--dir", p.Dir); status != wire.Offline.ExitCode() || !strings.Contains(says, "Offline (tcp)") {
		t.Errorf("%d %s", status, says)
	}
	if status, says := adit(t, "supervise", "--stop", "--dir", p.Dir); status != 0 {
		t.Fatal(says)
	}
	stopped = true
	if held(p.Lock()) || held(p.PID()) {
		t.Error("something still runs")
	}
	if status, says := adit(t, "status", "--dir", p.Dir); status != wire.Offline.ExitCode() || !strings.Contains(says, "does not run") {
		t.Errorf("%d %s", status, says)
	}
}

func TestUninstallTakesEverything(t *testing.T) {
	p, _, _ := installed(t)
	keys := filepath.Join(filepath.Dir(p.Dir), "authorized_keys")
	const theirs = "ssh-ed25519 AAAA me@home\n"
	if err := os.WriteFile(keys, []byte(theirs+"cert-authority,principals=\"dev_1/root\" ssh-ed25519 BBBB adit:dev_1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := (trustRecord{Trust: "authorized_keys", Keys: keys}).save(p.Trust()); err != nil {
		t.Fatal(err)
	}
	if err := (serviceRecord{Manager: supervisorName}).save(p); err != nil {
		t.Fatal(err)
	}
	if status, says := adit(t, "supervise", "--dir", p.Dir); status != 0 {
		t.Fatal(says)
	}
	if status, says := adit(t, "uninstall", "--dir", p.Dir); status != 0 {
		t.Fatal(says)
	}
	if _, err := os.Stat(p.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Error("its directory is still there")
	}
	if data, _ := os.ReadFile(keys); string(data) != theirs {
		t.Errorf("authorized_keys is now %q", data)
	}
	if status, _ := adit(t, "uninstall", "--dir", p.Dir); status != wire.NotFound.ExitCode() {
		t.Errorf("a second time: %d", status)
	}
}

func TestLogIsBounded(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "agent.log")
	l := &boundedLog{path: path}
	line := bytes.Repeat([]byte("x"), 1000)
	for range 3 * logLimit / len(line) {
		if _, err := l.Write(line); err != nil {
			t.Fatal(err)
		}
	}
	l.close()
	var total int64
	files, _ := filepath.Glob(path + "*")
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
	}
	if len(files) != 2 || total > 2*logLimit+int64(2*len(line)) {
		t.Errorf("%v, %d bytes", files, total)
	}
}
