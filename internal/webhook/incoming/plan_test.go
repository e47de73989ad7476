package incoming

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/storetest"
	"github.com/aditdev/adit/internal/wire"
)

// What looks like JSON and is no UTF-8, or too deep to be read, does not go as JSON: devices get the bytes that came, and programs a text.
func TestFalseJSON(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("[", 9000) + strings.Repeat("]", 9000)
	for body, want := range map[string]struct{ envelope, parsed string }{
		`{"a":1}`:            {`{"id":"req_1","payload":{"a":1}}`, `{"a":1}`},
		"on":                 {`{"id":"req_1","payload":"on"}`, `"on"`},
		"":                   {`{"id":"req_1","payload":""}`, `""`},
		"{\"a\":\"\xff\"}":   {`{"id":"req_1","payload_base64":"eyJhIjoi/yJ9"}`, `"eyJhIjoi/yJ9"`},
		"\xff":               {`{"id":"req_1","payload_base64":"/w=="}`, `"/w=="`},
		deep:                 {`{"id":"req_1","payload":"` + deep + `"}`, `"` + deep + `"`},
		"{\"<\":\"\u2028\"}": {"{\"id\":\"req_1\",\"payload\":{\"\\u003c\":\"\\u2028\"}}", "{\"<\":\"\u2028\"}"},
	} {
		if got := string(envelope("req_1", "", []byte(body))); got != want.envelope {
			t.Errorf("%.30q in an envelope: %.100s", body, got)
		}
		parsed, err := (&subject{Body: []byte(body)}).parsed(1 << 20)
		if err != nil {
			t.Fatal(err)
		}
		var text bytes.Buffer
		e := json.NewEncoder(&text)
		e.SetEscapeHTML(false)
		if raw, ok := parsed.(json.RawMessage); ok {
			text.Write(raw)
		} else if err := e.Encode(parsed); err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimSpace(text.String()); got != want.parsed {
			t.Errorf("%.30q for programs: %.100s", body, got)
		}
	}
}

// A body that fits, and not in the envelope that devices of MQTT 3.1.1 get, is refused: it was accepted, and then could not be published.
func TestEnvelopeThatIsTooLarge(t *testing.T) {
	t.Parallel()
	r := newRig(t, storetest.Dir(t))
	s := r.publishing(func(s *Settings) { s.Action.Correlation, s.MaxBytes = CorrelateEnvelope, MaxBytes })
	plain := r.publishing(func(s *Settings) { s.MaxBytes = MaxBytes })
	for body, tooLarge := range map[string]bool{
		strings.Repeat("x", messaging.MaxPayload-4<<10):        false,
		strings.Repeat("\x01", messaging.MaxPayload/2):         true, // six characters each
		strings.Repeat("\xff", messaging.MaxPayload-4<<10):     true, // base64
		strings.Repeat("\xff", messaging.MaxPayload/4*3-4<<10): false,
	} {
		_, err := r.send(s, body)
		if (wire.CodeOf(err) == wire.TooLarge) != tooLarge || (err == nil) == tooLarge || err != nil && !strings.Contains(wire.MessageOf(err), "envelope") {
			t.Errorf("%d of %.2q: %v", len(body), body, err)
		}
		if _, err := r.send(plain, body); err != nil {
			t.Errorf("%d of %.2q, without an envelope: %v", len(body), body, err)
		}
	}
}
