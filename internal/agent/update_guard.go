package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/aditdev/adit/internal/agent/carrier"
	"github.com/aditdev/adit/internal/command"
	"github.com/aditdev/adit/internal/wire"
)

const selfTestUsage = `Usage: adit agent self-test [--dir DIR]

Reaches the hub once as this device, without disturbing the agent that runs, and prints {version}. An update is tried by
it before it is used.
`

func selfTestCommand(ctx context.Context, args []string, stdio command.Stdio) error {
	flags := command.NewFlags("adit agent self-test", selfTestUsage)
	dir := flags.String("dir", "", "")
	if err := flags.Parse(args, 0, 0, stdio); err != nil {
		return err
	}
	p := PathsIn(*dir)
	c, err := loadEnrolled(p)
	if err != nil {
		return err
	}
	rememberProxy(c)
	if f := examineHub(ctx, p, c); f.State == stateBad {
		return wire.Errorf(wire.Offline, "The hub is not reached: %s", f.Says)
	}
	return json.NewEncoder(stdio.Out).Encode(map[string]string{"version": command.Version()})
}

const guardUsage = `Usage: adit agent update-guard [--foreground] [--dir DIR]

Takes the old program back where an update does not come online in its time. The agent starts it from the old program.
`

func guardCommand(ctx context.Context, args []string, stdio command.Stdio) error {
	flags := command.NewFlags("adit agent update-guard", guardUsage)
	dir := flags.String("dir", "", "")
	foreground := flags.Bool("foreground", false, "")
	if err := flags.Parse(args, 0, 0, stdio); err != nil {
		return err
	}
	p := PathsIn(*dir)
	if *foreground {
		return guard(ctx, p)
	}
	path, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the agent's own program: %w", err)
	}
	cmd := exec.Command(path, "agent", "update-guard", "--foreground", "--dir", p.Dir)
	cmd.SysProcAttr, cmd.Dir = &syscall.SysProcAttr{Setsid: true}, "/"
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the update's guard: %w", err)
	}
	if err := await(ctx, func() bool { return held(p.UpdateGuard()) }); err != nil {
		return wire.Wrap(err, wire.Internal, "The update's guard did not start")
	}
	return cmd.Process.Release()
}

// startGuard leaves a guard behind that runs the program at path, which is the old one, and belongs to nobody.
func startGuard(ctx context.Context, path string, p Paths) error {
	cmd := exec.CommandContext(ctx, path, "agent", "update-guard", "--dir", p.Dir)
	cmd.Dir = "/"
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("start the update's guard: %w: %s", err, lastLine(string(out)))
	}
	return nil
}

const guardStep = 100 * time.Millisecond

// guard waits for the update to prove itself, and takes the old program back where it does not.
func guard(ctx context.Context, p Paths) error {
	t, err := readTrial(p)
	if err != nil {
		return fmt.Errorf("read the update: %w", err)
	}
	lock, err := os.OpenFile(p.UpdateGuard(), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("take the guard's lock: %w", err)
	}
	defer func() { _ = lock.Close() }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil // another guards already
	}
	deadline := time.After(time.Duration(t.WithinSeconds) * time.Second)
	tick := time.NewTicker(guardStep)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			if !exists(p.Update()) {
				return nil
			}
		case <-deadline:
			return t.takeBack(ctx, p)
		}
	}
}

// takeBack puts the old program in its place and has it run.
func (t trial) takeBack(ctx context.Context, p Paths) error {
	r := wire.UpdateResult{Version: t.Version, Message: "The new program was not online within " +
		strconv.Itoa(t.WithinSeconds) + " s, so the device went back to " + t.From + "."}
	if err := errors.Join(keepProgram(t.old(), t.Program), writeResult(p, r), os.Remove(p.Update())); err != nil {
		return fmt.Errorf("take the old program back: %w", err)
	}
	for _, pid := range t.strays(p) {
		_ = syscall.Kill(pid, syscall.SIGTERM)
		gone := func() bool { return syscall.Kill(pid, 0) != nil }
		if await(ctx, gone) != nil {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	// A service manager starts it. Where none does, it is for the guard to become the agent.
	if await(ctx, func() bool { return held(p.Lock()) }) == nil {
		return nil
	}
	return syscall.Exec(t.Program, []string{t.Program, "agent", "run", "--dir", p.Dir}, os.Environ())
}

// strays are the processes that run the new program: the agent, where it answers, and the process that became it, where
// it hangs.
func (t trial) strays(p Paths) (pids []int) {
	if s, err := readStatus(p, Config{}); err == nil && s.Running && s.PID > 1 && s.Version != t.From {
		pids = append(pids, s.PID)
	}
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", t.PID))
	if err == nil && strings.TrimSuffix(exe, " (deleted)") == t.Program && !slices.Contains(pids, t.PID) {
		pids = append(pids, t.PID)
	}
	return pids
}

func writeResult(p Paths, r wire.UpdateResult) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return writeFile(p.UpdateResult(), data, 0o600)
}

// settleUpdate proves an update that this program is, and tells the hub what became of the last one.
func (d *device) settleUpdate(ctx context.Context, pool *carrier.Pool, board *board) {
	if t, err := readTrial(d.paths); err == nil {
		if err := d.prove(ctx, t, board); err != nil {
			d.log.Error("update not settled", "cause", err)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		d.log.Error("update not settled", "cause", err)
		_ = os.Remove(d.paths.Update())
	}
	data, err := os.ReadFile(d.paths.UpdateResult())
	if err != nil || !board.awaitOnline(ctx) {
		return
	}
	err = pool.Call(ctx, wire.MethodUpdateResult, json.RawMessage(data), nil)
	if code := wire.CodeOf(err); err == nil || code == wire.NotFound || code == wire.Invalid {
		_ = os.Remove(d.paths.UpdateResult())
	}
}

// prove waits until this program is online, which is all that an update must show. Where it is another program than the
// update's, as after a power cut, that one was never used.
func (d *device) prove(ctx context.Context, t trial, board *board) error {
	if t.Version != command.Version() {
		return errors.Join(writeResult(d.paths, wire.UpdateResult{Version: t.Version, Message: "The update was cut off; the device goes on with " + t.From + "."}),
			os.Remove(d.paths.Update()))
	}
	if !held(d.paths.UpdateGuard()) { // the machine was started again meanwhile
		if err := startGuard(ctx, t.old(), d.paths); err != nil {
			d.log.Warn("no guard for the update", "cause", err)
		}
	}
	if !board.awaitOnline(ctx) {
		return nil
	}
	d.log.Info("update proved itself", "from", t.From, "to", t.Version)
	return errors.Join(writeResult(d.paths, wire.UpdateResult{Version: t.Version, OK: true}), os.Remove(d.paths.Update()))
}
