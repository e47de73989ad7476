//go:build !windows

package hold

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"github.com/aditdev/adit/internal/wire"
)

// socketPath is where the holder of id listens. It makes the folder, and fails with an Error of code Internal where
// the folder is not this login's alone: whoever reaches the socket types in the shell.
func socketPath(id string) (string, error) {
	home, err := os.UserHomeDir()
	if err != nil || !filepath.IsAbs(home) {
		return "", wire.Errorf(wire.Internal, "This login has no home directory that could keep a shell.")
	}
	dir := filepath.Join(home, ".cache", "adit", "shells")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", wire.Wrap(err, wire.Internal, "The folder %q, which keeps shells, cannot be made.", dir)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return "", wire.Wrap(err, wire.Internal, "The folder %q, which keeps shells, cannot be read.", dir)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() || int(stat.Uid) != os.Geteuid() || info.Mode().Perm()&0o077 != 0 {
		return "", wire.Errorf(wire.Internal, "The folder %q must be a folder of this login alone (mode 0700).", dir)
	}
	return filepath.Join(dir, id+".sock"), nil
}

// errHeld says that another process holds this shell already.
var errHeld = errors.New("held already")

// claim makes this process the holder of the shell whose socket is at path. The lock decides between two that start
// at once, and tells a socket that a dead holder left behind from a live one.
func claim(path string) (lock *os.File, listener *net.UnixListener, err error) {
	lock, err = os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("lock: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = lock.Close()
		return nil, nil, errHeld
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		_ = lock.Close()
		return nil, nil, fmt.Errorf("old socket: %w", err)
	}
	listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		_ = lock.Close()
		return nil, nil, fmt.Errorf("socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		_ = listener.Close()
		_ = lock.Close()
		return nil, nil, fmt.Errorf("socket: %w", err)
	}
	return lock, listener, nil
}

// release removes what claim made. The lock's file goes last: whoever sees it locked waits for this holder.
func release(path string, lock *os.File, listener *net.UnixListener) {
	_ = listener.Close()
	_ = os.Remove(path)
	_ = os.Remove(path + ".lock")
	_ = lock.Close()
}
