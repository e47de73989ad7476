package agent

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/aditdev/adit/internal/wire"
)

const keyBlock = "ADIT DEVICE KEY"

// loadKey reads the device's key. It fails with fs.ErrNotExist where there is none.
func loadKey(path string) (ed25519.PrivateKey, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the device's key: %w", err)
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != keyBlock || len(block.Bytes) != ed25519.SeedSize {
		return nil, fmt.Errorf("the device's key in %s is damaged; enrol this machine again with a code made for replacing it", path)
	}
	return ed25519.NewKeyFromSeed(block.Bytes), nil
}

// ensureKey reads the device's key, or makes one where there is none. The key is on disk before anybody hears of its
// public half, so that an enrolment whose answer was lost can be repeated.
func ensureKey(path string) (ed25519.PrivateKey, error) {
	key, err := loadKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	_, key, err = ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the device's key: %w", err)
	}
	return key, writeFile(path, pem.EncodeToMemory(&pem.Block{Type: keyBlock, Bytes: key.Seed()}), 0o600)
}

// publicFingerprint names the device's key as the hub's pages do.
func publicFingerprint(key ed25519.PrivateKey) string {
	return wire.Fingerprint(key.Public().(ed25519.PublicKey))
}

// missingKeys are the files of keys that an enrolment will make.
func (p Paths) missingKeys() (missing []string) {
	for _, path := range []string{p.Key(), p.HostKey()} {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			missing = append(missing, path)
		}
	}
	return missing
}

// remove takes back keys that no hub accepted, and the directory if nothing else is in it.
func (p Paths) remove(keys []string) {
	for _, path := range keys {
		_ = os.Remove(path)
	}
	_ = os.Remove(p.Dir)
}
