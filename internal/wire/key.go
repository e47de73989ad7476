package wire

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
)

// EncodeKey writes an Ed25519 public key as the protocol does: 32 bytes, base64url without padding.
func EncodeKey(key ed25519.PublicKey) string { return base64.RawURLEncoding.EncodeToString(key) }

// DecodeKey reads what EncodeKey wrote. It fails with an Error of code Invalid.
func DecodeKey(s string) (ed25519.PublicKey, error) {
	raw, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(raw) != ed25519.PublicKeySize {
		return nil, Errorf(Invalid, "This is no public key: it takes 32 bytes of Ed25519 in base64url without padding.")
	}
	return raw, nil
}

// Fingerprint names a tunnel key in the way that OpenSSH names its keys: "SHA256:" and 43 characters.
// It is what ADIT_HUB_KEY carries.
func Fingerprint(key ed25519.PublicKey) string {
	sum := sha256.Sum256(key)
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
}
