package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/aditdev/adit/internal/wire"
)

// account is who is signed in on this machine, kept in login.json.
type account struct {
	Hub   string `json:"hub"` // URL without a path
	Token string `json:"token"`
	Email string `json:"email"`
}

// configDir is ~/.config/adit, or its like under XDG_CONFIG_HOME.
func configDir() (string, error) {
	base := os.Getenv("XDG_CONFIG_HOME")
	if !filepath.IsAbs(base) {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", wire.Wrap(err, wire.Invalid, "There is no home directory to keep a sign-in in")
		}
		base = filepath.Join(home, ".config")
	}
	return filepath.Join(base, "adit"), nil
}

func accountFile() (string, error) {
	dir, err := configDir()
	return filepath.Join(dir, "login.json"), err
}

// readAccount fails with Unauthenticated where nobody is signed in.
func readAccount() (a account, err error) {
	path, err := accountFile()
	if err != nil {
		return a, err
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return a, wire.Errorf(wire.Unauthenticated, "You are not signed in. Begin with: adit login https://your.hub")
	}
	if err != nil {
		return a, fmt.Errorf("sign-in: %w", err)
	}
	if err := json.Unmarshal(data, &a); err != nil || a.Hub == "" || a.Token == "" {
		return a, wire.Errorf(wire.Unauthenticated, "%s is damaged. Sign in again: adit login https://your.hub", path)
	}
	return a, nil
}

// save keeps the sign-in for this account of the machine alone. What was kept for another hub goes.
func (a account) save() error {
	path, err := accountFile()
	if err != nil {
		return err
	}
	before, err := readAccount()
	if err == nil && before.Hub != a.Hub {
		if err := os.RemoveAll(filepath.Join(filepath.Dir(path), "ssh")); err != nil {
			return fmt.Errorf("forget the earlier hub: %w", err)
		}
	}
	data, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return fmt.Errorf("sign-in: %w", err)
	}
	return writeFile(path, append(data, '\n'), 0o600)
}

// writeFile replaces a file as a whole: whoever reads it sees the old one or the new one.
func writeFile(path string, data []byte, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return fmt.Errorf("write file: %w", err)
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("write file: %w", err)
	}
	return nil
}
