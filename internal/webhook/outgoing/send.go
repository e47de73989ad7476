package outgoing

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/webhook/guard"
	"github.com/aditdev/adit/internal/webhook/header"
	"github.com/aditdev/adit/internal/webhook/sign"
	"github.com/aditdev/adit/internal/wire"
)

const (
	readMost   = 64 << 10 // of a response's body
	keepMost   = 16 << 10 // of that, what is kept
	maxTimeout = 30 * time.Second
	maxWish    = 24 * time.Hour // a Retry-After beyond that counts as this
	maxReason  = 500
)

// newClient is the guard's, with connections for as many attempts at once as one endpoint may have.
func newClient(g *guard.Guard) *http.Client {
	return g.Client(guard.ClientOptions{Timeout: maxTimeout + time.Second, Idle: 4 * sharedSlots, IdlePerHost: sharedSlots}) // each attempt has its own, shorter timeout
}

// attempt sends a delivery once. It never fails: what went wrong is what it gives.
func (o *Outbox) attempt(hard context.Context, j *job) outcome {
	e := j.endpoint
	began := o.Now()
	clock := time.Now() // of durations
	r := outcome{verdict: tryAgain, attempt: store.AddHookAttemptParams{DeliveryID: j.delivery.ID, Number: j.delivery.Attempts + 1, At: store.Millis(began),
		Method: http.MethodPost, URL: e.row.URL, RequestHeaders: "[]", ResponseHeaders: "[]", ResponseBody: []byte{}}}
	ctx, cancel := context.WithTimeout(hard, e.timeout())
	defer cancel()
	if c, err := o.format(ctx, e, j.message); err != nil {
		r.notFormatted(err)
	} else {
		r.body(ctx, o, j, c.body)
		o.send(ctx, e, j, c, began, &r)
	}
	if r.verdict != arrived && hard.Err() != nil {
		r.verdict = unfinished
	}
	r.attempt.TookMs = time.Since(clock).Milliseconds()
	r.attempt.Error = wire.Printable(r.attempt.Error, maxReason)
	r.bytes += int64(len(r.attempt.RequestHeaders) + len(r.attempt.ResponseHeaders) + len(r.attempt.ResponseBody))
	return r
}

// notFormatted: what the transform itself does wrong will be wrong again, so the delivery is given up, and can be replayed.
func (r *outcome) notFormatted(err error) {
	if code := wire.CodeOf(err); code == wire.Invalid || code == wire.TooLarge {
		r.verdict, r.attempt.Error = giveUp, "Nothing was sent: the transform failed. "+wire.MessageOf(err)
		return
	}
	r.attempt.Error = "Nothing was sent: the transform could not be run. " + wire.MessageOf(err)
}

// body keeps what is sent, where it is not what an earlier attempt sent.
func (r *outcome) body(ctx context.Context, o *Outbox, j *job, body []byte) {
	r.attempt.BodyOf = r.attempt.Number
	if r.attempt.Number > 1 {
		if last, err := o.Store.Read().LastHookBody(ctx, j.delivery.ID); err == nil && bytes.Equal(last.RequestBody, body) {
			r.attempt.BodyOf = last.Number
			return
		}
	}
	if body == nil {
		body = []byte{}
	}
	r.attempt.RequestBody, r.bytes = body, int64(len(body))
}

// send makes the request and reads the answer.
func (o *Outbox) send(ctx context.Context, e *endpoint, j *job, c content, at time.Time, r *outcome) {
	r.counts = true
	seen := &sent{secret: e.secretHeaders()}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, seen.trace()), http.MethodPost, e.row.URL, bytes.NewReader(c.body))
	if err != nil {
		r.attempt.Error = "The URL cannot be used: " + err.Error()
		return
	}
	req.GetBody = nil // nothing is sent twice in one attempt
	req.Header = c.header
	o.setHeaders(req, e, j, c.body, at)
	resp, err := o.client.Do(req)
	r.attempt.RequestHeaders, r.attempt.Address = seen.list()
	if err != nil {
		r.attempt.Error = reason(err, e.timeout())
		return
	}
	defer resp.Body.Close()
	r.answered(resp, at)
	o.readBody(resp, r, e.timeout())
}

func (o *Outbox) setHeaders(req *http.Request, e *endpoint, j *job, body []byte, at time.Time) {
	h := req.Header
	for name, value := range e.headers {
		h.Set(name, value)
	}
	h.Set("User-Agent", "Adit/"+o.Version)
	h.Set(sign.HeaderID, j.message.ID)
	h.Set(sign.HeaderTimestamp, strconv.FormatInt(at.Unix(), 10))
	var signatures []string
	for _, s := range e.secrets {
		if s.signs(at) {
			signatures = append(signatures, s.key.Sign(j.message.ID, at, body))
		}
	}
	h.Set(sign.HeaderSignature, strings.Join(signatures, " "))
	h.Set(header.Hops, strconv.FormatInt(j.message.Hops+1, 10))
	if j.delivery.ReplayOf != nil {
		h.Set("adit-replay", "1")
	}
}

// answered reads the status: 2xx alone is success.
func (r *outcome) answered(resp *http.Response, now time.Time) {
	status := int64(resp.StatusCode)
	r.attempt.Status = &status
	r.attempt.ResponseHeaders = headerList(resp.Header)
	switch {
	case status >= 200 && status < 300:
		r.verdict = arrived
		return
	case status >= 300 && status < 400:
		r.attempt.Error = fmt.Sprintf("It answered %d, a redirect to %q, which is never followed: give the endpoint its final URL.", status,
			wire.Printable(resp.Header.Get("Location"), 200))
	case status == http.StatusGone:
		r.verdict, r.attempt.Error = giveUp, "It answered 410 Gone: the receiver wants nothing more."
		r.disable = r.attempt.Error
	default:
		r.attempt.Error = fmt.Sprintf("It answered %s.", strings.TrimSpace(fmt.Sprintf("%d %s", status, http.StatusText(int(status)))))
	}
	if slices.Contains(resp.Header.Values("Webhook-Delivery"), "abort-message") && r.verdict == tryAgain {
		r.verdict = giveUp
		r.attempt.Error += " It said webhook-delivery: abort-message, so it is not tried again."
	}
	r.wish = retryAfter(resp.Header.Get("Retry-After"), now)
}

// retryAfter reads seconds, or a date (RFC 9110 §10.2.3); zero where there is neither.
func retryAfter(text string, now time.Time) time.Time {
	if seconds, err := strconv.ParseUint(text, 10, 63); err == nil || errors.Is(err, strconv.ErrRange) { // beyond the range it is the largest there is
		return now.Add(time.Duration(min(seconds, uint64(maxWish/time.Second))) * time.Second)
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return time.Time{}
	}
	return earlier(at, now.Add(maxWish))
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// readBody reads so much that a small answer leaves the connection usable, and no more. What a receiver says behind its status does not change
// what the status said.
func (o *Outbox) readBody(resp *http.Response, r *outcome, timeout time.Duration) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, readMost+1))
	r.attempt.ResponseCut = len(body) > keepMost || err != nil
	r.attempt.ResponseBody = slices.Clone(body[:min(len(body), keepMost)])
	if err == nil {
		return
	}
	said := "The body of its answer broke off: " + reason(err, timeout)
	if r.verdict == arrived {
		r.attempt.Error = said
		return
	}
	r.attempt.Error += " " + said
}

// sent is what httptrace saw of a request: its headers as they were written, and to where.
type sent struct {
	secret map[string]bool

	mu      sync.Mutex
	address string
	headers [][2]string
}

func (s *sent) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GotConn: func(i httptrace.GotConnInfo) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.address, s.headers = i.Conn.RemoteAddr().String(), nil // another connection, where one had died: from the beginning
		},
		WroteHeaderField: func(name string, values []string) {
			s.mu.Lock()
			defer s.mu.Unlock()
			for _, value := range values {
				if s.secret[textproto.CanonicalMIMEHeaderKey(name)] {
					value = header.Masked
				}
				s.headers = append(s.headers, [2]string{name, value})
			}
		},
	}
}

func (s *sent) list() (headers, address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return pairs(s.headers), s.address
}

func pairs(list [][2]string) string {
	if list == nil {
		list = [][2]string{}
	}
	text, err := json.Marshal(list)
	if err != nil {
		panic(err) // strings
	}
	return string(text)
}

// headerList is a response's header, by name. What it sets as cookies is nobody's business here.
func headerList(h http.Header) string {
	var list [][2]string
	for name, values := range h {
		for _, value := range values {
			if name == "Set-Cookie" {
				value = header.Masked
			}
			list = append(list, [2]string{name, value})
		}
	}
	slices.SortStableFunc(list, func(a, b [2]string) int { return cmp.Compare(a[0], b[0]) })
	return pairs(list)
}

// secretHeaders are the endpoint's own whose values are not shown.
func (e *endpoint) secretHeaders() map[string]bool {
	out := map[string]bool{}
	for name := range e.headers {
		if secretHeader(name) {
			out[textproto.CanonicalMIMEHeaderKey(name)] = true
		}
	}
	return out
}
