// Package seal encrypts the hub's secrets at rest with a key derived from ADIT_SECRET, so that a copy of the database
// alone opens nothing.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
)

// MinSecret is the least length of ADIT_SECRET in bytes: 32 hexadecimal digits carry 128 bits.
const MinSecret = 32

// ErrOpen says that a sealed text was made with another ADIT_SECRET, under another name, or was changed.
var ErrOpen = errors.New("sealed text does not open: ADIT_SECRET is another one than it was sealed with, or the database was changed")

// Sealer seals and opens. It is safe for concurrent use.
type Sealer struct {
	aead cipher.AEAD
	mac  []byte
}

// New derives the sealing key (HKDF-SHA-256, RFC 5869). It refuses a secret shorter than MinSecret.
func New(secret string) (*Sealer, error) {
	if len(secret) < MinSecret {
		return nil, fmt.Errorf("ADIT_SECRET: %d bytes are too few, it takes %d or more; make one with: openssl rand -hex 32",
			len(secret), MinSecret)
	}
	key, err := hkdf.Key(sha256.New, []byte(secret), nil, "adit seal v1", 32)
	if err != nil {
		return nil, fmt.Errorf("sealing key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("sealing key: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("sealing key: %w", err)
	}
	mac, err := hkdf.Key(sha256.New, []byte(secret), nil, "adit mac v1", 32)
	if err != nil {
		return nil, fmt.Errorf("key of codes: %w", err)
	}
	return &Sealer{aead: aead, mac: mac}, nil
}

// MAC is the code of a text under a name (HMAC-SHA-256): 32 bytes that nobody guesses without ADIT_SECRET. Compare in constant time.
func (s *Sealer) MAC(name, text string) []byte {
	h := hmac.New(sha256.New, s.mac)
	fmt.Fprintf(h, "%d %s %s", len(name), name, text)
	return h.Sum(nil)
}

// Seal encrypts plain so that it only opens under the same name. The text begins with the format's version.
func (s *Sealer) Seal(name string, plain []byte) string {
	return "v1." + base64.RawStdEncoding.EncodeToString(s.aead.Seal(nil, nil, plain, []byte(name)))
}

// Open reads what Seal wrote. It fails with ErrOpen.
func (s *Sealer) Open(name, sealed string) ([]byte, error) {
	if len(sealed) < 3 || sealed[:3] != "v1." {
		return nil, fmt.Errorf("open %s: %w", name, ErrOpen)
	}
	raw, err := base64.RawStdEncoding.DecodeString(sealed[3:])
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, ErrOpen)
	}
	plain, err := s.aead.Open(nil, nil, raw, []byte(name))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, ErrOpen)
	}
	return plain, nil
}

// NewSecret makes a value for ADIT_SECRET.
func NewSecret() string { return rand.Text() + rand.Text() }
