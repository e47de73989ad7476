//go:build !windows

package hold

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/aditdev/adit/internal/wire"
)

// startTimeout bounds the start of a holder: on a slow board a process takes its time.
const startTimeout = 10 * time.Second

// Run is `adit agent hold ID`. It returns when the holder or whoever speaks on stdin is done.
// With `--holder ID` it is the holder itself; only the bridge calls it so.
func Run(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error {
	if len(args) == 2 && args[0] == holderFlag && isShellID(args[1]) {
		return serveHolder(ctx, args[1], os.NewFile(3, "ready"))
	}
	if len(args) != 1 || !isShellID(args[0]) {
		return wire.Errorf(wire.Invalid, "usage: adit agent hold SHELL-ID (the hub runs this; it is of no use by hand)")
	}
	return bridge(ctx, args[0], stdin, stdout)
}

// bridge reads the join itself, since only that says whether a holder may be started, and then only copies.
func bridge(ctx context.Context, id string, stdin io.Reader, stdout io.Writer) error {
	if _, err := io.WriteString(stdout, wire.HoldGreeting); err != nil {
		return fmt.Errorf("greeting: %w", err)
	}
	in := bufio.NewReader(stdin)
	join, err := readJoin(in)
	if err != nil {
		return err
	}
	conn, err := reach(ctx, id, join.Create)
	if err != nil {
		refusal := wire.HoldRefused{Code: wire.CodeOf(err), Message: wire.MessageOf(err)}
		return errors.Join(err, wire.WriteHoldJSON(stdout, wire.HoldRefusedFrame, refusal))
	}
	defer conn.Close()
	if err := wire.WriteHoldJSON(conn, wire.HoldJoinFrame, join); err != nil {
		return fmt.Errorf("join: %w", err)
	}
	// A read of stdin cannot be interrupted, so this goroutine is not waited for: the process ends with Run.
	go func() {
		_, _ = io.Copy(conn, in)
		_ = conn.Close()
	}()
	_, err = io.Copy(stdout, conn)
	if errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		return nil // whoever joined has left
	}
	return err
}

func readJoin(r io.Reader) (wire.HoldJoin, error) {
	kind, payload, err := wire.ReadHold(r)
	if err != nil {
		return wire.HoldJoin{}, fmt.Errorf("join: %w", err)
	}
	return parseJoin(kind, payload)
}

// reach connects to the holder of id and starts one where there is none and create says so.
// It fails with an Error of code NotFound or Internal.
func reach(ctx context.Context, id string, create bool) (net.Conn, error) {
	path, err := socketPath(id)
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(startTimeout)
	for {
		conn, err := net.Dial("unix", path)
		if err == nil {
			return conn, nil
		}
		if !create {
			return nil, wire.Wrap(err, wire.NotFound, "This shell is gone: it ended, or the device was restarted.")
		}
		if time.Now().After(deadline) {
			return nil, wire.Wrap(err, wire.Internal, "The process that holds the shell does not answer.")
		}
		// Where another bridge has started one this returns at once, perhaps before that one listens.
		if err := startHolder(ctx, id); err != nil {
			return nil, wire.Wrap(err, wire.Internal, "The device could not start a process that holds the shell: %v.", err)
		}
	}
}

// startHolder returns once the holder listens. It leaves the holder in a session of its own, with nothing of this
// process's but its environment, so that neither a hang-up nor the end of sshd's child reaches it.
func startHolder(ctx context.Context, id string) error {
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("own path: %w", err)
	}
	ready, theirs, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("pipe: %w", err)
	}
	defer ready.Close()
	holder := exec.Command(program, "agent", "hold", holderFlag, id)
	holder.ExtraFiles = []*os.File{theirs}
	holder.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = holder.Start()
	_ = theirs.Close()
	if err != nil {
		return fmt.Errorf("holder: %w", err)
	}
	go func() { _ = holder.Wait() }() // only so that it leaves no zombie while this bridge lives
	return awaitReady(ctx, ready)
}

// awaitReady reads what the holder says: "ok", or why not.
func awaitReady(ctx context.Context, ready *os.File) error {
	deadline := time.Now().Add(startTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := ready.SetReadDeadline(deadline); err != nil {
		return fmt.Errorf("ready pipe: %w", err)
	}
	answer, err := io.ReadAll(io.LimitReader(ready, 500))
	if err != nil {
		return fmt.Errorf("ready pipe: %w", err)
	}
	if string(answer) != readyWord {
		return fmt.Errorf("holder: %q", answer)
	}
	return nil
}
