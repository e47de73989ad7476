package hubkeys

import (
	"crypto/ed25519"
	"slices"
	"strings"
	"time"

	"github.com/aditdev/adit/internal/wire"
)

// Ring is the hub's tunnel keys at one moment. While a key is replaced there are two: first Current and Next, then, with
// Next in Current's place, Current and Previous.
type Ring struct {
	Current  ed25519.PrivateKey
	Next     ed25519.PrivateKey // handed out, and signs nothing yet; nil for none
	Previous ed25519.PrivateKey // signs for devices that know no other; nil for none
	Turned   time.Time          // when Current took its place
}

// Encode writes the public half as the protocol does.
func Encode(key ed25519.PrivateKey) string { return wire.EncodeKey(key.Public().(ed25519.PublicKey)) }

// Fingerprint is that of the public half, as install lines carry it.
func Fingerprint(key ed25519.PrivateKey) string {
	return wire.Fingerprint(key.Public().(ed25519.PublicKey))
}

// Signer is the key by which the hub is known to a device that pins known, as the database has it.
func (r Ring) Signer(known string) ed25519.PrivateKey {
	switch pinned := strings.Fields(known); {
	case r.Previous == nil, slices.Contains(pinned, Encode(r.Current)):
		return r.Current
	}
	return r.Previous
}

// Target is what a device that pins known is to pin next. Each step keeps a key that it pins already, and no step is
// taken before the one ahead of it is known to have been: a device whose answer was lost is never signed to by a key
// that it may not have, or may have dropped.
func (r Ring) Target(known string) string {
	if r.Previous != nil && !slices.Contains(strings.Fields(known), Encode(r.Current)) {
		return Encode(r.Previous) + " " + Encode(r.Current)
	}
	return r.Final()
}

// Final is what every device is to pin in the end.
func (r Ring) Final() string {
	if r.Next != nil {
		return Encode(r.Current) + " " + Encode(r.Next)
	}
	return Encode(r.Current)
}

// Code is the key whose fingerprint the line of an install code carries that was made at a time.
func (r Ring) Code(made time.Time) ed25519.PrivateKey {
	if r.Previous != nil && made.Before(r.Turned) {
		return r.Previous
	}
	return r.Current
}

// Enrolling is what a machine gets that comes by such a code: the key that signs the answer, and those that it pins, of
// which that one is the first.
func (r Ring) Enrolling(made time.Time) (signer ed25519.PrivateKey, keys []string) {
	signer = r.Code(made)
	keys = []string{Encode(signer)}
	switch {
	case r.Previous != nil && signer.Equal(r.Previous):
		keys = append(keys, Encode(r.Current))
	case r.Next != nil:
		keys = append(keys, Encode(r.Next))
	}
	return signer, keys
}

// rotating reports that there are two keys.
func (r Ring) rotating() bool { return r.Next != nil || r.Previous != nil }
