package auth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"

	"github.com/aditdev/adit/internal/wire"
)

// argon2id as RFC 9106 and OWASP advise for a small server: 19 MiB, two passes, one lane.
const (
	argonMemory  = 19 * 1024 // KiB
	argonTime    = 2
	argonThreads = 1
	argonKey     = 32
	argonSalt    = 16
)

// MaxPassword and MinPassword bound a password, in bytes.
const (
	MaxPassword = 1024
	MinPassword = 10
)

// passwords hashes two at a time: each takes 19 MiB, and strangers may ask.
type passwords struct {
	slots chan struct{}
	dummy string
}

func newPasswords() (*passwords, error) {
	p := &passwords{slots: make(chan struct{}, 2)}
	dummy, err := p.hash(context.Background(), rand.Text())
	p.dummy = dummy
	return p, err
}

// checkNew refuses a password that is too short or too long to be kept.
func checkNew(password string) error {
	if len(password) < MinPassword || len(password) > MaxPassword {
		return &wire.Error{Code: wire.Invalid, Message: "The password needs 10 to 1024 characters.",
			Fields: map[string]string{"password": "10 to 1024 characters", "new_password": "10 to 1024 characters"}}
	}
	return nil
}

// hash gives the PHC form of a password. It waits for a slot, or for ctx.
func (p *passwords) hash(ctx context.Context, password string) (string, error) {
	salt := make([]byte, argonSalt)
	_, _ = rand.Read(salt) // never fails
	key, err := p.derive(ctx, password, salt)
	if err != nil {
		return "", err
	}
	encode := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonTime, argonThreads,
		encode(salt), encode(key)), nil
}

// matches compares in constant time. An absent hash costs as much as a wrong password, so that nobody learns by the
// clock who has an account.
func (p *passwords) matches(ctx context.Context, hash *string, password string) (bool, error) {
	if len(password) > MaxPassword {
		return false, nil
	}
	known := hash != nil
	if !known {
		hash = &p.dummy
	}
	salt, want, err := parse(*hash)
	if err != nil {
		return false, err
	}
	have, err := p.derive(ctx, password, salt)
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(have, want) == 1 && known, nil
}

func (p *passwords) derive(ctx context.Context, password string, salt []byte) ([]byte, error) {
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return nil, fmt.Errorf("hash password: %w", ctx.Err())
	}
	return argon2.IDKey([]byte(password), salt, argonTime, argonMemory, argonThreads, argonKey), nil
}

func parse(hash string) (salt, key []byte, err error) {
	parts := strings.Split(hash, "$")
	prefix := fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$", argon2.Version, argonMemory, argonTime, argonThreads)
	if len(parts) != 6 || !strings.HasPrefix(hash, prefix) {
		return nil, nil, fmt.Errorf("password hash: unknown form")
	}
	if salt, err = base64.RawStdEncoding.DecodeString(parts[4]); err == nil {
		key, err = base64.RawStdEncoding.DecodeString(parts[5])
	}
	if err != nil {
		return nil, nil, fmt.Errorf("password hash: %w", err)
	}
	return salt, key, nil
}
