package sshserver

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/sshdtest"
)

// A login may end its own processes, not those that sudo or su began in the same group; and once its program was
// reaped, nobody at all, since the number of the group may be another's.
func TestSignalsHaveTheAccountsRights(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Log("without root every signal has the account's rights by itself")
		return
	}
	become := rootProgram(t)
	a := account{name: "nobody", uid: 65534, gid: 65534}
	p, pids := startGroup(t, a, become+` --reuid=0 --regid=0 --clear-groups sh -c 'echo $$; exec sleep 1000' & sleep 1000 & echo $!; wait`)
	roots, own := pids[0], pids[1]
	if uid := owner(t, own); uid == 0 {
		roots, own = own, roots
	}
	if owner(t, roots) != 0 || owner(t, own) != 65534 {
		t.Fatal("the group is not as it should be")
	}
	if !p.kill(syscall.SIGTERM) {
		t.Error("the own group could not be signalled")
	}
	p.reap()
	if !alive(roots) {
		t.Error("root's process is gone")
	}
	if p.kill(syscall.SIGTERM) {
		t.Error("signalled after the program was reaped")
	}
	_ = syscall.Kill(roots, syscall.SIGKILL)
}

// A group outlives its leader while others are in it. Nobody knows whether a group of that number is still the same.
func TestNoSignalAfterTheEnd(t *testing.T) {
	t.Parallel()
	a := account{uid: uint32(os.Geteuid()), gid: uint32(os.Getegid())}
	p, pids := startGroup(t, a, `sleep 1000 & echo $!; echo $$`)
	p.reap()
	if p.kill(syscall.SIGTERM) {
		t.Error("signalled after the program was reaped")
	}
	p.hangUp()
	if !alive(pids[0]) {
		t.Error("what it left running was signalled")
	}
	_ = syscall.Kill(pids[0], syscall.SIGKILL)
}

func TestExitSignalNamesTheSignal(t *testing.T) {
	t.Parallel()
	s, err := newRig(t).client().NewSession()
	if err != nil {
		t.Fatal(err)
	}
	err = s.Run("kill -KILL $$")
	if exit, ok := errors.AsType[*ssh.ExitError](err); !ok || exit.Signal() != "KILL" {
		t.Errorf("ended with %v", err)
	}
}

// Whoever goes away takes the programs along: they are sent SIGHUP.
func TestHangUp(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	client := r.client()
	s, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(r.dir, "fifo")
	if out, err := exec.Command("mkfifo", fifo).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	stdout, _ := s.StdoutPipe()
	if err := s.Start(`exec 2>/dev/null 3<>` + fifo + `; trap 'echo hung up >&3; exit' HUP; echo ready; while :; do sleep 0.1; done`); err != nil {
		t.Fatal(err)
	}
	newLines(stdout).expect(t, "ready")
	f, err := os.OpenFile(fifo, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	_ = client.Close()
	newLines(f).expect(t, "hung up")
}

// rootProgram is a setpriv that whoever runs it is root in, as sudo is.
func rootProgram(t *testing.T) string {
	t.Helper()
	sshdtest.NeedTools(t, "setpriv")
	dir, err := os.MkdirTemp("/var/lib", "adit-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "setpriv")
	if out, err := exec.Command("cp", "/usr/bin/setpriv", path).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	for name, mode := range map[string]os.FileMode{dir: 0o755, path: 0o755 | os.ModeSetuid} {
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// startGroup runs script as the leader of a session, and gives the two numbers that it says.
func startGroup(t *testing.T, a account, script string) (*program, [2]int) {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.SysProcAttr, cmd.Dir = a.attributes(), "/"
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	var said [2]int
	for i := range said {
		if !lines.Scan() {
			t.Fatalf("it said %d numbers: %v", i, lines.Err())
		}
		if said[i], err = strconv.Atoi(lines.Text()); err != nil {
			t.Fatal(err)
		}
	}
	return &program{cmd: cmd, account: a}, said
}

// alive tells processes from those that only wait to be reaped.
func alive(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && !bytes.Contains(stat, []byte(") Z "))
}

func owner(t *testing.T, pid int) uint32 {
	t.Helper()
	info, err := os.Stat("/proc/" + strconv.Itoa(pid))
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Uid
}
