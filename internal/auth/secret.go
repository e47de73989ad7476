package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
)

// TokenPrefix begins every API token, so that scanners find one that leaked.
const TokenPrefix = "adit_"

// newSecret makes 256 bits in 43 characters that need no quoting anywhere.
func newSecret() string {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // never fails
	return base64.RawURLEncoding.EncodeToString(raw)
}

// Hash is what the database keeps of a secret that the hub made: such secrets have too many bits to be guessed from it.
func Hash(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// userCodeLetters leave out vowels, so that no words come about, and what looks alike (RFC 8628 §6.1).
const userCodeLetters = "BCDFGHJKLMNPQRSTVWXZ"

// newUserCode makes eight letters: 34 bits, which live ten minutes behind a rate limit.
func newUserCode() string {
	code := make([]byte, 0, 8)
	var b [1]byte
	for len(code) < 8 {
		_, _ = rand.Read(b[:]) // never fails
		if int(b[0]) < 256/len(userCodeLetters)*len(userCodeLetters) {
			code = append(code, userCodeLetters[int(b[0])%len(userCodeLetters)])
		}
	}
	return string(code)
}
