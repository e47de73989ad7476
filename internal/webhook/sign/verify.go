package sign

import (
	"crypto/ed25519"
	"crypto/hmac"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/aditdev/adit/internal/wire"
)

// What Verify looks at, at most: strangers choose it.
const (
	maxSignatures = 16  // of a request; a sender in rotation has two
	maxID         = 256 // bytes
	maxTimestamp  = 12  // digits
)

// Verify checks a request against secrets and public keys: one of its signatures must be of one of them, over body as it came,
// and its timestamp within tolerance of now, before or after. Every pair is compared, each in constant time. The caller
// remembers ids for longer than tolerance: within it a request can be sent again by whoever saw it.
//
// The error is wire.Unauthenticated; its message helps an honest sender and tells nothing about the secrets, and of the time it speaks only to who signed.
func Verify(secrets []Secret, h http.Header, body []byte, now time.Time, tolerance time.Duration) error {
	id, err := Only(h, HeaderID)
	if err != nil {
		return err
	}
	timestamp, err := Only(h, HeaderTimestamp)
	if err != nil {
		return err
	}
	signatures, err := Only(h, HeaderSignature)
	if err != nil {
		return err
	}
	if err := checkID(id); err != nil {
		return err
	}
	at, ok := ParseTimestamp(timestamp)
	if !ok {
		return refused("The header %s is not in seconds since 1970.", HeaderTimestamp)
	}
	list := strings.Split(signatures, " ")
	if len(list) > maxSignatures {
		return refused("The header %s has more than %d signatures.", HeaderSignature, maxSignatures)
	}
	if !anyFits(secrets, list, id, timestamp, body) {
		return refused("No signature in %s fits. Is it the right secret, and made over the body as it was sent?", HeaderSignature)
	}
	return CheckAge(at, now, tolerance)
}

func refused(format string, args ...any) error {
	return wire.Errorf(wire.Unauthenticated, format, args...)
}

// Only is the one value of a field, for what a request is verified by; two could be read in two ways. Errors are wire.Unauthenticated.
func Only(h http.Header, name string) (string, error) {
	switch values := h.Values(name); {
	case len(values) == 0 || values[0] == "":
		return "", refused("The header %s is missing.", name)
	case len(values) > 1:
		return "", refused("The header %s is there more than once.", name)
	case strings.ContainsFunc(values[0], unicode.IsControl): // decoders of base64 skip line ends
		return "", refused("The header %s has control characters.", name)
	default:
		return values[0], nil
	}
}

// checkID refuses dots: with them, "a.1" at 2 and "a" at 1 with "2." before its body would be signed alike.
func checkID(id string) error {
	bad := func(r rune) bool { return r == '.' || r <= ' ' || r > '~' }
	if len(id) > maxID || strings.IndexFunc(id, bad) >= 0 {
		return refused("The header %s has at most %d printable characters, and no dot.", HeaderID, maxID)
	}
	return nil
}

// ParseTimestamp reads seconds since 1970 as senders write them: digits, without sign or leading zero.
func ParseTimestamp(text string) (at time.Time, ok bool) {
	if text == "" || len(text) > maxTimestamp || strings.Trim(text, "0123456789") != "" || len(text) > 1 && text[0] == '0' {
		return time.Time{}, false
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	return time.Unix(seconds, 0), err == nil
}

// CheckAge refuses what was signed too long ago, or will be. Errors are wire.Unauthenticated; the caller looks at the signature first, so
// that it is said only to who signed.
func CheckAge(at, now time.Time, tolerance time.Duration) error {
	switch age := now.Sub(at); {
	case age > tolerance:
		return refused("The request was signed more than %v ago: it is a repeat, or the sender's clock is slow.", tolerance)
	case age < -tolerance:
		return refused("The request was signed more than %v in the future: the sender's clock is fast.", tolerance)
	}
	return nil
}

// anyFits compares every signature with every secret, so that how long it takes tells only how many there are.
func anyFits(secrets []Secret, signatures []string, id, timestamp string, body []byte) bool {
	fits := false
	for _, s := range secrets {
		var sum, message []byte // made once, where asked for
		for _, text := range signatures {
			version, encoded, _ := strings.Cut(text, ",")
			got, err := decode(encoded)
			if err != nil {
				continue
			}
			switch {
			case version == versionHMAC && len(s.mac) > 0:
				if sum == nil {
					sum = s.sum(id, timestamp, body)
				}
				fits = hmac.Equal(got, sum) || fits
			case version == versionEd25519 && s.public != nil:
				if message == nil {
					message = signed(id, timestamp, body)
				}
				fits = ed25519.Verify(s.public, message, got) || fits
			}
		}
	}
	return fits
}
