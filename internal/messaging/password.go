package messaging

import (
	"context"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"github.com/aditdev/adit/internal/wire"
)

// The forms of a kept hash. Those of Mosquitto's password_file are taken over as they are: sha512 of password and salt, and
// PBKDF2 with sha512.
const (
	ownHash    = "sha256$"
	sha512Hash = "$6$"
	pbkdf2Hash = "$7$"
)

// maxIterations bounds what one try of an imported password costs: about a tenth of a second. Mosquitto's own default is 101.
const maxIterations = 100_000

// dummyHash is compared with where there is no such username, so that the clock does not tell.
const dummyHash = "$7$101$AAAAAAAAAAAAAAAA$" +
	"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=="

// newPassword makes 128 bits, and what is kept of them: they have too many bits to be guessed from a plain hash.
func newPassword() (password, hash string) {
	password = rand.Text()
	sum := sha256.Sum256([]byte(password))
	return password, ownHash + base64.RawStdEncoding.EncodeToString(sum[:])
}

// matches compares a password with what is kept. An empty hash is that of nobody. It waits for a slot where the hash is slow.
func (r *Registry) matches(ctx context.Context, hash, password string) (bool, error) {
	known := hash != ""
	if !known {
		hash = dummyHash
	}
	if kept, ok := strings.CutPrefix(hash, ownHash); ok {
		want, err := base64.RawStdEncoding.DecodeString(kept)
		sum := sha256.Sum256([]byte(password))
		return err == nil && subtle.ConstantTimeCompare(want, sum[:]) == 1, err
	}
	m, err := parseMosquitto(hash)
	if err != nil {
		return false, err
	}
	select {
	case r.slow <- struct{}{}:
		defer func() { <-r.slow }()
	case <-ctx.Done():
		return false, wire.Wrap(ctx.Err(), wire.RateLimited, "The hub is busy comparing passwords. Try again.")
	}
	return m.matches(password) && known, nil
}

// mosquittoHash is one of Mosquitto's.
type mosquittoHash struct {
	iterations int // 0: plain sha512
	salt, sum  []byte
}

// parseMosquitto reads $6$SALT$HASH or $7$ITERATIONS$SALT$HASH.
func parseMosquitto(text string) (m mosquittoHash, err error) {
	rest, slow := strings.CutPrefix(text, pbkdf2Hash)
	if slow {
		var number string
		number, rest, _ = strings.Cut(rest, "$")
		if m.iterations, err = strconv.Atoi(number); err != nil || m.iterations < 1 || m.iterations > maxIterations {
			return m, fmt.Errorf("it takes between 1 and %d iterations", maxIterations)
		}
	} else if rest, slow = strings.CutPrefix(text, sha512Hash); !slow {
		return m, fmt.Errorf("it begins with neither $6$ nor $7$")
	}
	salt, sum, _ := strings.Cut(rest, "$")
	if m.salt, err = base64.StdEncoding.DecodeString(salt); err == nil {
		m.sum, err = base64.StdEncoding.DecodeString(sum)
	}
	if err != nil || len(m.sum) != sha512.Size || len(m.salt) == 0 || len(m.salt) > 64 {
		return m, fmt.Errorf("its salt or hash is cut off")
	}
	return m, nil
}

func (m mosquittoHash) matches(password string) bool {
	var sum []byte
	if m.iterations == 0 {
		h := sha512.Sum512(append([]byte(password), m.salt...))
		sum = h[:]
	} else {
		key, err := pbkdf2.Key(sha512.New, password, m.salt, m.iterations, sha512.Size)
		if err != nil {
			return false
		}
		sum = key
	}
	return subtle.ConstantTimeCompare(sum, m.sum) == 1
}
