package agent

import (
	"context"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// An sshd that dies of being told to read its settings is started again, by the settings that it had before: a machine
// must not lose its way in by an attempt to add one.
func TestSSHDThatDiesIsStartedAgain(t *testing.T) {
	rootOnly(t)
	p, c, _ := installed(t)
	server := startSSHD(t)
	_ = syscall.Kill(server.sshd.pid, syscall.SIGKILL)
	// By a relative name it cannot execute itself again, which is what it does for SIGHUP.
	cmd := &exec.Cmd{Path: "/usr/sbin/sshd", Args: []string{"sshd", "-r", "-D", "-e", "-f", server.config}}
	if err := await(t.Context(), func() bool { return !listens(t, server.address) }); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-ended })
	if err := await(t.Context(), func() bool { return listens(t, server.address) }); err != nil {
		t.Fatal(err)
	}
	server.sshd.pid = cmd.Process.Pid

	record, err := server.truster(p, c).byDropIn(t.Context())
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Fatal("it survived, so this test proves nothing")
	}
	if err == nil {
		t.Error("a dead sshd was no trouble")
	}
	if _, err := os.Stat(record.DropIn); err == nil {
		t.Error("the added file stays")
	}
	for _, s := range listeningSockets() {
		if s.program == "sshd" && s.address.String() == server.address {
			_ = syscall.Kill(s.pid, syscall.SIGKILL) // nobody else ends it
			return
		}
	}
	t.Error("the machine is left without an sshd")
}

func listens(t *testing.T, address string) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, err := dialTCP(ctx, "", address)
	if err != nil {
		return false
	}
	return conn.Close() == nil
}
