package wire

import (
	"crypto/ecdh"
	"crypto/hpke"
	"encoding/base64"
)

// Secrets in the results of calls are sealed to a key of the hub, since whoever ends TLS on the way reads what is not:
// HPKE (RFC 9180) in base mode with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and AES-256-GCM. What is sent is the
// encapsulated key followed by the ciphertext, in base64url without padding. Info names what is sealed and for whom,
// so that it opens as nothing else. crypto/tls has package hpke in every program anyway.

// SealFor encrypts plain to a public key, 32 bytes in base64url as SealingKey writes them. It fails with an Error of code
// Invalid where it is none.
func SealFor(key, info string, plain []byte) (string, error) {
	raw, err := base64.RawURLEncoding.DecodeString(key)
	if err != nil {
		return "", Wrap(err, Invalid, "This is no key to seal to.")
	}
	public, err := hpke.DHKEM(ecdh.X25519()).NewPublicKey(raw)
	if err != nil {
		return "", Wrap(err, Invalid, "This is no key to seal to.")
	}
	sealed, err := hpke.Seal(public, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(info), plain)
	if err != nil {
		return "", Wrap(err, Invalid, "This key seals nothing.")
	}
	return base64.RawURLEncoding.EncodeToString(sealed), nil
}

// SealingKey writes the public half of a key as SealFor reads it.
func SealingKey(key *ecdh.PrivateKey) string {
	return base64.RawURLEncoding.EncodeToString(key.PublicKey().Bytes())
}
