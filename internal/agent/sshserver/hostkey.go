package sshserver

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/crypto/ssh"
)

// EnsureHostKey reads the server's host key, or makes one (0600, in OpenSSH's own form) where there is none.
func EnsureHostKey(path string) (ssh.Signer, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return newHostKey(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read the SSH host key: %w", err)
	}
	signer, err := ssh.ParsePrivateKey(data)
	if err != nil {
		return nil, fmt.Errorf("read the SSH host key in %s: %w", path, err)
	}
	return signer, nil
}

func newHostKey(path string) (ssh.Signer, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the SSH host key: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(key, "adit")
	if err != nil {
		return nil, fmt.Errorf("make the SSH host key: %w", err)
	}
	// Linked into place only when complete, and never over a key that another process made meanwhile.
	f, err := os.CreateTemp(filepath.Dir(path), ".hostkey.*")
	if err != nil {
		return nil, fmt.Errorf("write the SSH host key: %w", err)
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.Write(pem.EncodeToMemory(block))
	if err := errors.Join(err, f.Chmod(0o600), f.Sync(), f.Close()); err != nil {
		return nil, fmt.Errorf("write the SSH host key: %w", err)
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		if err := os.Rename(f.Name(), path); err != nil {
			return nil, fmt.Errorf("write the SSH host key: %w", err)
		}
	}
	return EnsureHostKey(path)
}
