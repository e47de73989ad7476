package incoming

import (
	"encoding/base64"
	"encoding/hex"
	"maps"
	"net/http"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/aditdev/adit/internal/wire"
)

// openssl is an HMAC by somebody else's code, in hex.
func openssl(t *testing.T, algorithm, key, message string) string {
	t.Helper()
	cmd := exec.Command("openssl", "dgst", "-"+algorithm, "-mac", "HMAC", "-macopt", "hexkey:"+hex.EncodeToString([]byte(key)), "-r")
	cmd.Stdin = strings.NewReader(message)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("openssl: %v", err)
	}
	sum, _, _ := strings.Cut(string(out), " ")
	return sum
}

func inBase64(t *testing.T, hexText string) string {
	t.Helper()
	raw, err := hex.DecodeString(hexText)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(raw)
}

// sample is a request of a provider, signed by code that is not ours.
type sample struct {
	verify  Verification
	secret  string
	body    string
	headers map[string]string
	at      int64  // when it was signed; 0: it carries no time
	signs   string // the header with the signature
}

const body = `{"id":"evt_1","type":"door.open","note":"Zürich"}`

// Those of GitHub and Slack are the examples of their own documentation. Long because it is a table.
func samples(t *testing.T) map[string]sample {
	const at = 1_531_420_618
	ts := strconv.Itoa(at)
	slackBody := "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA" +
		"&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554" +
		"%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
	whsec := "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	standard, err := standardwebhooks.NewWebhook(whsec)
	if err != nil {
		t.Fatal(err)
	}
	signature, err := standard.Sign("msg_1", time.Unix(at, 0), []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return map[string]sample{
		"github": {Verification{Kind: VerifyGitHub}, "It's a Secret to Everybody", "Hello, World!",
			map[string]string{"X-Hub-Signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"}, 0, "X-Hub-Signature-256"},
		"slack": {Verification{Kind: VerifySlack}, "8f742231b10e8888abcd99yyyzzz85a5", slackBody, map[string]string{
			"X-Slack-Signature":         "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
			"X-Slack-Request-Timestamp": ts}, at, "X-Slack-Signature"},
		"stripe": {Verification{Kind: VerifyStripe}, "whsec_test_secret", body, map[string]string{
			"Stripe-Signature": "t=" + ts + ",v1=" + strings.Repeat("0", 64) + ",v1=" + openssl(t, "sha256", "whsec_test_secret", ts+"."+body) + ",v0=ff"}, at, "Stripe-Signature"},
		"standard": {Verification{Kind: VerifyStandard}, whsec, body,
			map[string]string{"webhook-id": "msg_1", "webhook-timestamp": ts, "webhook-signature": signature}, at, "webhook-signature"},
		"gitlab": {Verification{Kind: VerifyGitLab}, "a gitlab token", body, map[string]string{"X-Gitlab-Token": "a gitlab token"}, 0, "X-Gitlab-Token"},
		"bearer": {Verification{Kind: VerifyBearer}, "a bearer token", body, map[string]string{"Authorization": "bearer a bearer token"}, 0, "Authorization"},
		"basic": {Verification{Kind: VerifyBasic, Username: "me"}, "a password", body,
			map[string]string{"Authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte("me:a password"))}, 0, "Authorization"},
		"shopify": {Verification{Kind: VerifyShopify}, "hush hush", body,
			map[string]string{"X-Shopify-Hmac-Sha256": inBase64(t, openssl(t, "sha256", "hush hush", body))}, 0, "X-Shopify-Hmac-Sha256"},
		"hmac, all of it": {Verification{Kind: VerifyHMAC, Header: "X-Sig", Prefix: "v1:", Encoding: "base64", Algorithm: "sha512",
			Signed: "{id}|{timestamp}|{body}", TimestampHeader: "X-At", IDHeader: "X-Id"}, "hush hush", body,
			map[string]string{"X-Sig": "v1:" + inBase64(t, openssl(t, "sha512", "hush hush", "abc|"+ts+"|"+body)), "X-At": ts, "X-Id": "abc"}, at, "X-Sig"},
		"hmac, sha1": {Verification{Kind: VerifyHMAC, Header: "X-Sig", Algorithm: "sha1"}, "hush hush", body,
			map[string]string{"X-Sig": openssl(t, "sha1", "hush hush", body)}, 0, "X-Sig"},
	}
}

func (s sample) source(t *testing.T, secrets ...string) *source {
	t.Helper()
	settings := Settings{Verify: s.verify, Action: Action{Kind: ActionStore}}
	settings.fill()
	if err := settings.check(); err != nil {
		t.Fatal(err)
	}
	src := &source{Settings: settings}
	src.parts, _ = settings.Verify.parts()
	for _, text := range secrets {
		src.secrets = append(src.secrets, secret{text: text})
	}
	return src
}

func (s sample) header() http.Header {
	h := http.Header{}
	for name, value := range s.headers {
		h.Set(name, value)
	}
	return h
}

func (s sample) now() time.Time { return time.Unix(max(s.at, 1), 0) }

// Requests of each provider verify, by any of several secrets; changed ones do not.
func TestVerify(t *testing.T) {
	t.Parallel()
	for name, s := range samples(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			other := "another secret"
			if s.verify.Kind == VerifyStandard {
				other = "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 24))
			}
			replay, err := s.source(t, other, s.secret).verify(s.header(), []byte(s.body), s.now())
			if err != nil {
				t.Fatalf("refused: %v", err)
			}
			if (replay != "") != (s.at != 0) {
				t.Errorf("replay %q", replay)
			}
			refuse := func(what string, src *source, h http.Header, body string, now time.Time) {
				t.Helper()
				if _, err := src.verify(h, []byte(body), now); wire.CodeOf(err) != wire.Unauthenticated {
					t.Errorf("%s: %v", what, err)
				}
			}
			refuse("another secret", s.source(t, other), s.header(), s.body, s.now())
			refuse("no secret", s.source(t), s.header(), s.body, s.now())
			refuse("an empty secret", s.source(t, ""), s.header(), s.body, s.now())
			for header := range s.headers {
				h := s.header()
				h.Del(header)
				refuse("without "+header, s.source(t, s.secret), h, s.body, s.now())
				h.Set(header, "")
				refuse("empty "+header, s.source(t, s.secret), h, s.body, s.now())
				h[http.CanonicalHeaderKey(header)] = []string{s.headers[header], s.headers[header]}
				refuse("twice "+header, s.source(t, s.secret), h, s.body, s.now())
			}
			if !slices.Contains([]string{VerifyBearer, VerifyBasic, VerifyGitLab}, s.verify.Kind) {
				refuse("another body", s.source(t, s.secret), s.header(), s.body+" ", s.now())
				refuse("no body", s.source(t, s.secret), s.header(), "", s.now())
			}
			h := s.header()
			h.Set(s.signs, strings.Replace(h.Get(s.signs), "=", "=\r\n", 1)+"\r\n")
			refuse("CRLF", s.source(t, s.secret), h, s.body, s.now())
			old := s.source(t)
			old.secrets = []secret{{text: s.secret, expires: s.now()}}
			refuse("a secret that has ended", old, s.header(), s.body, s.now())
			if s.at != 0 {
				refuse("old", s.source(t, s.secret), s.header(), s.body, s.now().Add(301*time.Second))
				refuse("of the future", s.source(t, s.secret), s.header(), s.body, s.now().Add(-301*time.Second))
				if _, err := s.source(t, s.secret).verify(s.header(), []byte(s.body), s.now().Add(299*time.Second)); err != nil {
					t.Errorf("refused within the tolerance: %v", err)
				}
			}
		})
	}
}

// A signature that is written in another way is not a new request: rule 25.
func TestReplayNameIsOfWhatWasSigned(t *testing.T) {
	t.Parallel()
	s := samples(t)["stripe"]
	first, err := s.source(t, s.secret).verify(s.header(), []byte(s.body), s.now())
	if err != nil {
		t.Fatal(err)
	}
	h := s.header()
	h.Set("Stripe-Signature", strings.ToUpper(h.Get("Stripe-Signature")[len("t=1531420618,"):]))
	h.Set("Stripe-Signature", "t=1531420618,"+strings.ReplaceAll(strings.ReplaceAll(h.Get("Stripe-Signature"), "V1", "v1"), "V0", "v0"))
	second, err := s.source(t, s.secret).verify(h, []byte(s.body), s.now())
	if err != nil || first != second {
		t.Errorf("%q, %q, %v", first, second, err)
	}
}

func TestHMACSettingsThatProveNothing(t *testing.T) {
	t.Parallel()
	for name, v := range map[string]Verification{
		"no header":          {},
		"no body":            {Header: "X", Signed: "{timestamp}", TimestampHeader: "Y"},
		"body twice":         {Header: "X", Signed: "{body}{body}"},
		"unsigned timestamp": {Header: "X", TimestampHeader: "Y"},
		"no timestamp":       {Header: "X", Signed: "{timestamp}.{body}"},
		"unsigned id":        {Header: "X", IDHeader: "Y"},
		"bad header":         {Header: "X Y"},
		"bad algorithm":      {Header: "X", Algorithm: "md5"},
		"bad encoding":       {Header: "X", Encoding: "rot13"},
		"tolerance":          {Header: "X", ToleranceSeconds: 7200},
	} {
		v.Kind = VerifyHMAC
		s := Settings{Verify: v, Action: Action{Kind: ActionStore}}
		s.fill()
		if err := s.check(); wire.CodeOf(err) != wire.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParseStripe(f *testing.F) {
	f.Add("t=1531420618,v1=00ff")
	f.Add("t=,v1=,v1")
	f.Fuzz(func(t *testing.T, text string) {
		timestamp, signatures, ok := parseStripe(text)
		if ok && (timestamp == "" || len(signatures) == 0 || len(signatures) > maxSignatures || !strings.Contains(text, "t="+timestamp)) {
			t.Errorf("%q: %q, %x", text, timestamp, signatures)
		}
	})
}

func FuzzParseSlack(f *testing.F) {
	f.Add("v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503")
	f.Fuzz(func(t *testing.T, text string) {
		if signature, ok := parseSlack(text); ok && !strings.EqualFold(text, "v0="+hex.EncodeToString(signature)) {
			t.Errorf("%q: %x", text, signature)
		}
	})
}

// What is signed is put together again as it was written, whatever its places.
func FuzzSigned(f *testing.F) {
	f.Add("{timestamp}.{body}")
	f.Add("v0:{timestamp}:{id}{{body}")
	f.Fuzz(func(t *testing.T, signed string) {
		v := Verification{Signed: signed, TimestampHeader: "A", IDHeader: "B"}
		parts, err := v.parts()
		if err != nil {
			return
		}
		again := ""
		for _, p := range parts {
			again += p.text + p.place
		}
		if again != signed {
			t.Errorf("%q became %q", signed, again)
		}
	})
}

// Topics that templates make stay what the admin meant.
func TestMadeTopics(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		template, prefix, topic string
		ok                      bool
	}{
		{`cmds/{{.body.device}}/door`, "", "cmds/kitchen/door", true},
		{`cmds/{{.body.device}}/door`, "", "cmds/kitchen/oven/door", true},
		{`cmds/{{.body.device}}/door`, "", "cmds//door", false},
		{`cmds/{{.body.device}}/door`, "", "cmds/+/door", false},
		{`cmds/{{.body.device}}/door`, "", "cmds/#/door", false},
		{`cmds/{{.body.device}}/door`, "", "cmds/$a/door", false},
		{`cmds/{{.body.device}}/door`, "", "cmds/a\nb/door", false},
		{`cmds/{{.body.device}}/door`, "", "cmds/\x00/door", false},
		{`cmds//{{.body.device}}`, "", "cmds//kitchen", true},
		{`cmds//{{.body.device}}`, "", "cmds///kitchen", false},
		{`cmds/{{.body.device}}`, "", "cmds/", false},
		{`cmds/{{"}}/" + .body.x}}`, "", "cmds/a", true},
		{"cmds/{{ .x # \"\n}}//b", "", "cmds/a//b", true}, // a quote in a comment begins no string
		{`cmds/{{.x}}`, "cmds/kitchen", "cmds/kitchen/a", true},
		{`cmds/{{.x}}`, "cmds/kitchen", "cmds/kitchen2/a", false},
		{`cmds/{{.x}}`, "cmds/kitchen", "cmds/kitchen", false},
		{`{{.x}}`, "a", "replies/a", false},
		{`replies/{{.x}}`, "", "replies/a", false},
		{`cmds/{{.x}}`, "", "cmds/" + strings.Repeat("a/", 15), false},
		{`cmds/{{.x}}`, "", "cmds/" + strings.Repeat("a", 252), false},
	} {
		if err := (Action{Topic: row.template, TopicPrefix: row.prefix}).checkMade(row.topic); (err == nil) != row.ok {
			t.Errorf("%s below %q made %q: %v", row.template, row.prefix, row.topic, err)
		}
	}
}

func TestSecretHeaders(t *testing.T) {
	t.Parallel()
	h := http.Header{}
	for _, name := range []string{"Authorization", "Cookie", "X-Gitlab-Token", "X-Api-Key", "X-Auth-Token", "Client-Secret", "X-Auth-Key", "X-Access-Key", "X-Auth",
		"X-Amz-Credential", "X-Session-Id", "X-Jwt", "X-Passwd"} {
		h.Set(name, "hush")
	}
	h.Set("Stripe-Signature", "t=1")
	h.Set("Idempotency-Key", "k1")
	got := map[string]string{}
	for _, one := range keptHeaders(h, "hub") {
		got[one.Name] = one.Value
	}
	if slices.Contains(slices.Collect(maps.Values(got)), "hush") || got["Stripe-Signature"] != "t=1" || got["Idempotency-Key"] != "k1" {
		t.Errorf("%v", got)
	}
}
