package incoming

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"net/http"
	"strings"
	"time"

	"github.com/aditdev/adit/internal/webhook/sign"
	"github.com/aditdev/adit/internal/wire"
)

// hashes are the algorithms of kind hmac.
var hashes = map[string]func() hash.Hash{"sha256": sha256.New, "sha1": sha1.New, "sha512": sha512.New}

// mismatch is why a request is refused whose signature is another: it helps whoever has the secret, and nobody else.
const mismatch = "The signature does not belong to this body and secret. Compare the secret with the sender's, and make sure that nothing " +
	"between the two changes the body."

// verify reports whether a request is its sender's, by header and raw body. Replay is set where the same bytes cannot
// honestly come again: it names them, by Standard Webhooks with their id. Errors are wire.Unauthenticated. Whether a time is right is looked at
// behind the signature, so that it is said only to who signed.
func (s *source) verify(h http.Header, body []byte, now time.Time) (replay string, err error) {
	secrets := s.open(now)
	if s.Verify.Kind != VerifyNone && len(secrets) == 0 {
		return "", unverified("This source has no secret that opens.")
	}
	switch s.Verify.Kind {
	case VerifyNone:
		return "", nil
	case VerifyBearer:
		return "", bearer(h, secrets)
	case VerifyBasic:
		return "", basic(h, s.Verify.Username, secrets)
	case VerifyGitLab:
		return "", token(h, "X-Gitlab-Token", secrets)
	case VerifyGitHub:
		return "", plainMAC(h, "X-Hub-Signature-256", "sha256=", hex.DecodeString, secrets, body)
	case VerifyShopify:
		return "", plainMAC(h, "X-Shopify-Hmac-Sha256", "", base64.StdEncoding.Strict().DecodeString, secrets, body)
	case VerifyStandard:
		return standard(h, secrets, body, now, s.Verify.tolerance())
	case VerifyStripe:
		return stripe(h, secrets, body, now, s.Verify.tolerance())
	case VerifySlack:
		return slack(h, secrets, body, now, s.Verify.tolerance())
	case VerifyHMAC:
		return s.generic(h, secrets, body, now)
	}
	return "", unverified("This source cannot verify anybody.")
}

// open are the secrets that count now. An empty one never does.
func (s *source) open(now time.Time) (texts []string) {
	for _, one := range s.secrets {
		if one.text != "" && (one.expires.IsZero() || now.Before(one.expires)) {
			texts = append(texts, one.text)
		}
	}
	return texts
}

func unverified(format string, args ...any) error {
	return wire.Errorf(wire.Unauthenticated, format, args...)
}

// anyOf compares with each, over digests, so that time tells neither length nor place.
func anyOf(given string, secrets []string) bool {
	got, fits := sha256.Sum256([]byte(given)), 0
	for _, s := range secrets {
		want := sha256.Sum256([]byte(s))
		fits |= subtle.ConstantTimeCompare(got[:], want[:])
	}
	return fits == 1
}

func bearer(h http.Header, secrets []string) error {
	text, err := sign.Only(h, "Authorization")
	if err != nil {
		return err
	}
	scheme, given, _ := strings.Cut(text, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return unverified("Authorization takes a bearer token: Bearer SECRET.")
	}
	if !anyOf(given, secrets) {
		return unverified("The token is not this source's.")
	}
	return nil
}

func basic(h http.Header, username string, secrets []string) error {
	if _, err := sign.Only(h, "Authorization"); err != nil {
		return err
	}
	user, password, ok := (&http.Request{Header: h}).BasicAuth()
	if !ok {
		return unverified("Authorization takes username and password: Basic, and both in base64.")
	}
	right := anyOf(user, []string{username})
	if !anyOf(password, secrets) || !right {
		return unverified("Username and password are not this source's.")
	}
	return nil
}

func token(h http.Header, name string, secrets []string) error {
	given, err := sign.Only(h, name)
	if err != nil {
		return err
	}
	if !anyOf(given, secrets) {
		return unverified("The token in %s is not this source's.", name)
	}
	return nil
}

// mac is one HMAC over parts, joined.
func mac(of func() hash.Hash, secret string, parts ...[]byte) []byte {
	m := hmac.New(of, []byte(secret))
	for _, p := range parts {
		_, _ = m.Write(p) // a hash takes everything
	}
	return m.Sum(nil)
}

// anyMAC compares every signature with that of every secret.
func anyMAC(of func() hash.Hash, secrets []string, signatures [][]byte, parts ...[]byte) bool {
	fits := false
	for _, s := range secrets {
		want := mac(of, s, parts...)
		for _, got := range signatures {
			fits = hmac.Equal(got, want) || fits
		}
	}
	return fits
}

// plainMAC is an HMAC-SHA256 over the body alone. It proves no time: those who send so name each request by an id.
func plainMAC(h http.Header, name, prefix string, decode func(string) ([]byte, error), secrets []string, body []byte) error {
	text, err := sign.Only(h, name)
	if err != nil {
		return err
	}
	encoded, ok := strings.CutPrefix(text, prefix)
	signature, err := decode(encoded)
	if !ok || err != nil {
		return unverified("The header %s is not %s and a signature.", name, orWord(prefix))
	}
	if !anyMAC(sha256.New, secrets, [][]byte{signature}, body) {
		return unverified(mismatch)
	}
	return nil
}

func orWord(prefix string) string {
	if prefix == "" {
		return "base64"
	}
	return prefix
}

func standard(h http.Header, secrets []string, body []byte, now time.Time, tolerance time.Duration) (string, error) {
	var parsed []sign.Secret
	for _, text := range secrets {
		s, err := parseStandard(text)
		if err != nil {
			return "", unverified("This source has no secret that opens.")
		}
		parsed = append(parsed, s)
	}
	if err := sign.Verify(parsed, h, body, now, tolerance); err != nil {
		return "", err
	}
	return "webhook-id " + h.Get(sign.HeaderID), nil
}

// maxSignatures is how many signatures of one request are compared, at most: strangers choose them.
const maxSignatures = 16

// parseStripe reads Stripe-Signature: t=SECONDS and v1=HEX, of which there may be several, with commas between; other versions
// are passed over.
func parseStripe(text string) (timestamp string, signatures [][]byte, ok bool) {
	items := strings.Split(text, ",")
	if len(items) > 2*maxSignatures {
		return "", nil, false
	}
	for _, item := range items {
		name, value, found := strings.Cut(strings.TrimSpace(item), "=")
		switch {
		case !found:
			return "", nil, false
		case name == "t" && timestamp != "":
			return "", nil, false
		case name == "t":
			timestamp = value
		case name == "v1":
			signature, err := hex.DecodeString(value)
			if err != nil || len(signatures) == maxSignatures {
				return "", nil, false
			}
			signatures = append(signatures, signature)
		}
	}
	return timestamp, signatures, timestamp != "" && len(signatures) > 0
}

func stripe(h http.Header, secrets []string, body []byte, now time.Time, tolerance time.Duration) (string, error) {
	const name = "Stripe-Signature"
	text, err := sign.Only(h, name)
	if err != nil {
		return "", err
	}
	timestamp, signatures, ok := parseStripe(text)
	at, number := sign.ParseTimestamp(timestamp)
	if !ok || !number {
		return "", unverified("The header %s is not t=SECONDS,v1=SIGNATURE.", name)
	}
	if !anyMAC(sha256.New, secrets, signatures, []byte(timestamp+"."), body) {
		return "", unverified(mismatch)
	}
	return named("stripe", timestamp+".", body), sign.CheckAge(at, now, tolerance)
}

// parseSlack reads X-Slack-Signature: v0=HEX.
func parseSlack(text string) ([]byte, bool) {
	encoded, ok := strings.CutPrefix(text, "v0=")
	signature, err := hex.DecodeString(encoded)
	return signature, ok && err == nil && len(signature) == sha256.Size
}

func slack(h http.Header, secrets []string, body []byte, now time.Time, tolerance time.Duration) (string, error) {
	text, err := sign.Only(h, "X-Slack-Signature")
	if err != nil {
		return "", err
	}
	timestamp, err := sign.Only(h, "X-Slack-Request-Timestamp")
	if err != nil {
		return "", err
	}
	signature, ok := parseSlack(text)
	at, number := sign.ParseTimestamp(timestamp)
	if !ok || !number {
		return "", unverified("X-Slack-Signature is not v0=SIGNATURE, or X-Slack-Request-Timestamp is not in seconds.")
	}
	if !anyMAC(sha256.New, secrets, [][]byte{signature}, []byte("v0:"+timestamp+":"), body) {
		return "", unverified(mismatch)
	}
	return named("slack", timestamp+":", body), sign.CheckAge(at, now, tolerance)
}

// named is what the same signed bytes are told by when they come again. It is made of them, not of the signature, which can be
// written in several ways.
func named(kind, before string, body []byte) string {
	sum := sha256.New()
	_, _ = sum.Write([]byte(before))
	_, _ = sum.Write(body)
	return kind + " " + base64.RawURLEncoding.EncodeToString(sum.Sum(nil))
}

// part is a piece of what kind hmac signs: text, or one of the places.
type part struct{ text, place string }

// The places.
const (
	placeBody      = "{body}"
	placeTimestamp = "{timestamp}"
	placeID        = "{id}"
)

// parts splits Signed at its places.
func (v Verification) parts() (all []part, err error) {
	rest, has := v.Signed, map[string]int{}
	if len(rest) > 200 {
		return nil, invalidField("verify", "What is signed is written in at most 200 bytes.")
	}
	for rest != "" {
		at := strings.IndexByte(rest, '{')
		if at < 0 {
			at = len(rest)
		}
		if at > 0 {
			all, rest = append(all, part{text: rest[:at]}), rest[at:]
			continue
		}
		place := ""
		for _, p := range []string{placeBody, placeTimestamp, placeID} {
			if strings.HasPrefix(rest, p) {
				place = p
			}
		}
		if place == "" {
			all, rest = append(all, part{text: "{"}), rest[1:]
			continue
		}
		has[place]++
		all, rest = append(all, part{place: place}), rest[len(place):]
	}
	switch {
	case has[placeBody] != 1:
		return nil, invalidField("verify", "What is signed has {body} in it, once.")
	case (has[placeTimestamp] > 0) != (v.TimestampHeader != ""):
		return nil, invalidField("verify", "{timestamp} in what is signed and timestamp_header belong together: a time that is not signed proves nothing.")
	case (has[placeID] > 0) != (v.IDHeader != ""):
		return nil, invalidField("verify", "{id} in what is signed and id_header belong together.")
	}
	return all, nil
}

func (s *source) generic(h http.Header, secrets []string, body []byte, now time.Time) (string, error) {
	v := s.Verify
	text, err := sign.Only(h, v.Header)
	if err != nil {
		return "", err
	}
	decode := hex.DecodeString
	if v.Encoding == "base64" {
		decode = base64.StdEncoding.Strict().DecodeString
	}
	encoded, ok := strings.CutPrefix(text, v.Prefix)
	signature, err := decode(encoded)
	if !ok || err != nil {
		return "", unverified("The header %s is not %s and a signature in %s.", v.Header, orWord(v.Prefix), v.Encoding)
	}
	signed, at, err := s.signed(h, body)
	if err != nil {
		return "", err
	}
	if !anyMAC(hashes[v.Algorithm], secrets, [][]byte{signature}, signed...) {
		return "", unverified(mismatch)
	}
	if v.TimestampHeader == "" {
		return "", nil
	}
	return named("hmac", h.Get(v.TimestampHeader)+"."+h.Get(v.IDHeader)+".", body), sign.CheckAge(at, now, v.tolerance())
}

// signed puts a request's values in the places.
func (s *source) signed(h http.Header, body []byte) (parts [][]byte, at time.Time, err error) {
	for _, p := range s.parts {
		value := []byte(p.text)
		switch p.place {
		case placeBody:
			value = body
		case placeID:
			id, err := sign.Only(h, s.Verify.IDHeader)
			if err != nil {
				return nil, at, err
			}
			value = []byte(id)
		case placeTimestamp:
			text, err := sign.Only(h, s.Verify.TimestampHeader)
			if err != nil {
				return nil, at, err
			}
			var ok bool
			if at, ok = sign.ParseTimestamp(text); !ok {
				return nil, at, unverified("The header %s is not in seconds since 1970.", s.Verify.TimestampHeader)
			}
			value = []byte(text)
		}
		parts = append(parts, value)
	}
	return parts, at, nil
}
