//go:build !windows

package hold

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/aditdev/adit/internal/wire"
)

// isTerm reports whether term may be the name of a terminal type.
func isTerm(term string) bool {
	return len(term) >= 1 && len(term) <= 64 && wire.IsWord(term, "._+-") && wire.IsWord(term[:1], "")
}

// loginShell is the login's shell as sshd would start it. The environment is the one that the SSH server gave the
// bridge: it has HOME, USER, SHELL, PATH and SSH_CONNECTION in it.
func loginShell(term string) *exec.Cmd {
	path := os.Getenv("SHELL")
	if !filepath.IsAbs(path) {
		path = "/bin/sh"
	}
	shell := exec.Command(path)
	shell.Args = []string{"-" + filepath.Base(path)}
	if !isTerm(term) {
		term = "xterm-256color"
	}
	shell.Env = append(slices.DeleteFunc(os.Environ(), ours), "TERM="+term)
	shell.Dir = "/"
	if home, err := os.UserHomeDir(); err == nil {
		if info, err := os.Stat(home); err == nil && info.IsDir() {
			shell.Dir = home
		}
	}
	return shell
}

// ours tells the variables that are no business of the shell.
func ours(variable string) bool {
	return strings.HasPrefix(variable, "ADIT_") || strings.HasPrefix(variable, "TERM=")
}

// motdMax bounds a message of the day.
const motdMax = 16 << 10

// motd is what a login is told at first, fit for a terminal that is not read line by line. sshd says nothing by itself
// where a command is run; and as there, ~/.hushlogin keeps it quiet.
func motd() []byte {
	if home, err := os.UserHomeDir(); err == nil {
		if _, err := os.Lstat(filepath.Join(home, ".hushlogin")); err == nil {
			return nil
		}
	}
	var text []byte
	for _, path := range []string{"/run/motd.dynamic", "/etc/motd"} {
		if f, err := os.Open(path); err == nil {
			part, _ := io.ReadAll(io.LimitReader(f, motdMax))
			_ = f.Close()
			text = append(text, part...)
		}
	}
	return bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n"))
}

// exitStatus is what `$?` would be after the shell.
func exitStatus(state *os.ProcessState) int {
	if state == nil {
		return 255
	}
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return state.ExitCode()
}

func sizeOf(join wire.HoldJoin) wire.ShellSize {
	if join.Cols == 0 {
		return wire.ShellSize{Cols: 80, Rows: 24}
	}
	return wire.ShellSize{Cols: join.Cols, Rows: join.Rows}
}
