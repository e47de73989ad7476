package incoming

import (
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/webhook/header"
	"github.com/aditdev/adit/internal/webhook/transform"
	"github.com/aditdev/adit/internal/wire"
)

// Settings are what a source is told by its admin; as JSON they are the API's.
type Settings struct {
	Verify         Verification `json:"verify"`
	Methods        []string     `json:"methods"`
	MaxBytes       int64        `json:"max_bytes"`
	Rate           float64      `json:"rate"` // requests a second
	Burst          int          `json:"burst"`
	Dedupe         Dedupe       `json:"dedupe"`
	Transform      *Transform   `json:"transform,omitempty"`
	ExpiresSeconds int          `json:"expires_seconds"` // 0: never
	Offline        string       `json:"offline"`
	Action         Action       `json:"action"`
}

// Verification says how a request shows that it is its sender's.
type Verification struct {
	Kind             string `json:"kind"`
	Username         string `json:"username,omitempty"`
	Header           string `json:"header,omitempty"`
	Prefix           string `json:"prefix,omitempty"`
	Encoding         string `json:"encoding,omitempty"`
	Algorithm        string `json:"algorithm,omitempty"`
	Signed           string `json:"signed,omitempty"`
	TimestampHeader  string `json:"timestamp_header,omitempty"`
	IDHeader         string `json:"id_header,omitempty"`
	ToleranceSeconds int    `json:"tolerance_seconds,omitempty"`
}

// Dedupe says how repeats are told. Hours 0 takes them as new.
type Dedupe struct {
	Header string `json:"header,omitempty"`
	Hours  *int   `json:"hours,omitempty"`
}

// Transform is a jq program or a template.
type Transform struct {
	Kind string `json:"kind"`
	Text string `json:"text"`
}

func (t Transform) program() transform.Transform {
	return transform.Transform{Kind: transform.Kind(t.Kind), Text: t.Text}
}

func template(text string) transform.Transform {
	return transform.Transform{Kind: transform.Template, Text: text}
}

// Action is what a source does with a request.
type Action struct {
	Kind        string            `json:"kind"`
	Topic       string            `json:"topic,omitempty"`
	TopicPrefix string            `json:"topic_prefix,omitempty"`
	QoS         *int              `json:"qos,omitempty"`
	Retain      bool              `json:"retain,omitempty"`
	Correlation string            `json:"correlation,omitempty"`
	Device      string            `json:"device,omitempty"`
	Command     string            `json:"command,omitempty"`
	Arguments   map[string]string `json:"arguments,omitempty"`
}

// The kinds of verification.
const (
	VerifyNone     = "none"
	VerifyBearer   = "bearer"
	VerifyBasic    = "basic"
	VerifyStandard = "standard-webhooks"
	VerifyGitHub   = "github"
	VerifyStripe   = "stripe"
	VerifySlack    = "slack"
	VerifyGitLab   = "gitlab"
	VerifyShopify  = "shopify"
	VerifyHMAC     = "hmac"
)

// The kinds of actions, and how an answer is found.
const (
	ActionPublish = "publish"
	ActionCommand = "command"
	ActionStore   = "store"

	CorrelateV5       = "v5"
	CorrelateEnvelope = "envelope"
	CorrelateTopic    = "topic"

	OfflineRefuse = "refuse"
	OfflineQueue  = "queue"
)

var (
	verifications = []string{VerifyNone, VerifyBearer, VerifyBasic, VerifyStandard, VerifyGitHub, VerifyStripe, VerifySlack, VerifyGitLab,
		VerifyShopify, VerifyHMAC}
	methods = []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch}
)

// Bounds of settings.
const (
	MaxBytes          = 25 << 20
	defaultBytes      = 1 << 20
	defaultTolerance  = 300
	defaultExpires    = 3600
	defaultDedupe     = 24
	defaultRate       = 20
	defaultBurst      = 50
	maxExpiresSeconds = 7 * 24 * 3600
)

// fill puts defaults in the place of what is not said.
func (s *Settings) fill() {
	s.Methods = slices.Compact(slices.Sorted(slices.Values(s.Methods)))
	if len(s.Methods) == 0 {
		s.Methods = []string{http.MethodPost}
	}
	orDefault(&s.MaxBytes, defaultBytes)
	orDefault(&s.Rate, defaultRate)
	orDefault(&s.Burst, defaultBurst)
	orDefault(&s.Offline, OfflineRefuse)
	if s.Dedupe.Hours == nil {
		s.Dedupe.Hours = new(defaultDedupe)
	}
	v := &s.Verify
	switch v.Kind {
	case VerifyBasic:
		orDefault(&v.Username, "hook")
	case VerifyHMAC:
		orDefault(&v.Encoding, "hex")
		orDefault(&v.Algorithm, "sha256")
		orDefault(&v.Signed, "{body}")
	}
	if v.timed() {
		orDefault(&v.ToleranceSeconds, defaultTolerance)
	}
	if s.Action.Kind == ActionPublish {
		if s.Action.QoS == nil {
			s.Action.QoS = new(1)
		}
		orDefault(&s.Action.Correlation, CorrelateV5)
	}
}

func orDefault[T comparable](at *T, value T) {
	var zero T
	if *at == zero {
		*at = value
	}
}

// timed reports whether requests carry a time that is verified with them.
func (v Verification) timed() bool {
	return slices.Contains([]string{VerifyStandard, VerifyStripe, VerifySlack}, v.Kind) || v.TimestampHeader != ""
}

func (v Verification) tolerance() time.Duration {
	return time.Duration(v.ToleranceSeconds) * time.Second
}

// check says what of the settings cannot be; errors are wire.Invalid with the field.
func (s *Settings) check() error {
	switch {
	case !slices.Contains(verifications, s.Verify.Kind):
		return invalidField("verify", "There is no such kind of verification. There are: "+strings.Join(verifications, ", ")+".")
	case slices.ContainsFunc(s.Methods, func(m string) bool { return !slices.Contains(methods, m) }):
		return invalidField("methods", "Methods are GET, POST, PUT and PATCH.")
	case s.MaxBytes < 1 || s.MaxBytes > MaxBytes:
		return invalidField("max_bytes", "A source takes bodies of 1 to 26214400 bytes.")
	case !(s.Rate >= 0.01 && s.Rate <= 10_000): // no NaN
		return invalidField("rate", "A rate is 0.01 to 10,000 requests a second.")
	case s.Burst < 1 || s.Burst > 10_000:
		return invalidField("burst", "A burst is 1 to 10,000 requests.")
	case s.ExpiresSeconds < 0 || s.ExpiresSeconds > maxExpiresSeconds:
		return invalidField("expires_seconds", "A message or command waits for 1 to 604,800 seconds; 0 is for ever.")
	case s.Offline != OfflineRefuse && s.Offline != OfflineQueue:
		return invalidField("offline", "Say refuse or queue.")
	case *s.Dedupe.Hours < 0 || *s.Dedupe.Hours > 168:
		return invalidField("dedupe", "Repeats are known for 1 to 168 hours; 0 takes them.")
	case s.Dedupe.Header != "" && !header.ValidName(s.Dedupe.Header):
		return invalidField("dedupe", "This is no name of a header.")
	}
	if err := s.Verify.check(); err != nil {
		return err
	}
	if s.Transform != nil {
		if err := transform.Check(s.Transform.program()); err != nil {
			return inField("transform", err)
		}
	}
	return s.Action.check()
}

func (v Verification) check() error {
	switch {
	case v.Kind == VerifyBasic && (v.Username == "" || len(v.Username) > 100 || strings.ContainsAny(v.Username, ":\r\n")):
		return invalidField("verify", "A username has 1 to 100 bytes, and no colon.")
	case v.ToleranceSeconds < 0 || v.ToleranceSeconds > 3600:
		return invalidField("verify", "A tolerance is 1 to 3,600 seconds.")
	case v.Kind != VerifyHMAC:
		return nil
	case !header.ValidName(v.Header):
		return invalidField("verify", "Say the name of the header that carries the signature.")
	case v.TimestampHeader != "" && !header.ValidName(v.TimestampHeader), v.IDHeader != "" && !header.ValidName(v.IDHeader):
		return invalidField("verify", "This is no name of a header.")
	case len(v.Prefix) > 50:
		return invalidField("verify", "What stands before a signature has at most 50 bytes.")
	case v.Encoding != "hex" && v.Encoding != "base64":
		return invalidField("verify", "A signature is in hex or in base64.")
	case hashes[v.Algorithm] == nil:
		return invalidField("verify", "The algorithm is sha256, sha1 or sha512.")
	}
	_, err := v.parts()
	return err
}

func (a Action) check() error {
	switch a.Kind {
	case ActionStore:
		return nil
	case ActionPublish:
		return a.checkPublish()
	case ActionCommand:
		return a.checkCommand()
	}
	return invalidField("action", "A source publishes a message (publish), runs a command of a device (command), or keeps requests (store).")
}

func (a Action) checkPublish() error {
	switch {
	case *a.QoS < 0 || *a.QoS > 2:
		return invalidField("action", "QoS is 0, 1 or 2.")
	case !slices.Contains([]string{CorrelateV5, CorrelateEnvelope, CorrelateTopic}, a.Correlation):
		return invalidField("action", "An answer is found by v5, envelope or topic.")
	case a.Topic == "" || len(a.Topic) > transform.MaxText:
		return invalidField("action", "Say the topic to publish to.")
	}
	if !isTemplate(a.Topic) {
		if err := checkTopic(a.Topic); err != nil {
			return inField("action", err)
		}
		return nil
	}
	if err := transform.Check(template(a.Topic)); err != nil {
		return inField("action", err)
	}
	prefix, _ := a.prefix()
	if prefix == "" || strings.ContainsAny(prefix, "+#$\x00") {
		return invalidField("action", "A topic that begins with {{ takes a topic_prefix: whoever sends could write any topic otherwise.")
	}
	return nil
}

// prefix is what topics of a template must begin with.
func (a Action) prefix() (prefix string, whole bool) {
	if a.TopicPrefix != "" {
		return strings.TrimSuffix(a.TopicPrefix, "/") + "/", true
	}
	prefix, _, _ = strings.Cut(a.Topic, "{{")
	return prefix, false
}

func (a Action) checkCommand() error {
	if a.Device == "" || a.Command == "" || len(a.Command) > 63 {
		return invalidField("action", "Say the device, and the name that the command has in its agent.toml.")
	}
	if len(a.Arguments) > wire.MaxRunArguments {
		return invalidField("action", "A command takes at most 16 parameters.")
	}
	for name, value := range a.Arguments {
		if len(name) > 63 || len(value) > wire.MaxRunArgument {
			return invalidField("action", "An argument has at most 1,024 bytes.")
		}
		if isTemplate(value) {
			if err := transform.Check(template(value)); err != nil {
				return inField("action", err)
			}
		}
	}
	return nil
}

func isTemplate(text string) bool { return strings.Contains(text, "{{") }

// checkTopic says what is wrong with a topic that a source would publish to.
func checkTopic(topic string) error {
	switch {
	case topic == "":
		return wire.Errorf(wire.Invalid, "The topic is empty.")
	case strings.ContainsAny(topic, "+#$"):
		return wire.Errorf(wire.Invalid, "The topic %s has a +, # or $.", wire.Printable(topic, 100))
	case !access.ValidTopic(topic) || !mqtt.ValidName(topic) || strings.ContainsFunc(topic, unicode.IsControl):
		return wire.Errorf(wire.Invalid, "The topic %s has more than 256 bytes or 16 levels, or characters that a topic has not.", wire.Printable(topic, 100))
	case topic == "replies" || strings.HasPrefix(topic, "replies/"):
		return wire.Errorf(wire.Invalid, "Topics below replies/ are for answers.")
	}
	return nil
}

func invalidField(field, message string) error {
	return &wire.Error{Code: wire.Invalid, Message: message, Fields: map[string]string{field: message}}
}

// inField names the field that an error is about.
func inField(field string, err error) error {
	message := wire.MessageOf(err)
	return &wire.Error{Code: wire.CodeOf(err), Message: message, Err: err, Fields: map[string]string{field: message}}
}
