package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/aditdev/adit/internal/command"
	"github.com/aditdev/adit/internal/wire"
)

const superviseUsage = `Usage: adit agent supervise [--stop | --foreground] [--dir DIR]

Keeps ` + "`adit agent run`" + ` up where no service manager runs, in the background; its log is agent.log in the agent's
directory. --stop ends it and the agent.
`

func superviseCommand(ctx context.Context, args []string, stdio command.Stdio) error {
	flags := command.NewFlags("adit agent supervise", superviseUsage)
	dir := flags.String("dir", "", "")
	stop := flags.Bool("stop", false, "")
	foreground := flags.Bool("foreground", false, "")
	if err := flags.Parse(args, 0, 0, stdio); err != nil {
		return err
	}
	p := PathsIn(*dir)
	switch {
	case *stop && *foreground:
		return command.Usagef("--stop and --foreground exclude each other.")
	case *stop:
		return stopSupervisor(ctx, p)
	case *foreground:
		return supervise(ctx, p)
	}
	return startSupervisor(ctx, p)
}

// startSupervisor leaves a supervisor behind that belongs to no terminal. One that runs already is fine.
func startSupervisor(ctx context.Context, p Paths) error {
	if _, err := loadEnrolled(p); err != nil {
		return err
	}
	if held(p.PID()) {
		return nil
	}
	g, err := thisProgram(p)
	if err != nil {
		return err
	}
	cmd := exec.Command(g.path, g.args("supervise", "--foreground")...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Dir = "/"
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the supervisor: %w", err)
	}
	if err := await(ctx, func() bool { return held(p.PID()) }); err != nil {
		return wire.Wrap(err, wire.Internal, "The supervisor did not start; %s may say why", p.Log())
	}
	return cmd.Process.Release()
}

// stopSupervisor ends the supervisor and an agent that outlived its own.
func stopSupervisor(ctx context.Context, p Paths) error {
	for _, stop := range []struct {
		lock string
		pid  func() int
	}{
		{p.PID(), func() int { return readPID(p.PID()) }},
		{p.Lock(), func() int { s, _ := readStatus(p, Config{}); return s.PID }},
	} {
		if !held(stop.lock) {
			continue
		}
		pid := stop.pid()
		if pid <= 1 {
			return wire.Errorf(wire.Internal, "Something holds %s, but does not say who it is.", stop.lock)
		}
		_ = syscall.Kill(pid, syscall.SIGTERM)
		if await(ctx, func() bool { return !held(stop.lock) }) != nil {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			if err := await(ctx, func() bool { return !held(stop.lock) }); err != nil {
				return wire.Wrap(err, wire.Internal, "Process %d does not end", pid)
			}
		}
	}
	return nil
}

const (
	awaitLimit = 10 * time.Second
	awaitStep  = 20 * time.Millisecond
)

// await waits until what is so, at most awaitLimit.
func await(ctx context.Context, is func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, awaitLimit)
	defer cancel()
	for !is() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(awaitStep):
		}
	}
	return nil
}

// held reports whether a living process holds the lock on path.
func held(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	return errors.Is(syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}

func readPID(path string) int {
	n, err := strconv.Atoi(firstFile(path))
	if err != nil {
		return 0
	}
	return n
}

// Waits between two lives of the agent: the first at once, later ones longer while it lives for moments only.
const (
	restartLeast = time.Second
	restartMost  = 5 * time.Second
	longLife     = 10 * time.Second
)

// supervise runs the agent again and again until ctx ends.
func supervise(ctx context.Context, p Paths) error {
	signal.Ignore(syscall.SIGHUP)
	lock, err := takePIDFile(p)
	if err != nil {
		return err
	}
	defer func() {
		_ = os.Remove(p.PID())
		_ = lock.Close()
	}()
	log := &boundedLog{path: p.Log()}
	defer log.close()
	wait := restartLeast
	for {
		began := time.Now()
		err := runChild(ctx, p, log)
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(began) > longLife {
			wait = restartLeast
		}
		fmt.Fprintf(log, "time=%s level=WARN msg=\"agent ended, starts again\" cause=%q wait=%s\n",
			time.Now().UTC().Format(time.RFC3339), fmt.Sprint(err), wait)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		wait = min(2*wait, restartMost)
	}
}

func takePIDFile(p Paths) (*os.File, error) {
	f, err := os.OpenFile(p.PID(), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("take the supervisor's lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, wire.Wrap(err, wire.Conflict, "A supervisor already runs")
	}
	err = f.Truncate(0)
	_, errWrite := fmt.Fprintln(f, os.Getpid())
	if err := errors.Join(err, errWrite); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("write the supervisor's pid: %w", err)
	}
	return f, nil
}

// runChild runs one life of the agent. When ctx ends it is told to stop, and killed if it does not.
func runChild(ctx context.Context, p Paths, log io.Writer) error {
	g, err := thisProgram(p)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, g.path, g.args("run")...)
	cmd.Stderr = log
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = awaitLimit
	return cmd.Run()
}

const logLimit = 1 << 20

// boundedLog appends to a file and begins it anew, keeping one old one, whenever it has grown too long.
type boundedLog struct {
	path string

	mu   sync.Mutex
	file *os.File
	size int64
}

func (l *boundedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil || l.size > logLimit {
		if err := l.reopen(); err != nil {
			return len(p), nil // a full disk must not stop the agent
		}
	}
	n, _ := l.file.Write(p)
	l.size += int64(n)
	return len(p), nil
}

func (l *boundedLog) reopen() error {
	if l.file != nil {
		_ = l.file.Close()
		l.file = nil
	}
	if info, err := os.Stat(l.path); err == nil && info.Size() > logLimit {
		if err := os.Rename(l.path, l.path+".1"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return err
	}
	l.file, l.size = f, info.Size()
	return nil
}

func (l *boundedLog) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		_ = l.file.Close()
	}
}
