//go:build !windows

package hold

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/aditdev/adit/internal/wire"
)

// startOnTerminal runs shell as the leader of a new session on a new pseudo-terminal and returns the controlling side.
// On Linux its reads end when it is closed, and keep deadlines, which the file that creack/pty gives does not do: that one
// is switched to blocking. macOS polls no pseudo-terminals (golang.org/issue/22099); but there the terminal is revoked
// when its shell is gone, which ends reads too.
func startOnTerminal(shell *exec.Cmd, size wire.ShellSize) (*os.File, error) {
	blocking, err := pty.StartWithSize(shell, &pty.Winsize{Cols: uint16(size.Cols), Rows: uint16(size.Rows)})
	if err != nil {
		return nil, err
	}
	if runtime.GOOS == "darwin" {
		return blocking, nil
	}
	defer blocking.Close()
	fd, err := unix.FcntlInt(blocking.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		err = syscall.SetNonblock(fd, true)
	}
	if err != nil {
		_ = shell.Process.Kill()
		return nil, errors.Join(fmt.Errorf("terminal: %w", err), shell.Wait())
	}
	return os.NewFile(uintptr(fd), blocking.Name()), nil
}

// setSize tells the terminal its size, and its programs that it changed.
func setSize(f *os.File, size wire.ShellSize) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Col: uint16(size.Cols), Row: uint16(size.Rows)})
	})
	return errors.Join(err, failed)
}
