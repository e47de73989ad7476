package runner

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/aditdev/adit/internal/agent/sshserver"
	"github.com/aditdev/adit/internal/wire"
)

const (
	termGrace   = time.Second     // from SIGTERM to SIGKILL
	killGrace   = 2 * time.Second // from SIGKILL to giving up on a process that is not ours to kill, as one that sudo began
	outputGrace = time.Second     // for what holds the output open beyond the command's end
)

// command is the process to be, as the account that the table names. It fails with NotFound or Forbidden where it cannot be that
// account's.
func (p *prepared) command(argv []string) (*exec.Cmd, error) {
	u, err := p.account()
	if err != nil {
		return nil, err
	}
	cmd := &exec.Cmd{Path: argv[0], Args: argv, Dir: p.WorkDir, WaitDelay: outputGrace}
	cmd.Env = append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8",
		"HOME=" + u.HomeDir, "USER=" + u.Username, "LOGNAME=" + u.Username}, p.Environment...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // it leads a process group, by which what it starts is ended too
	if os.Geteuid() == 0 {
		if cmd.SysProcAttr.Credential, err = credential(u); err != nil {
			return nil, err
		}
	}
	return cmd, nil
}

// nobody is whom a command of an agent that runs as root belongs to, where its table names no other.
const nobody = "nobody"

func (p *prepared) account() (*user.User, error) {
	name := p.User
	if name == "" && os.Geteuid() == 0 {
		name = nobody
	}
	if name == "" {
		u, err := user.Current()
		if err != nil { // an account without a line in passwd(5)
			u = &user.User{Uid: strconv.Itoa(os.Geteuid()), HomeDir: "/"}
		}
		return u, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return nil, wire.Wrap(err, wire.NotFound, "The device has no account %s, as which the command %s is to run.", name, p.Name)
	}
	if os.Geteuid() != 0 && u.Uid != strconv.Itoa(os.Geteuid()) {
		return nil, wire.Errorf(wire.Forbidden, "The agent runs without root there, so it cannot run the command %s as %s.", p.Name, name)
	}
	return u, nil
}

// credential gives up root, with all of its groups.
func credential(u *user.User) (*syscall.Credential, error) {
	ids, err := u.GroupIds()
	if err != nil {
		return nil, wire.Wrap(err, wire.NotFound, "The groups of the account %s cannot be read on the device.", u.Username)
	}
	numbers := make([]uint32, 0, len(ids)+2)
	for _, id := range append([]string{u.Uid, u.Gid}, ids...) {
		n, err := strconv.ParseUint(id, 10, 32)
		if err != nil {
			return nil, wire.Wrap(err, wire.NotFound, "The account %s cannot be read on the device.", u.Username)
		}
		numbers = append(numbers, uint32(n))
	}
	return &syscall.Credential{Uid: numbers[0], Gid: numbers[1], Groups: numbers[2:]}, nil
}

// run runs cmd until it ends, its time is up or ctx ends, and what it left in its process group is ended with it. It fails where
// nothing was run. It calls free when the process is no more, which is after run returned where it could not be ended.
func (p *prepared) run(ctx context.Context, cmd *exec.Cmd, ask wire.Run, free func()) (wire.RunResult, error) {
	var stdout, stderr output
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if len(ask.Stdin) > 0 {
		cmd.Stdin = bytes.NewReader(ask.Stdin)
	}
	limit := p.timeout
	if asked := time.Duration(ask.TimeoutSeconds) * time.Second; asked > 0 && asked < limit {
		limit = asked
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		free()
		return wire.RunResult{}, startError(p, cmd, err)
	}
	g := &group{cmd: cmd, ended: make(chan struct{})}
	go func() { // ends with the process
		g.reap()
		free()
	}()
	timedOut := g.await(ctx, limit)
	result := wire.RunResult{ExitCode: g.exitCode(), TimedOut: timedOut, TookMS: time.Since(began).Milliseconds()}
	var cut bool
	result.Stdout, result.Cut = stdout.bytes()
	result.Stderr, cut = stderr.bytes()
	result.Cut = result.Cut || cut
	return result, nil
}

// startError says why nothing was run.
func startError(p *prepared, cmd *exec.Cmd, err error) error {
	if _, missing := os.Stat(cmd.Path); errors.Is(missing, fs.ErrNotExist) {
		return wire.Wrap(err, wire.NotFound, "The device has no program %s, which its command %s is.", cmd.Path, p.Name)
	}
	return wire.Wrap(err, wire.Internal, "The device cannot run %s in %s as the account of its command %s", cmd.Path, p.WorkDir, p.Name)
}

// group is a process and those that it started.
type group struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when the process is reaped and its output read

	mu     sync.Mutex // held while the group is signalled
	reaped bool       // from here on its number may be another's
}

// reap waits for the process, which keeps the group's number until then, and ends what it left.
func (g *group) reap() {
	sshserver.AwaitExit(g.cmd.Process.Pid)
	g.kill(syscall.SIGKILL)
	g.mu.Lock()
	g.reaped = true
	g.mu.Unlock()
	_ = g.cmd.Wait() // its status says all
	close(g.ended)
}

func (g *group) kill(s syscall.Signal) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.reaped {
		_ = syscall.Kill(-g.cmd.Process.Pid, s) // ESRCH where all have ended
	}
}

// await returns when the process has ended, by itself or by us, and says whether its time was up.
func (g *group) await(ctx context.Context, limit time.Duration) (timedOut bool) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-g.ended:
		return false
	case <-ctx.Done():
	case <-timer.C:
		timedOut = true
	}
	for _, step := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{syscall.SIGTERM, termGrace}, {syscall.SIGKILL, killGrace}} {
		g.kill(step.signal)
		timer.Reset(step.wait)
		select {
		case <-g.ended:
			return timedOut
		case <-timer.C:
		}
	}
	return timedOut
}

// exitCode is the process's, 128 + N for signal N as shells say it, and 128 + SIGKILL for one that could not be ended.
func (g *group) exitCode() int {
	select {
	case <-g.ended:
	default:
		return 128 + int(syscall.SIGKILL)
	}
	state := g.cmd.ProcessState
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return state.ExitCode()
}

// output keeps the first bytes of what is written to it, and takes all.
type output struct {
	mu   sync.Mutex
	kept []byte
	cut  bool
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := min(len(p), wire.MaxRunOutput-len(o.kept))
	o.kept = append(o.kept, p[:n]...)
	o.cut = o.cut || n < len(p)
	return len(p), nil
}

func (o *output) bytes() ([]byte, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.kept, o.cut
}
