package agent

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/porttest"
)

const nobody = 65534

// A user of the machine who calls a program sshd and listens is not taken for the machine's sshd: root would run it.
func TestSSHDOfAUserIsNotTheMachines(t *testing.T) {
	rootOnly(t)
	dir, err := os.MkdirTemp("/var/lib", "adit-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	program, key, config := filepath.Join(dir, "sshd"), filepath.Join(dir, "key"), filepath.Join(dir, "config")
	data, err := os.ReadFile("/usr/sbin/sshd")
	if err != nil {
		t.Fatal(err)
	}
	port := porttest.Free(t)
	text := fmt.Sprintf("Port %d\nListenAddress 127.0.0.1\nHostKey %s\nPidFile none\nUsePAM no\n", port, key)
	if err := os.WriteFile(program, data, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	for _, path := range []string{dir, key} {
		if err := os.Chown(path, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(program, "-D", "-e", "-f", config)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for ctx.Err() == nil {
		for _, s := range listeningSockets() {
			if s.pid != cmd.Process.Pid {
				continue
			}
			if s.uid != nobody || s.program != "sshd" {
				t.Errorf("its process is read as %+v", s)
			}
			if found, ok := ownedSSHD([]socket{s}, "openssh"); ok {
				t.Errorf("root would run %s", found.program)
			}
			return
		}
	}
	t.Fatal("the user's sshd does not listen")
}
