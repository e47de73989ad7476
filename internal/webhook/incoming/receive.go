package incoming

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/webhook/header"
	"github.com/aditdev/adit/internal/wire"
)

// Request is one as it comes through the door.
type Request struct {
	Slug, Method, Host, Address string
	URL                         *url.URL
	Rest                        string // of the path, behind the slug
	Header                      http.Header
	Body                        io.Reader
	Length                      int64 // of Body; -1: not said
}

// Answer is what goes back.
type Answer struct {
	Status      int
	ContentType string
	Body        []byte
	Header      map[string]string
}

// Refusal is the Error for a request that was not accepted, with what HTTP says beside it.
type Refusal struct {
	Cause      *wire.Error
	Status     int           // where it is another than the code's
	RetryAfter time.Duration // 0: not said
	Header     map[string]string
	Kept       bool // the request was accepted: this is what came of it, for a sender that waits
}

func (r *Refusal) Error() string { return r.Cause.Error() }
func (r *Refusal) Unwrap() error { return r.Cause }

// headerDuplicate says that the request came before. A circle of hooks ends at maxHops.
const (
	headerDuplicate = "adit-duplicate"
	maxHops         = 8
)

// errNoSource is the same for what does not exist and what is disabled.
var errNoSource = wire.Errorf(wire.NotFound, "There is nothing at this address.")

// Receive takes a request. Who is refused gets an error, a *Refusal where HTTP needs to know more; what is kept already when
// ctx ends is done all the same.
func (h *Hooks) Receive(ctx context.Context, r Request) (Answer, error) {
	s := h.lookup(r.Slug)
	if s == nil {
		return Answer{}, errNoSource
	}
	if r.Method == http.MethodOptions {
		return s.allow(r.Header), nil
	}
	a, err := h.receive(ctx, s, r)
	if err != nil && ctx.Err() == nil && !kept(err) {
		h.refused(ctx, s, err)
	}
	return a, err
}

// kept reports whether an error is about a request that was accepted: it is counted as that, and not as refused too.
func kept(err error) bool {
	r, ok := errors.AsType[*Refusal](err)
	return ok && r.Kept
}

// visit is a request on its way in.
type visit struct {
	*Hooks
	*source
	request Request
	subject subject
	began   time.Time
	hops    int
	wait    time.Duration
	held    *hold
	keys    []string // by which a repeat is told, the plain one first
	plan    *plan
}

func (h *Hooks) receive(ctx context.Context, s *source, r Request) (Answer, error) {
	v := &visit{Hooks: h, source: s, request: r, began: h.Now(), held: s.hold(h.budget)}
	defer func() { v.held.release() }()
	if err := v.admit(); err != nil {
		return Answer{}, err
	}
	if err := v.read(); err != nil {
		return Answer{}, err
	}
	v.began = h.Now() // a body may take 30 s, and a sender may wait for less
	replay, err := s.verify(r.Header, v.subject.Body, v.began)
	if err != nil {
		return Answer{}, err
	}
	if err := v.verified(); err != nil {
		return Answer{}, err
	}
	if a, ok := v.challenge(); ok {
		return a, nil
	}
	v.findKeys(replay)
	if id, err := v.seen(ctx); err != nil || id != "" {
		return v.again(ctx, id, err)
	}
	if err := v.unpack(); err != nil {
		return Answer{}, err
	}
	if v.plan, err = h.plan(ctx, s, &v.subject); err != nil {
		return Answer{}, err
	}
	v.plan.Hops, v.plan.WaitMS = v.hops, (v.wait + time.Millisecond - 1).Milliseconds()
	if v.wait > 0 {
		return v.acceptAndWait(ctx)
	}
	return v.accept(ctx)
}

// admit looks at all that is not the body.
func (v *visit) admit() error {
	var err error
	if !slices.Contains(v.Methods, v.request.Method) {
		return &Refusal{Cause: wire.Errorf(wire.Invalid, "This address takes %s.", strings.Join(v.Methods, ", ")), Status: http.StatusMethodNotAllowed,
			Header: map[string]string{"Allow": strings.Join(append([]string{http.MethodOptions}, v.Methods...), ", ")}}
	}
	if v.hops, err = hopsOf(v.request.Header); err != nil {
		return err
	}
	if err := v.enter(); err != nil {
		return err
	}
	if v.full.Load() {
		return busy(time.Minute, "Too many requests wait on this hub to be done.")
	}
	v.wait, err = parseWait(v.request.URL.Query())
	return err
}

// enter counts a request of whom nobody knows yet whose it is: where that is never known, as the source's.
func (v *visit) enter() error {
	if v.Verify.Kind == VerifyNone {
		return v.turn()
	}
	if !v.strangers.Allow(auth.Network(v.request.Address)) {
		return busy(time.Second, "Too many requests that are not verified come from your network.")
	}
	return nil
}

// verified is for a request whose sender is known now: it counts as the source's, and no more as a stranger's.
func (v *visit) verified() error {
	v.held.verified()
	if v.Verify.Kind == VerifyNone {
		return nil // counted already
	}
	v.strangers.GiveBack(auth.Network(v.request.Address))
	return v.turn()
}

// turn takes one of the source's requests of this second.
func (v *visit) turn() error {
	turn := v.limit.ReserveN(v.began, 1)
	if after := turn.DelayFrom(v.began); !turn.OK() || after > 0 {
		turn.CancelAt(v.began)
		return busy(max(after, time.Second), "This source takes %g requests a second.", v.Rate)
	}
	return nil
}

func busy(after time.Duration, format string, args ...any) error {
	return &Refusal{Cause: wire.Errorf(wire.RateLimited, format, args...), RetryAfter: after}
}

// hopsOf reads how often what is behind a request has left a hub. One that goes in a circle ends here.
func hopsOf(h http.Header) (int, error) {
	text := h.Get(header.Hops)
	if text == "" {
		return 0, nil
	}
	hops, err := strconv.Atoi(text)
	if err != nil || hops < 0 || len(h.Values(header.Hops)) > 1 {
		return 0, wire.Errorf(wire.Invalid, "The header %s is not a number.", header.Hops)
	}
	if hops > maxHops {
		return 0, &Refusal{Cause: wire.Errorf(wire.Conflict, "This request has passed %d hubs: it goes in a circle. Look which endpoint sends to which source.", hops),
			Status: http.StatusLoopDetected}
	}
	return hops, nil
}

// MaxWait is how long a sender may wait: proxies in front cut longer ones.
const MaxWait = 30 * time.Second

// parseWait reads ?wait=5s.
func parseWait(query url.Values) (time.Duration, error) {
	text := query.Get("wait")
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > MaxWait || len(query["wait"]) > 1 {
		return 0, invalidField("wait", "How long to wait is a duration such as 5s, at most 30s.")
	}
	return d, nil
}

// read takes the body, as far as the source lets it.
func (v *visit) read() error {
	r := v.request
	if r.Length > v.MaxBytes {
		return v.tooLarge()
	}
	body, err := v.held.readAll(r.Body, v.MaxBytes)
	switch {
	case errors.Is(err, errTooLong):
		return v.tooLarge()
	case errors.Is(err, errBusy):
		return busy(5*time.Second, "The hub is busy with other requests.")
	case err != nil:
		return wire.Wrap(err, wire.Invalid, "The body did not come whole.")
	}
	v.subject = subject{ID: "req_" + wire.NewID(), Source: v.ID, Method: r.Method, Path: r.Rest, Query: r.URL.Query(), Headers: keptHeaders(r.Header, r.Host),
		ContentType: cleanType(r.Header.Get("Content-Type")), Encoding: r.Header.Get("Content-Encoding"), Body: body}
	return nil
}

// unpack makes room for what a transform looks into, and decompresses it in the memory for bodies: a small one can become a large one. It is for
// who is verified: what a stranger may have in memory has room for the body alone.
func (v *visit) unpack() error {
	if !v.needsInput() {
		return nil
	}
	if err := v.copied(v.subject.Body); err != nil || !v.subject.zipped() {
		return err
	}
	plain, err := v.subject.unzip(func(r io.Reader) ([]byte, error) { return v.held.readAll(r, v.MaxBytes) }, v.MaxBytes)
	switch {
	case errors.Is(err, errBusy):
		return busy(5*time.Second, "The hub is busy with other requests.")
	case err != nil:
		return err
	}
	return v.copied(plain)
}

// copied makes room for the copy of a body that goes to the transform.
func (v *visit) copied(body []byte) error {
	n := int64(len(body))
	switch {
	case v.held.more(n):
		return nil
	case v.held.bytes+n > maxInMemory: // it would not fit tomorrow either
		return wire.Errorf(wire.TooLarge, "The body is too large for a transform.")
	}
	return busy(5*time.Second, "The hub is busy with other requests.")
}

func (v *visit) needsInput() bool {
	return v.source.Transform != nil || isTemplate(v.Action.Topic) || len(v.Action.Arguments) > 0
}

func (v *visit) tooLarge() error {
	return wire.Errorf(wire.TooLarge, "This source takes bodies of at most %d bytes.", v.MaxBytes)
}

// cleanType is a content type as MQTT and answers can carry it.
func cleanType(text string) string {
	if len(text) > 256 || strings.ContainsFunc(text, unicode.IsControl) {
		return ""
	}
	return strings.ToValidUTF8(text, "")
}

// challenge answers a provider that asks whether this is the right address (docs.slack.dev: url_verification).
func (v *visit) challenge() (Answer, bool) {
	if v.Verify.Kind != VerifySlack {
		return Answer{}, false
	}
	var asked struct {
		Type      string `json:"type"`
		Challenge string `json:"challenge"`
	}
	if json.Unmarshal(v.subject.Body, &asked) != nil || asked.Type != "url_verification" {
		return Answer{}, false
	}
	return Answer{Status: http.StatusOK, ContentType: "text/plain; charset=utf-8", Body: []byte(asked.Challenge)}, true
}

// allow answers CloudEvents' question whether it may send (HTTP 1.1 Web Hooks for Event Delivery §4). Who asks proves nothing by
// it, and learns only that there is a source.
func (s *source) allow(h http.Header) Answer {
	a := Answer{Status: http.StatusOK, Header: map[string]string{"Allow": strings.Join(append([]string{http.MethodOptions}, s.Methods...), ", ")}}
	origin := h.Get("WebHook-Request-Origin")
	if origin == "" || len(origin) > 255 || !wire.IsWord(origin, ".-_:/[]") {
		return a
	}
	a.Header["WebHook-Allowed-Origin"] = origin
	a.Header["WebHook-Allowed-Rate"] = strconv.Itoa(max(1, int(s.Rate*60))) // in requests a minute
	return a
}

// Fields that name a request at its sender, in the order in which they are asked. GitLab's own comes behind the Idempotency-Key that it sends
// since 17.4.
var idHeaders = []string{"webhook-id", "X-GitHub-Delivery", "X-Shopify-Webhook-Id", headerCloudEvent, "Idempotency-Key", headerGitLab}

const (
	headerCloudEvent = "ce-id"
	headerGitLab     = "X-Gitlab-Event-UUID"
)

// idIn is the id of the request in a field, "" where it has none. Two fields name none alone: the id of a CloudEvent is one of its source
// (1.0.2 §3.1.1), and GitLab's UUID is that of all which one request to GitLab set off.
func (v *visit) idIn(name string) string {
	id := v.request.Header.Get(name)
	if id == "" {
		return ""
	}
	switch name {
	case headerCloudEvent:
		id = v.request.Header.Get("ce-source") + " " + id
	case headerGitLab:
		sum := sha256.Sum256(v.subject.Body)
		id += " " + base64.RawURLEncoding.EncodeToString(sum[:])
	}
	return keyFor(strings.ToLower(name), id)
}

// findKeys finds by what a repeat of the request would be told: its id at the sender, and, where it was signed with a time, all that
// was signed, which nobody can vary. The latter counts also where repeats are taken.
func (v *visit) findKeys(replay string) {
	key := ""
	if name := v.Dedupe.Header; name != "" {
		if value := v.request.Header.Get(name); value != "" { // as it is: who names a header knows what it says
			key = keyFor(strings.ToLower(name), value)
		}
	} else {
		key = v.idInBody()
		for i := 0; key == "" && i < len(idHeaders); i++ {
			key = v.idIn(idHeaders[i])
		}
	}
	if key != "" && *v.Dedupe.Hours > 0 {
		v.keys = append(v.keys, key)
	}
	if replay != "" && !slices.Contains(v.keys, replay) {
		v.keys = append(v.keys, replay)
	}
}

// maxKey bounds what a repeat is told by, in bytes.
const maxKey = 300

// keyFor is an id as it is kept: itself where that is a short text, and else its hash.
func keyFor(kind, id string) string {
	key := kind + " " + id
	if len(key) > maxKey || !utf8.ValidString(id) || strings.ContainsFunc(id, unicode.IsControl) {
		sum := sha256.Sum256([]byte(id))
		return kind + " sha256 " + base64.RawURLEncoding.EncodeToString(sum[:])
	}
	return key
}

// idInBody is the id of the event where the provider signs one: a stranger cannot vary it, as they could a header.
func (v *visit) idInBody() string {
	field := map[string]string{VerifyStripe: "id", VerifySlack: "event_id"}[v.Verify.Kind]
	if field == "" {
		return ""
	}
	var members map[string]json.RawMessage
	id := ""
	if json.Unmarshal(v.subject.Body, &members) != nil || json.Unmarshal(members[field], &id) != nil || id == "" {
		return ""
	}
	return keyFor(v.Verify.Kind, id)
}

// remembered is how long a key counts: longer than a signature is good.
func (v *visit) remembered() time.Duration {
	return max(time.Duration(*v.Dedupe.Hours)*time.Hour, 3*v.Verify.tolerance())
}
