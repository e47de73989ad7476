package sshserver

import (
	"context"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"time"
	"unsafe"
)

// signals of RFC 4254 §6.10.
var signals = map[string]syscall.Signal{
	"ABRT": syscall.SIGABRT, "ALRM": syscall.SIGALRM, "FPE": syscall.SIGFPE, "HUP": syscall.SIGHUP, "ILL": syscall.SIGILL,
	"INT": syscall.SIGINT, "KILL": syscall.SIGKILL, "PIPE": syscall.SIGPIPE, "QUIT": syscall.SIGQUIT, "SEGV": syscall.SIGSEGV,
	"TERM": syscall.SIGTERM, "USR1": syscall.SIGUSR1, "USR2": syscall.SIGUSR2,
}

// HearHangUps has SIGHUP end the programs that this process starts also where it was itself told to ignore it, as nohup tells:
// what is ignored stays so over execve(2), and a shell would leave its programs behind. This process goes on as before. The
// returned function undoes it.
func HearHangUps() (undo func()) {
	if !signal.Ignored(syscall.SIGHUP) {
		return func() {}
	}
	heard := make(chan os.Signal, 1)
	signal.Notify(heard, syscall.SIGHUP)
	return func() { signal.Stop(heard) }
}

func (p *program) signal(name string) bool {
	s, ok := signals[name]
	return ok && p.kill(s)
}

// reap waits for the process. The group that it leads keeps its number until then, so that kill cannot meet another.
func (p *program) reap() {
	AwaitExit(p.cmd.Process.Pid)
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.cmd.Wait() // its status says all
	p.reaped = true
}

// kill signals the process group, which is the session that the program leads, if the program still runs.
func (p *program) kill(s syscall.Signal) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reaped {
		return false
	}
	if os.Geteuid() == 0 && p.account.uid != 0 {
		return p.account.kill(p.cmd.Process.Pid, s)
	}
	return syscall.Kill(-p.cmd.Process.Pid, s) == nil
}

const killTimeout = 5 * time.Second

// kill signals a process group with the account's own rights: what sudo or su began in it is not the account's to end.
// A shell does it, since one process cannot give up root for a moment without all of its threads doing so.
func (a account) kill(group int, s syscall.Signal) bool {
	ctx, cancel := context.WithTimeout(context.Background(), killTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", `kill "-$0" "-$1"`, strconv.Itoa(int(s)), strconv.Itoa(group))
	cmd.SysProcAttr, cmd.Dir, cmd.Env = a.attributes(), "/", []string{"PATH=/usr/bin:/bin"}
	return cmd.Run() == nil
}

// AwaitExit returns when the child has ended, and leaves it to be reaped (waitid(2) with WNOWAIT).
func AwaitExit(pid int) {
	const byPID = 1    // P_PID
	var info [128]byte // siginfo_t
	for {
		_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, byPID, uintptr(pid), uintptr(unsafe.Pointer(&info)),
			syscall.WEXITED|syscall.WNOWAIT, 0, 0)
		if errno != syscall.EINTR {
			return
		}
	}
}
