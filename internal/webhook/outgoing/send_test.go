package outgoing

import (
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/webhook/guard"
	"github.com/aditdev/adit/internal/webhook/sign"
	"github.com/aditdev/adit/internal/webhook/transform"
)

// An event reaches its endpoint, signed, and the attempt shows both sides' bytes without the secrets.
func TestAnEventIsDelivered(t *testing.T) {
	t.Parallel()
	to := newReceiver(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "thanks") })
	r := newRig(t)
	e, secret, err := r.Create(t.Context(), somebody, Spec{URL: &to.URL, Events: &[]string{"device.*"},
		Headers: &map[string]string{"X-Api-Key": "very secret", "X-Place": "home"}})
	must(t, err)
	r.event("login.failed", nil)
	r.event("device.online", events.Data{"name": "kitchen"})
	got := to.await(t, 1)[0]
	key, err := sign.ParseSecret(secret)
	must(t, err)
	must(t, sign.Verify([]sign.Secret{key}, got.header, []byte(got.body), time.Now(), 5*time.Minute))
	if body := got.json(t); body["type"] != "device.online" || body["data"].(map[string]any)["name"] != "kitchen" || body["timestamp"] == "" {
		t.Errorf("body %s", got.body)
	}
	if got.header.Get("X-Api-Key") != "very secret" || got.header.Get("User-Agent") != "Adit/1.2.3" || got.header.Get("adit-hops") != "1" {
		t.Errorf("header %v", got.header)
	}
	d := r.settled(StateDelivered, 1)[0]
	list, success, err := r.Attempts(t.Context(), d)
	must(t, err)
	a := list[0]
	if string(a.RequestBody) != got.body || string(a.ResponseBody) != "thanks" || *a.Status != 200 || a.Address != strings.TrimPrefix(to.URL, "http://") {
		t.Errorf("attempt %+v", a)
	}
	if strings.Contains(a.RequestHeaders, "very secret") || !strings.Contains(a.RequestHeaders, `["X-Api-Key","***"]`) || !strings.Contains(a.RequestHeaders, `["X-Place","home"]`) ||
		!strings.Contains(a.RequestHeaders, got.header.Get("webhook-signature")) {
		t.Errorf("request headers %s", a.RequestHeaders)
	}
	if success == nil || success.DeliveryID != d.ID {
		t.Errorf("last success %+v", success)
	}
	if e, err := r.Find(t.Context(), e.ID); err != nil || e.Headers["X-Api-Key"] != "***" || e.Delivered != 1 || e.Health.Waiting != 0 || e.Health.Kept != 1 {
		t.Errorf("%+v, %v", e, err)
	}
}

// What each answer makes of a delivery.
func TestAnswers(t *testing.T) {
	t.Parallel()
	clock := &clock{at: time.Now().Truncate(time.Second)}
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		state  string
		reason string
		next   time.Duration // at least, and at most so and a half
	}{
		"204":             {status(204), StateDelivered, "", 0},
		"500":             {status(500), StateWaiting, "500 Internal Server Error", 4 * time.Second},
		"redirect":        {status(302, "Location: http://127.0.0.1:1/elsewhere"), StateWaiting, "never followed", 4 * time.Second},
		"not modified":    {status(304), StateWaiting, "304", 4 * time.Second},
		"later, seconds":  {status(429, "Retry-After: 7200"), StateWaiting, "429", 2 * time.Hour},
		"later, date":     {status(503, "Retry-After: "+clock.now().Add(3*time.Hour).UTC().Format(http.TimeFormat)), StateWaiting, "503", 3 * time.Hour},
		"much later":      {status(429, "Retry-After: 99999999999999"), StateWaiting, "429", 24 * time.Hour},
		"sooner than due": {status(429, "Retry-After: 1"), StateWaiting, "429", 4 * time.Second},
		"gone":            {status(410), stateDead, "410 Gone", 0},
		"abort":           {status(400, "webhook-delivery: abort-message"), stateDead, "abort-message", 0},
		"early close":     {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, StateWaiting, "closed the connection", 4 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			to := newReceiver(t, c.answer)
			r := newRig(t, byClock(clock)) // which stands still: there is no second attempt
			e := r.endpoint(to.URL)
			if _, err := r.Test(t.Context(), somebody, e.ID); err != nil {
				t.Fatal(err)
			}
			var d Delivery
			eventually(t, "an attempt", func() bool { d = r.all(Filter{})[0]; return d.Attempts == 1 })
			if d.State != c.state || !strings.Contains(d.LastError, c.reason) {
				t.Errorf("%s: %s", d.State, d.LastError)
			}
			if wait := store.Time(d.NextAt).Sub(store.Time(d.CreatedAt)); c.next > 0 && (wait < c.next-c.next/100 || wait > c.next*3/2) {
				t.Errorf("next after %s", wait)
			}
			if name == "gone" {
				e, err := r.Find(t.Context(), e.ID)
				if err != nil || e.State != StateDisabled || e.DisabledReason == "" {
					t.Errorf("endpoint %s: %s, %v", e.State, e.DisabledReason, err)
				}
			}
		})
	}
}

// What the old URL answers after the URL was changed is not the new one's word: 410 ends neither the endpoint nor the delivery, and no failure counts.
func TestAnswerOfTheOldURL(t *testing.T) {
	t.Parallel()
	begun, goOn := make(chan struct{}), make(chan struct{})
	old := newReceiver(t, func(w http.ResponseWriter, _ *http.Request) {
		close(begun)
		<-goOn
		w.WriteHeader(http.StatusGone)
	})
	to, c := newReceiver(t, nil), &clock{at: time.Now()}
	r := newRig(t, byClock(c))
	e := r.endpoint(old.URL, func(s *Spec) { s.Topics = &[]string{"#"} })
	r.publish(message("t", "1"))
	<-begun
	_, err := r.Change(t.Context(), somebody, e.ID, Spec{URL: &to.URL})
	must(t, err)
	close(goOn)
	eventually(t, "an attempt", func() bool { return r.all(Filter{})[0].Attempts == 1 })
	now, err := r.Find(t.Context(), e.ID)
	must(t, err)
	if now.State != StateActive || now.Health.Failures != 0 || now.Health.LastError != "" {
		t.Errorf("the endpoint is %s (%s), %d failures: %s", now.State, now.DisabledReason, now.Health.Failures, now.Health.LastError)
	}
	c.advance(time.Minute)
	to.await(t, 1)
	r.settled(StateDelivered, 1)
}

// Receivers that talk for ever cost no more than the timeout and 64 KiB, and their status counts.
func TestEndlessAnswers(t *testing.T) {
	t.Parallel()
	written := make(chan int, 1)
	for name, c := range map[string]struct {
		answer  http.HandlerFunc
		state   string
		timeout time.Duration // so long that what is to come before it does come
	}{
		"slow headers": {func(_ http.ResponseWriter, q *http.Request) { <-q.Context().Done() }, StateWaiting, time.Second},
		"slow body": {func(w http.ResponseWriter, q *http.Request) {
			fmt.Fprint(w, "begun")
			_ = http.NewResponseController(w).Flush()
			<-q.Context().Done()
		}, StateDelivered, 10 * time.Second},
		"a gigabyte": {func(w http.ResponseWriter, _ *http.Request) {
			n, chunk := 0, make([]byte, 64<<10)
			for n < 1<<30 {
				if _, err := w.Write(chunk); err != nil {
					break
				}
				n += len(chunk)
			}
			written <- n
		}, StateDelivered, 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			to := newReceiver(t, c.answer)
			r := newRig(t, byClock(&clock{at: time.Now()})) // which stands still: there is no second attempt
			e := r.endpoint(to.URL, func(s *Spec) { s.Timeout = ptr(c.timeout) })
			_, err := r.Test(t.Context(), somebody, e.ID)
			must(t, err)
			eventually(t, "an attempt", func() bool { return r.all(Filter{})[0].Attempts == 1 })
			d := r.all(Filter{})[0]
			if d.State != c.state || *d.TookMs > (c.timeout+30*time.Second).Milliseconds() {
				t.Errorf("%s after %d ms: %s", d.State, *d.TookMs, d.LastError)
			}
			a, _, err := r.Attempts(t.Context(), d)
			must(t, err)
			if len(a[0].ResponseBody) > 16<<10 {
				t.Errorf("%d bytes kept", len(a[0].ResponseBody))
			}
			if name == "a gigabyte" {
				if n := <-written; n > 64<<20 {
					t.Errorf("the receiver wrote %d bytes", n)
				}
			}
		})
	}
}

// The guard is in the way of every attempt, also where the setting was narrowed later.
func TestForbiddenAddress(t *testing.T) {
	t.Parallel()
	to := newReceiver(t, nil)
	r := newRig(t, byClock(&clock{at: time.Now()})) // which stands still: there is no second attempt
	e := r.endpoint(strings.Replace(to.URL, "127.0.0.1", "localhost", 1))
	open := r.client
	r.client = newClient(guardOf())
	t.Cleanup(open.CloseIdleConnections)
	_, err := r.Test(t.Context(), somebody, e.ID)
	must(t, err)
	eventually(t, "an attempt", func() bool { return r.all(Filter{})[0].Attempts == 1 })
	if d := r.all(Filter{})[0]; d.State != StateWaiting || !strings.Contains(d.LastError, "ADIT_WEBHOOK_ALLOW") || len(to.all()) > 0 {
		t.Errorf("%s, %d requests", d.LastError, len(to.all()))
	}
}

// A transform that fails gives the delivery up at once, says why, and leaves the breaker alone; mended, it can be replayed.
func TestTransformFails(t *testing.T) {
	t.Parallel()
	to := newReceiver(t, nil)
	r := newRig(t)
	e := r.endpoint(to.URL, func(s *Spec) { s.Transform = &transform.Transform{Kind: transform.JQ, Text: "."} })
	must(t, r.breakTransform(e.ID))
	r.event("device.online", nil)
	d := r.settled(stateDead, 1)[0]
	if d.Attempts != 1 || !strings.Contains(d.LastError, "null cannot be indexed") {
		t.Errorf("%+v", d)
	}
	_, err := r.Change(t.Context(), somebody, e.ID, Spec{Transform: &transform.Transform{Kind: transform.Template, Text: "mended"}})
	must(t, err)
	again, err := r.Replay(t.Context(), d.ID)
	must(t, err)
	got := to.await(t, 1)[0]
	if got.body != "mended" || got.header.Get("adit-replay") != "1" || got.id() != d.MessageID || again.ID == d.ID {
		t.Errorf("%+v", got)
	}
	if e, _ := r.Find(t.Context(), e.ID); e.Health.Failures != 0 || e.Health.Breaker != BreakerClosed {
		t.Errorf("%+v", e.Health)
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{"": {}, "-1": {}, "soon": {}, "1.5": {}, "60": now.Add(time.Minute), "90000": now.Add(24 * time.Hour),
		"18446744073709551615": now.Add(24 * time.Hour), strings.Repeat("9", 400): now.Add(24 * time.Hour), now.Add(time.Hour).Format(http.TimeFormat): now.Add(time.Hour),
		now.AddDate(1, 0, 0).Format(http.TimeFormat): now.Add(24 * time.Hour)} {
		if got := retryAfter(text, now); !got.Equal(want) {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

// A body is kept once, however often it was sent.
func TestBodiesAreKeptOnce(t *testing.T) {
	t.Parallel()
	c := &clock{at: time.Now()}
	to := newReceiver(t, status(500))
	r := newRig(t, byClock(c))
	r.endpoint(to.URL, func(s *Spec) { s.Topics = &[]string{"#"} })
	r.publish(message("a", strings.Repeat("x", 10_000)))
	for n := 1; n <= 3; n++ {
		to.await(t, n)
		eventually(t, "attempt "+strconv.Itoa(n), func() bool { return r.all(Filter{})[0].Attempts == int64(n) })
		c.advance(30 * time.Minute)
	}
	d := r.all(Filter{})[0]
	list, _, err := r.Attempts(t.Context(), d)
	must(t, err)
	if len(list) < 3 || string(list[2].RequestBody) != to.all()[2].body || d.Bytes > 30_000 {
		t.Errorf("%d attempts, %d bytes", len(list), d.Bytes)
	}
}

// breakTransform puts a transform into the database that Create would not take.
func (r *rig) breakTransform(id string) error {
	return r.change(r.t.Context(), func(q *store.Queries) error {
		row, err := q.FindHookEndpoint(r.t.Context(), id)
		if err != nil {
			return err
		}
		e, err := r.open(row.HookEndpoint, nil)
		if err != nil {
			return err
		}
		e.row.Transform = "wrong"
		return q.ChangeHookEndpoint(r.t.Context(), r.changeParams(e))
	})
}

func guardOf(allow ...netip.Prefix) *guard.Guard { return guard.New(allow) }
