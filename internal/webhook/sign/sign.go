// Package sign makes and checks the signatures of Standard Webhooks 1.0.0: v1 (HMAC-SHA256 with a secret that both sides
// have) and v1a (Ed25519: the receiver has the public key only). What is signed is "ID.TIMESTAMP.BODY", with the body's
// bytes as they are on the wire.
package sign

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/aditdev/adit/internal/wire"
)

// The fields that a signed request carries.
const (
	HeaderID        = "webhook-id"        // the same at each try of a message; without dots
	HeaderTimestamp = "webhook-timestamp" // of this try, in seconds since 1970
	HeaderSignature = "webhook-signature" // VERSION,BASE64, several of them with spaces between
)

// How secrets are written: a prefix, then base64 with padding (RFC 4648 §4).
const (
	prefixSecret  = "whsec_"
	prefixPrivate = "whsk_"
	prefixPublic  = "whpk_"
)

// How long a secret of v1 is, in bytes. NewSecret makes madeSecret.
const (
	minSecret, maxSecret = 24, 64
	madeSecret           = 32
)

// The versions of signatures.
const (
	versionHMAC    = "v1"
	versionEd25519 = "v1a"
)

// Secret is what signs and verifies, or, as ParsePublic gives it, verifies only. Its zero value does neither. Printed with
// fmt, in logs and in JSON it shows nothing; String is for those who mean it.
type Secret struct {
	mac     []byte             // v1
	private ed25519.PrivateKey // v1a; nil where only the public key is known
	public  ed25519.PublicKey  // v1a
}

// NewSecret makes a secret for v1.
func NewSecret() Secret {
	mac := make([]byte, madeSecret)
	_, _ = rand.Read(mac) // never fails
	return Secret{mac: mac}
}

// NewKey makes a key for v1a.
func NewKey() Secret {
	seed := make([]byte, ed25519.SeedSize)
	_, _ = rand.Read(seed) // never fails
	return fromPrivate(ed25519.NewKeyFromSeed(seed))
}

func fromPrivate(key ed25519.PrivateKey) Secret {
	return Secret{private: key, public: key.Public().(ed25519.PublicKey)}
}

// ParseSecret reads whsec_… (24 to 64 bytes) or whsk_… (an Ed25519 seed of 32 bytes, or seed and public key as 64). The
// error is wire.Invalid and does not hold the text.
func ParseSecret(text string) (Secret, error) {
	if raw, ok := strings.CutPrefix(text, prefixSecret); ok {
		mac, err := decode(raw)
		if err != nil || len(mac) < minSecret || len(mac) > maxSecret {
			return Secret{}, wire.Errorf(wire.Invalid, "A secret is whsec_ and then %d to %d random bytes in base64. `openssl rand -base64 32` makes such bytes.", minSecret, maxSecret)
		}
		return Secret{mac: mac}, nil
	}
	raw, ok := strings.CutPrefix(text, prefixPrivate)
	if !ok {
		return Secret{}, wire.Errorf(wire.Invalid, "A secret begins with whsec_ (HMAC) or whsk_ (Ed25519).")
	}
	key, err := decode(raw)
	if err == nil && len(key) == ed25519.SeedSize {
		return fromPrivate(ed25519.NewKeyFromSeed(key)), nil
	}
	if err == nil && len(key) == ed25519.PrivateKeySize {
		if s := fromPrivate(ed25519.NewKeyFromSeed(key[:ed25519.SeedSize])); s.private.Equal(ed25519.PrivateKey(key)) {
			return s, nil
		}
	}
	return Secret{}, wire.Errorf(wire.Invalid, "A private key is whsk_ and then an Ed25519 seed (32 bytes), or seed and public key (64), in base64.")
}

// ParsePublic reads whpk_…, the public key of a sender that signs by v1a. What it gives verifies and does not sign.
func ParsePublic(text string) (Secret, error) {
	raw, ok := strings.CutPrefix(text, prefixPublic)
	key, err := decode(raw)
	if !ok || err != nil || len(key) != ed25519.PublicKeySize {
		return Secret{}, wire.Errorf(wire.Invalid, "A public key is whpk_ and then the 32 bytes of an Ed25519 key in base64.")
	}
	return Secret{public: key}, nil
}

// decode is strict: two texts never stand for the same bytes.
func decode(text string) ([]byte, error) {
	if strings.ContainsAny(text, "\r\n") { // which encoding/base64 skips
		return nil, base64.CorruptInputError(0)
	}
	return base64.StdEncoding.Strict().DecodeString(text)
}

// String is the secret as ParseSecret reads it: for the database, sealed, and to be shown once. "" where it cannot sign.
func (s Secret) String() string {
	switch {
	case len(s.mac) > 0:
		return prefixSecret + base64.StdEncoding.EncodeToString(s.mac)
	case s.private != nil:
		return prefixPrivate + base64.StdEncoding.EncodeToString(s.private)
	}
	return ""
}

// Format keeps a secret out of what is printed with it by chance.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[secret]")) }

// LogValue keeps a secret out of logs.
func (s Secret) LogValue() slog.Value { return slog.StringValue("[secret]") }

// Public is the public key (whpk_…) of a key for v1a, else "".
func (s Secret) Public() string {
	if s.public == nil {
		return ""
	}
	return prefixPublic + base64.StdEncoding.EncodeToString(s.public)
}

// Sign gives the signature of a message as it stands in webhook-signature: "v1,…" or "v1a,…". The id must be one that a
// receiver takes (no dots: see Verify); at is the time of this try, and counts in whole seconds. It gives "" where s cannot
// sign.
func (s Secret) Sign(id string, at time.Time, body []byte) string {
	timestamp := strconv.FormatInt(at.Unix(), 10)
	switch {
	case len(s.mac) > 0:
		return versionHMAC + "," + base64.StdEncoding.EncodeToString(s.sum(id, timestamp, body))
	case s.private != nil:
		return versionEd25519 + "," + base64.StdEncoding.EncodeToString(ed25519.Sign(s.private, signed(id, timestamp, body)))
	}
	return ""
}

// sum is the HMAC of v1.
func (s Secret) sum(id, timestamp string, body []byte) []byte {
	h := hmac.New(sha256.New, s.mac)
	_, _ = h.Write([]byte(id + "." + timestamp + ".")) // a hash takes everything
	_, _ = h.Write(body)
	return h.Sum(nil)
}

func signed(id, timestamp string, body []byte) []byte {
	return append([]byte(id+"."+timestamp+"."), body...)
}
