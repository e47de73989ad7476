package agent

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strconv"
	"syscall"
	"testing"

	"github.com/aditdev/adit/internal/wire"
)

func signalContext() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
}

func encodeKey(key ed25519.PublicKey) string { return wire.EncodeKey(key) }

// belowNohup prepares a run of this test program with SIGHUP ignored, as nohup leaves it.
func belowNohup(t *testing.T, args ...string) (cmd *exec.Cmd, out *bytes.Buffer) {
	t.Helper()
	cmd = exec.CommandContext(t.Context(), "sh", append([]string{"-c", `trap "" HUP; exec "$0" "$@"`, os.Args[0]}, args...)...)
	out = &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = out, out
	return cmd, out
}

// Below nohup the agent hears SIGHUP all the same, so that the programs that it starts die of it.
func TestAgentHearsHangUpsBelowNohup(t *testing.T) {
	t.Parallel()
	p, _, _ := installed(t)
	cmd, out := belowNohup(t, asAdit, "run", "--dir", p.Dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := await(t.Context(), func() bool { return held(p.Lock()) }); err != nil {
		t.Errorf("it does not run: %v", err)
	}
	if caught := signalSet(t, cmd.Process.Pid, "SigCgt"); caught&(1<<(syscall.SIGHUP-1)) == 0 {
		t.Errorf("it catches only the signals %x", caught)
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// signalSet is a mask of signals in /proc/PID/status, 0 where there is none.
func signalSet(t *testing.T, pid int, name string) uint64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(name + `:\s*([0-9a-f]+)`).FindSubmatch(status)
	if m == nil {
		return 0
	}
	set, err := strconv.ParseUint(string(m[1]), 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// What a bubble runs must not be the first in the process to use os/signal: it died of that where the tests ran below nohup.
func TestBubbledAgentBelowNohup(t *testing.T) {
	t.Parallel()
	cmd, out := belowNohup(t, "-test.run=^TestAgentOutlastsDeadDNS$", "-test.count=1")
	if err := cmd.Run(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
