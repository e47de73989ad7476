package wire

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"strings"
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

const sshEd25519 = "ssh-ed25519"

// sshKeyHead is how an Ed25519 key begins in SSH's own encoding (RFC 8709 §4); the 32 bytes of the key follow.
const sshKeyHead = "\x00\x00\x00\x0b" + sshEd25519 + "\x00\x00\x00\x20"

// SSHKey writes an Ed25519 public key as OpenSSH does: its type and base64, without a comment.
func SSHKey(key ed25519.PublicKey) string {
	return sshEd25519 + " " + base64.StdEncoding.EncodeToString(append([]byte(sshKeyHead), key...))
}

// ParseKey reads a public key as EncodeKey writes it, or as the line of an id_ed25519.pub file. It fails with an Error of
// code Invalid.
func ParseKey(s string) (ed25519.PublicKey, error) {
	fields := strings.Fields(s)
	if len(fields) < 2 {
		return DecodeKey(s)
	}
	raw, err := base64.StdEncoding.DecodeString(fields[1])
	key, ok := strings.CutPrefix(string(raw), sshKeyHead)
	if err != nil || !ok || fields[0] != sshEd25519 || strings.Contains(strings.TrimSpace(s), "\n") || len(key) != ed25519.PublicKeySize {
		return nil, Errorf(Invalid, "This is no Ed25519 key: it takes one line as in id_ed25519.pub, which begins with ssh-ed25519.")
	}
	return ed25519.PublicKey(key), nil
}

// Fingerprint names a tunnel key in the way that OpenSSH names its keys: "SHA256:" and 43 characters.
// It is what ADIT_HUB_KEY carries.
func Fingerprint(key ed25519.PublicKey) string {
	sum := sha256.Sum256(key)
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
}
