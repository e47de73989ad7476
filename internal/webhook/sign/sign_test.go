package sign

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/aditdev/adit/internal/wire"
)

// The vector that the official libraries share (webhook_test.go and its siblings in eight languages).
const (
	vectorSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	vectorID     = "msg_p5jXN8AQM9LWM0D4loKWxJek"
	vectorTime   = 1614265330
	vectorBody   = `{"test": 2432232314}`
	vectorV1     = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
)

const tolerance = 5 * time.Minute

func mustParse(t *testing.T, text string) Secret {
	t.Helper()
	s, err := ParseSecret(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func headers(id string, at time.Time, signatures ...string) http.Header {
	h := http.Header{}
	h.Set(HeaderID, id)
	h.Set(HeaderTimestamp, strconv.FormatInt(at.Unix(), 10))
	h.Set(HeaderSignature, strings.Join(signatures, " "))
	return h
}

func TestOfficialVector(t *testing.T) {
	t.Parallel()
	s, at := mustParse(t, vectorSecret), time.Unix(vectorTime, 0)
	if got := s.Sign(vectorID, at, []byte(vectorBody)); got != vectorV1 {
		t.Errorf("%s, the libraries have %s", got, vectorV1)
	}
	if s.String() != vectorSecret {
		t.Errorf("written as %s", s.String())
	}
	if err := Verify([]Secret{s}, headers(vectorID, at, vectorV1), []byte(vectorBody), at, tolerance); err != nil {
		t.Error(err)
	}
}

// The key is that of RFC 8032 §7.1, test 2: its seed gives the public key that stands there.
func TestEd25519Vector(t *testing.T) {
	t.Parallel()
	const (
		seed   = "whsk_TM0Imyj/ltqdtsNG7BFOD1uKMZ81q6Yk2oz27U+4pvs="
		public = "whpk_PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw="
	)
	s := mustParse(t, seed)
	if s.Public() != public {
		t.Fatalf("the public key is %s", s.Public())
	}
	if again := mustParse(t, s.String()); again.Public() != public || again.String() != s.String() {
		t.Error("the key changes by being written and read")
	}
	at := time.Unix(vectorTime, 0)
	signature := s.Sign(vectorID, at, []byte(vectorBody))
	verifier, err := ParsePublic(public)
	if err != nil {
		t.Fatal(err)
	}
	if err := Verify([]Secret{verifier}, headers(vectorID, at, signature), []byte(vectorBody), at, tolerance); err != nil {
		t.Error(err)
	}
	if verifier.Sign("a", at, nil) != "" || verifier.String() != "" {
		t.Error("a public key signs")
	}
}

// The official library takes what we sign, and we take what it signs.
func TestOfficialLibraryAgrees(t *testing.T) {
	t.Parallel()
	for range 20 {
		s, now := NewSecret(), time.Now()
		theirs, err := standardwebhooks.NewWebhook(s.String())
		if err != nil {
			t.Fatal(err)
		}
		body := []byte("\x00\xff not JSON \r\n" + s.String())
		if err := theirs.Verify(body, headers("msg_1", now, NewKey().Sign("msg_1", now, body), s.Sign("msg_1", now, body))); err != nil {
			t.Errorf("they refuse ours: %v", err)
		}
		made, err := theirs.Sign("msg_1", now, body)
		if err != nil {
			t.Fatal(err)
		}
		if err := Verify([]Secret{NewSecret(), s}, headers("msg_1", now, made), body, now, tolerance); err != nil {
			t.Errorf("we refuse theirs: %v", err)
		}
	}
}

// OpenSSL, as people use it on a command line, agrees about both versions.
func TestOpenSSLAgrees(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is not installed")
	}
	s, k, at, body := NewSecret(), NewKey(), time.Unix(vectorTime, 0), []byte(vectorBody)
	content := signed("msg_1", strconv.Itoa(vectorTime), body)
	run := func(args ...string) []byte {
		cmd := exec.Command("openssl", args...)
		cmd.Stdin = bytes.NewReader(content)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("openssl %v: %v", args[0], err)
		}
		return out
	}
	mac := run("dgst", "-sha256", "-mac", "HMAC", "-macopt", fmt.Sprintf("hexkey:%x", s.mac), "-binary")
	if got, want := s.Sign("msg_1", at, body), "v1,"+base64.StdEncoding.EncodeToString(mac); got != want {
		t.Errorf("%s, OpenSSL has %s", got, want)
	}
	dir := t.TempDir()
	opensslVerify(t, dir, k.public, content, strings.TrimPrefix(k.Sign("msg_1", at, body), "v1a,"))
}

// What is refused, and why. Long because it is a table.
func TestVerifyRefuses(t *testing.T) {
	t.Parallel()
	now, body := time.Unix(vectorTime, 0), []byte(vectorBody)
	s, other, k := mustParse(t, vectorSecret), NewSecret(), NewKey()
	good := s.Sign("msg_1", now, body)
	for name, test := range map[string]struct {
		secrets []Secret
		change  func(http.Header)
		body    string
		now     time.Time
		says    string
	}{
		"other body":         {body: vectorBody + " ", says: "No signature"},
		"other secret":       {secrets: []Secret{other}, says: "No signature"},
		"no secret":          {secrets: []Secret{}, says: "No signature"},
		"empty secret":       {secrets: []Secret{{}}, says: "No signature"},
		"key of the other":   {secrets: []Secret{k}, says: "No signature"},
		"too old":            {now: now.Add(tolerance + time.Second), says: " ago"},
		"old, of a stranger": {secrets: []Secret{other}, now: now.Add(tolerance + time.Second), says: "No signature"},
		"too new":            {now: now.Add(-tolerance - time.Second), says: "in the future"},
		"no id":              {change: func(h http.Header) { h.Del(HeaderID) }, says: "webhook-id is missing"},
		"no timestamp":       {change: func(h http.Header) { h.Del(HeaderTimestamp) }, says: "webhook-timestamp is missing"},
		"no signature":       {change: func(h http.Header) { h.Del(HeaderSignature) }, says: "webhook-signature is missing"},
		"empty id":           {change: func(h http.Header) { h.Set(HeaderID, "") }, says: "missing"},
		"two ids":            {change: func(h http.Header) { h.Add(HeaderID, "msg_2") }, says: "more than once"},
		"two timestamps":     {change: func(h http.Header) { h.Add(HeaderTimestamp, "1") }, says: "more than once"},
		"two signatures":     {change: func(h http.Header) { h.Add(HeaderSignature, good) }, says: "more than once"},
		"dot in id":          {change: func(h http.Header) { h.Set(HeaderID, "msg.1") }, says: "no dot"},
		"line end in id":     {change: func(h http.Header) { h.Set(HeaderID, "msg_1\r\nx") }, says: "control characters"},
		"space in id":        {change: func(h http.Header) { h.Set(HeaderID, "msg 1") }, says: "printable"},
		"long id":            {change: func(h http.Header) { h.Set(HeaderID, strings.Repeat("a", 257)) }, says: "at most"},
		"timestamp 1e9":      {change: func(h http.Header) { h.Set(HeaderTimestamp, "1.6e9") }, says: "seconds"},
		"timestamp +":        {change: func(h http.Header) { h.Set(HeaderTimestamp, "+1614265330") }, says: "seconds"},
		"timestamp -":        {change: func(h http.Header) { h.Set(HeaderTimestamp, "-1") }, says: "seconds"},
		"timestamp 0":        {change: func(h http.Header) { h.Set(HeaderTimestamp, "01614265330") }, says: "seconds"},
		"timestamp over":     {change: func(h http.Header) { h.Set(HeaderTimestamp, strings.Repeat("9", 19)) }, says: "seconds"},
		"partial":            {change: func(h http.Header) { h.Set(HeaderSignature, "v1,") }, says: "No signature"},
		"no version":         {change: func(h http.Header) { h.Set(HeaderSignature, strings.TrimPrefix(good, "v1,")) }, says: "No signature"},
		"v2":                 {change: func(h http.Header) { h.Set(HeaderSignature, strings.Replace(good, "v1", "v2", 1)) }, says: "No signature"},
		"v1 as v1a":          {change: func(h http.Header) { h.Set(HeaderSignature, strings.Replace(good, "v1", "v1a", 1)) }, says: "No signature"},
		"sloppy base64":      {change: func(h http.Header) { h.Set(HeaderSignature, good+"\n") }, says: "control characters"},
		"too many to be one": {change: func(h http.Header) { h.Set(HeaderSignature, strings.Repeat("v1,AAAA ", 20)+good) }, says: "more than 16"},
	} {
		h := headers("msg_1", now, good)
		if test.change != nil {
			test.change(h)
		}
		if test.secrets == nil {
			test.secrets = []Secret{s}
		}
		if test.body == "" {
			test.body = vectorBody
		}
		if test.now.IsZero() {
			test.now = now
		}
		err := Verify(test.secrets, h, []byte(test.body), test.now, tolerance)
		if wire.CodeOf(err) != wire.Unauthenticated || !strings.Contains(wire.MessageOf(err), test.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A dot in an id would let the border between id, timestamp and body move under one signature.
func TestBorderCannotMove(t *testing.T) {
	t.Parallel()
	s := NewSecret()
	if s.Sign("a.1614265330", time.Unix(1, 0), []byte("x")) != s.Sign("a", time.Unix(vectorTime, 0), []byte("1.x")) {
		t.Fatal("the attack is another than this test thinks")
	}
	at := time.Unix(1, 0)
	if err := Verify([]Secret{s}, headers("a.1614265330", at, s.Sign("a", time.Unix(vectorTime, 0), []byte("1.x"))), []byte("x"), at, tolerance); err == nil {
		t.Error("a request was read as another")
	}
}

func TestVerifyAccepts(t *testing.T) {
	t.Parallel()
	now, body := time.Unix(vectorTime, 0), []byte(vectorBody)
	s, next, k := NewSecret(), NewSecret(), NewKey()
	public, err := ParsePublic(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		secrets    []Secret
		signatures []string
		now        time.Time
	}{
		"rotation: the sender signs with both":    {[]Secret{next}, []string{s.Sign("m", now, body), next.Sign("m", now, body)}, now},
		"rotation: the receiver takes both":       {[]Secret{next, s}, []string{s.Sign("m", now, body)}, now},
		"both versions":                           {[]Secret{public}, []string{s.Sign("m", now, body), k.Sign("m", now, body)}, now},
		"private key of one's own":                {[]Secret{k}, []string{k.Sign("m", now, body)}, now},
		"at the end of the tolerance":             {[]Secret{s}, []string{s.Sign("m", now, body)}, now.Add(tolerance)},
		"at the beginning of it":                  {[]Secret{s}, []string{s.Sign("m", now, body)}, now.Add(-tolerance)},
		"behind signatures of versions to come":   {[]Secret{s}, []string{"v3,AAAA", "", s.Sign("m", now, body)}, now},
		"an unusable secret stands before it":     {[]Secret{{}, s}, []string{s.Sign("m", now, body)}, now},
		"a fraction of a second is not in it":     {[]Secret{s}, []string{s.Sign("m", now.Add(time.Second/2), body)}, now},
		"where more than one signature would fit": {[]Secret{s}, []string{s.Sign("m", now, body), s.Sign("m", now, body), "v1,AAAA"}, now},
	} {
		if err := Verify(test.secrets, headers("m", now, test.signatures...), body, test.now, tolerance); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	encode := func(prefix string, size int) string {
		return prefix + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, size))
	}
	for _, text := range []string{"", "whsec_", "whsk_", "secret", encode("whsec_", 23), encode("whsec_", 65), encode("whsk_", 31), encode("whsk_", 64),
		encode("whpk_", 32), encode("whsec_", 24) + "\n", " " + encode("whsec_", 24), strings.TrimRight(encode("whsec_", 32), "="), "whsec_****"} {
		_, err := ParseSecret(text)
		if wire.CodeOf(err) != wire.Invalid {
			t.Errorf("%q: %v", text, err)
		} else if len(text) > 12 && strings.Contains(err.Error(), text[6:]) {
			t.Errorf("the error shows the secret: %v", err)
		}
	}
	for _, text := range []string{encode("whsec_", 24), encode("whsec_", 64), NewSecret().String(), NewKey().String()} {
		if s, err := ParseSecret(text); err != nil || s.String() != text {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range []string{"", "whpk_", encode("whpk_", 31), encode("whpk_", 64), encode("whsec_", 32)} {
		if _, err := ParsePublic(text); wire.CodeOf(err) != wire.Invalid {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// What is printed along with other things, by chance, holds no secret.
func TestSecretsAreNotPrinted(t *testing.T) {
	t.Parallel()
	for _, s := range []Secret{NewSecret(), NewKey()} {
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "secret", s, "secrets", []Secret{s})
		encoded, err := json.Marshal(struct{ S Secret }{s})
		if err != nil {
			t.Fatal(err)
		}
		text := log.String() + string(encoded) + fmt.Sprintf("%v %+v %#v %s %q %x %d %v", s, s, s, s, s, s, s, &s)
		raw := s.mac
		if raw == nil {
			raw = s.private
		}
		for _, form := range []string{s.String(), base64.StdEncoding.EncodeToString(raw), fmt.Sprintf("%x", raw), fmt.Sprint(raw)} {
			if strings.Contains(text, form) {
				t.Errorf("printed: %s", text)
			}
		}
	}
}

func FuzzVerify(f *testing.F) {
	s, k, now := NewSecret(), NewKey(), time.Unix(vectorTime, 0)
	f.Add("msg_1", "1614265330", vectorV1, vectorBody)
	f.Add("", "", "", "")
	f.Add("a.b", "1", "v1,v1a, ,", "x")
	f.Fuzz(func(t *testing.T, id, timestamp, signature, body string) {
		h := http.Header{"Webhook-Id": {id}, "Webhook-Timestamp": {timestamp}, "Webhook-Signature": {signature}}
		if err := Verify([]Secret{s, k}, h, []byte(body), now, tolerance); err == nil {
			t.Errorf("%q %q %q passes", id, timestamp, signature)
		}
	})
}

func FuzzTimestamp(f *testing.F) {
	f.Add("1531420618")
	f.Fuzz(func(t *testing.T, text string) {
		if at, ok := ParseTimestamp(text); ok && strconv.FormatInt(at.Unix(), 10) != text {
			t.Errorf("%q: %v", text, at)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	now, body := time.Unix(vectorTime, 0), bytes.Repeat([]byte("x"), 4096)
	for name, s := range map[string]Secret{"v1": NewSecret(), "v1a": NewKey()} {
		h := headers("msg_1", now, s.Sign("msg_1", now, body))
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := Verify([]Secret{s}, h, body, now, tolerance); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// opensslVerify has OpenSSL check an Ed25519 signature in base64.
func opensslVerify(t *testing.T, dir string, public ed25519.PublicKey, content []byte, signature string) {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(signature)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"public.pem": pemOf(t, public), "content": content, "signature": raw} {
		writeFile(t, dir, name, data)
	}
	cmd := exec.Command("openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "public.pem", "-rawin", "-in", "content", "-sigfile", "signature")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("OpenSSL refuses v1a: %v %s", err, out)
	}
}
