package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// writeFile replaces the file at path by data, or leaves it untouched: a power cut shows the old or the new, never a
// half. It syncs file and directory.
func writeFile(path string, data []byte, mode fs.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
			err = fmt.Errorf("write %s: %w", path, err)
		}
	}()
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// makeDir makes the agent's directory. It is open to read for system installs, since sshd's helper runs as nobody;
// what is secret in it has its own mode.
func makeDir(p Paths) error {
	mode := fs.FileMode(0o755)
	if p.User {
		mode = 0o700
	}
	if err := os.MkdirAll(p.Dir, mode); err != nil {
		return fmt.Errorf("make the agent's directory: %w", err)
	}
	if err := os.Chmod(p.Dir, mode); err != nil {
		return fmt.Errorf("make the agent's directory: %w", err)
	}
	return nil
}
