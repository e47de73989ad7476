//go:build !windows

package hold

import (
	"context"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/aditdev/adit/internal/ring"
	"github.com/aditdev/adit/internal/wire"
)

// terminal is a login shell on a pseudo-terminal, its numbered output, and who looks on.
type terminal struct {
	mu       sync.Mutex
	changed  chan struct{} // closed and replaced whenever something below changes
	output   *ring.Ring
	joiners  map[string]*joiner // by the name that each gave
	departed map[string]departed
	emptyAt  time.Time // since when nobody has been joined
	joined   bool      // somebody ever was
	exited   *wire.HoldExited
	read     bool // a joiner acknowledged the exit status
	size     wire.ShellSize
	typed    []typed // input that no program has read yet, oldest first
	waiting  int     // its bytes

	pty     *os.File // nil until started; closed by a hang-up and once the shell has exited
	shell   *exec.Cmd
	hungUp  bool
	kill    *time.Timer // runs after a hang-up
	running sync.WaitGroup
}

// departed is what remains for a while of a joiner that vanished: the output that it may have missed.
type departed struct {
	acked int64
	until time.Time
}

// typed is input, and who is to be told when it is read.
type typed struct {
	by *joiner
	p  []byte
}

// maxWaiting bounds the input of all joiners together, those that have left included.
const maxWaiting = 4 * wire.ShellInputWindow

func newTerminal() *terminal {
	return &terminal{
		changed:  make(chan struct{}),
		output:   ring.New(wire.ShellRing, 0),
		joiners:  make(map[string]*joiner),
		departed: make(map[string]departed),
		emptyAt:  time.Now(),
	}
}

// wake tells everyone who waits that something changed. The caller holds mu.
func (t *terminal) wake() {
	close(t.changed)
	t.changed = make(chan struct{})
}

// start runs the login shell, once.
func (t *terminal) start(join wire.HoldJoin) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.shell != nil {
		return nil
	}
	shell := loginShell(join.Term)
	t.size = sizeOf(join)
	f, err := startOnTerminal(shell, t.size)
	if err != nil {
		return wire.Wrap(err, wire.Internal, "The login shell %q cannot be started: %v.", shell.Path, err)
	}
	_, _ = t.output.Write(motd())
	t.shell, t.pty = shell, f
	t.kill = time.AfterFunc(time.Hour, func() { _ = shell.Process.Kill() })
	t.kill.Stop()
	exited := make(chan struct{})
	t.running.Go(func() { t.pump(f, exited) })
	t.running.Go(func() { t.feed(f) })
	t.running.Go(func() {
		_ = shell.Wait() // its state says more than its error
		close(exited)
		_ = f.SetReadDeadline(time.Now().Add(drainTime))
	})
	return nil
}

// drainTime is how long output is awaited after the shell is gone: programs that it left behind may hold the terminal
// open for ever.
const drainTime = 100 * time.Millisecond

// pump moves output from the pseudo-terminal to the ring, no faster than the joiners take it, and ends the terminal.
func (t *terminal) pump(f *os.File, exited <-chan struct{}) {
	buf := make([]byte, wire.ShellChunk)
	for {
		room := t.awaitRoom()
		select {
		case <-exited:
			_ = f.SetReadDeadline(time.Now().Add(drainTime))
		default:
		}
		n, err := f.Read(buf[:min(room, len(buf))])
		if n > 0 {
			t.mu.Lock()
			_, _ = t.output.Write(buf[:n])
			t.wake()
			t.mu.Unlock()
		} else if err != nil {
			// EIO: no process has the terminal open any more. The shell may yet be running, detached from it.
			<-exited
			t.finish(f)
			return
		}
	}
}

// feed moves input to the pseudo-terminal as programs read it.
func (t *terminal) feed(f *os.File) {
	for {
		t.mu.Lock()
		var now *typed
		if len(t.typed) > 0 {
			now = &t.typed[0]
		}
		changed, over := t.changed, t.exited != nil || t.hungUp
		t.mu.Unlock()
		switch {
		case over:
			return
		case now == nil:
			<-changed
			continue
		}
		_, _ = f.Write(now.p) // fails only where the terminal is over: then nobody will ever read this
		t.mu.Lock()
		now.by.taken += int64(len(now.p))
		t.waiting -= len(now.p)
		t.typed = t.typed[1:]
		t.wake()
		t.mu.Unlock()
	}
}

// finish records how the shell ended.
func (t *terminal) finish(f *os.File) {
	t.mu.Lock()
	defer t.mu.Unlock()
	_ = f.Close()
	t.kill.Stop()
	t.exited = &wire.HoldExited{Status: exitStatus(t.shell.ProcessState), Next: t.output.Next()}
	if len(t.joiners) == 0 {
		t.emptyAt = time.Now() // its exit status is kept for whoever comes back
	}
	t.wake()
}

// awaitRoom waits until output may be read, and says how much: 1 or more. A hung-up terminal is not waited for.
func (t *terminal) awaitRoom() int {
	for {
		t.mu.Lock()
		room, again := t.room(time.Now())
		changed, hungUp := t.changed, t.hungUp
		t.mu.Unlock()
		if room > 0 || hungUp {
			return max(room, 1)
		}
		select {
		case <-changed:
		case <-again:
		}
	}
}

// room is how many bytes may be read now; again, where not nil, says when the answer may change by itself.
// The caller holds mu.
func (t *terminal) room(now time.Time) (room int, again <-chan time.Time) {
	floor, next := t.output.Next(), t.output.Next()
	for _, j := range t.joiners {
		floor = min(floor, j.acked)
	}
	for name, d := range t.departed {
		if !now.Before(d.until) {
			delete(t.departed, name)
			continue
		}
		if next-d.acked >= wire.HoldWindow {
			again = time.After(d.until.Sub(now))
		}
		floor = min(floor, d.acked)
	}
	return int(wire.HoldWindow - (next - floor)), again
}

// resize tells the programs in the terminal its new size.
func (t *terminal) resize(size wire.ShellSize) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pty != nil && setSize(t.pty, size) == nil {
		t.size = size
	}
}

// killAfter is how long a shell may take to leave after a hang-up.
const killAfter = 5 * time.Second

// hangup is what happens to a terminal whose line is cut: the kernel signals those who have it open. A shell that
// stays is killed after killAfter.
func (t *terminal) hangup() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.shell == nil || t.hungUp {
		return
	}
	t.hungUp = true
	_ = t.pty.Close()
	_ = t.shell.Process.Signal(syscall.SIGHUP) // the kernel has done so where the last reader let go
	t.kill.Reset(killAfter)
	t.wake()
}

// untilForgotten returns when the holder has no more to do: the shell is over and somebody knows its exit status, or
// nobody has been joined for so long.
func (t *terminal) untilForgotten(ctx context.Context, first, life time.Duration) {
	for {
		t.mu.Lock()
		changed, done, rest := t.changed, t.exited != nil && t.read, time.Duration(-1)
		if len(t.joiners) == 0 {
			limit := life
			if !t.joined {
				limit = first
			}
			rest = max(0, time.Until(t.emptyAt.Add(limit)))
		}
		t.mu.Unlock()
		var timeout <-chan time.Time
		switch {
		case done || rest == 0:
			return
		case rest > 0:
			timeout = time.After(rest)
		}
		select {
		case <-changed:
		case <-timeout:
		case <-ctx.Done():
			return
		}
	}
}

// end hangs up and waits until nothing of the terminal runs.
func (t *terminal) end() {
	t.hangup()
	t.running.Wait()
}
