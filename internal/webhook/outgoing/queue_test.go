package outgoing

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/storetest"
	"github.com/aditdev/adit/internal/webhook/sign"
)

// Of a device that fails nothing overtakes: the next is sent when the one before it has arrived.
func TestOrderOverFailures(t *testing.T) {
	t.Parallel()
	c := &clock{at: time.Now()}
	var failures atomic.Int64
	failures.Store(3)
	to := newReceiver(t, func(w http.ResponseWriter, _ *http.Request) {
		if failures.Add(-1) >= 0 {
			w.WriteHeader(500)
		}
	})
	r := newRig(t, byClock(c))
	r.endpoint(to.URL, func(s *Spec) { s.Topics, s.Mode = &[]string{"#"}, ptr(ModeOrdered) })
	const n = 20
	for i := range n {
		m := message("t", strconv.Itoa(i))
		m.Device = "dev_a"
		r.publish(m)
	}
	for tries := int64(1); tries <= 3; tries++ {
		eventually(t, "a failure", func() bool { return r.all(Filter{})[0].Attempts == tries })
		for _, d := range r.all(Filter{})[1:] {
			if d.Attempts > 0 || d.HeldBy != "order" {
				t.Fatalf("%s has %d attempts, held by %q", d.ID, d.Attempts, d.HeldBy)
			}
		}
		c.advance(time.Hour)
	}
	r.settled(StateDelivered, n)
	var order []string
	for _, g := range to.all() {
		order = append(order, fmt.Sprint(g.json(t)["data"].(map[string]any)["payload"]))
	}
	order = slices.Compact(order)
	for i, p := range order {
		if p != strconv.Itoa(i) {
			t.Fatalf("order %v", order)
		}
	}
}

// What is cancelled at the head lets the rest go on; what waits can be cancelled once.
func TestCancelInOrder(t *testing.T) {
	t.Parallel()
	to := newReceiver(t, status(500))
	r := newRig(t, byClock(&clock{at: time.Now()})) // which stands still: there is no second attempt
	r.endpoint(to.URL, func(s *Spec) { s.Topics, s.Mode = &[]string{"#"}, ptr(ModeOrdered) })
	r.publish(message("t", "1"), message("t", "2"))
	eventually(t, "a failure", func() bool { return r.all(Filter{})[0].Attempts == 1 })
	to.setAnswer(nil)
	head := r.all(Filter{})[0]
	if _, err := r.Cancel(t.Context(), head.ID); err != nil {
		t.Fatal(err)
	}
	if d := r.settled(StateDelivered, 1)[0]; d.ID == head.ID {
		t.Error("the cancelled one was delivered")
	}
	if _, err := r.Cancel(t.Context(), head.ID); err == nil {
		t.Error("cancelled twice")
	}
}

// What is cancelled by what was read before an attempt of it ended leaves nothing behind in the count of what waits.
func TestCancelCountsWhatThereIs(t *testing.T) {
	t.Parallel()
	to := newReceiver(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(500)
		fmt.Fprint(w, strings.Repeat("x", 10_000))
	})
	r := newRig(t, byClock(&clock{at: time.Now()})) // which stands still: there is no second attempt
	e := r.endpoint(to.URL, func(s *Spec) { s.Topics = &[]string{"#"} })
	r.publish(message("t", "1"))
	eventually(t, "a failure", func() bool { return r.all(Filter{})[0].Attempts == 1 })
	before := r.all(Filter{})[0].HookDelivery
	before.Bytes -= 10_000
	must(t, r.Store.WriteTogether(t.Context(), func(q *store.Queries) error { return r.end(t.Context(), q, before, stateCancelled, "") }))
	now, err := r.Find(t.Context(), e.ID)
	must(t, err)
	if h := now.Health; h.Waiting != 0 || h.WaitingBytes != 0 || h.KeptBytes != r.all(Filter{})[0].Bytes {
		t.Errorf("nothing waits, and counted are %d with %d bytes; %d are kept", h.Waiting, h.WaitingBytes, h.KeptBytes)
	}
}

// Issue 5, "It shows" 5: an endpoint whose receiver hangs, and one that fails, hold nobody.
func TestOthersAreNotHeld(t *testing.T) {
	t.Parallel()
	hangs := newReceiver(t, func(_ http.ResponseWriter, q *http.Request) { <-q.Context().Done() })
	fails, works := newReceiver(t, status(503)), newReceiver(t, nil)
	r := newRig(t, byClock(&clock{at: time.Now()})) // which stands still: nothing is tried again, and the breaker stays open
	topics := func(s *Spec) { s.Topics, s.Concurrency = &[]string{"#"}, ptr(32) }
	r.endpoint(hangs.URL, topics, func(s *Spec) { s.Name = ptr("hangs") })
	r.endpoint(hangs.URL, topics, func(s *Spec) { s.Name = ptr("hangs-too") })
	bad := r.endpoint(fails.URL, topics)
	r.endpoint(works.URL, topics)
	const n = 120
	for i := range n {
		r.publish(message("t", strconv.Itoa(i)))
	}
	works.await(t, n)
	eventually(t, "breaker", func() bool { e, _ := r.Find(t.Context(), bad.ID); return e.Health.Breaker == BreakerOpen })
	if got := len(fails.all()); got > 60 {
		t.Errorf("%d attempts before the breaker opened", got)
	}
	var waits int
	for _, d := range r.all(Filter{Endpoint: bad.ID}) {
		if d.Attempts == 0 {
			waits++
		}
	}
	if waits < n-60 {
		t.Errorf("only %d wait without having burnt an attempt", waits)
	}
}

// The breaker lets one through after its time, and everything when that arrives.
func TestBreakerCloses(t *testing.T) {
	t.Parallel()
	c := &clock{at: time.Now()}
	to := newReceiver(t, status(500))
	r := newRig(t, byClock(c))
	e := r.endpoint(to.URL, func(s *Spec) { s.Topics, s.Concurrency = &[]string{"#"}, ptr(1) })
	for range 30 {
		r.publish(message("t", "x"))
	}
	broken := func() bool { e, _ := r.Find(t.Context(), e.ID); return e.Health.Breaker == BreakerOpen }
	eventually(t, "breaker", broken)
	if n := len(to.all()); n != breakAfter {
		t.Errorf("%d attempts", n)
	}
	c.advance(probeFirst + time.Second)
	to.await(t, breakAfter+1)
	eventually(t, "breaker again", broken)
	if e, _ := r.Find(t.Context(), e.ID); len(to.all()) != breakAfter+1 || e.Health.Opened != 2 {
		t.Errorf("%d attempts, opened %d times", len(to.all()), e.Health.Opened)
	}
	to.setAnswer(nil)
	c.advance(10 * time.Minute)
	r.settled(StateDelivered, 30)
	if broken() {
		t.Error("still open")
	}
}

// Five days in which nothing arrives: deliveries die after their ten attempts, the endpoint is disabled, says why, and begins again when told to.
func TestFiveDaysOfFailures(t *testing.T) {
	t.Parallel()
	c := &clock{at: time.Now().Truncate(time.Hour)}
	began := c.now()
	to := newReceiver(t, status(500))
	r := newRig(t, byClock(c))
	e := r.endpoint(to.URL, func(s *Spec) { s.Topics = &[]string{"#"} })
	other := newReceiver(t, nil)
	r.endpoint(other.URL, func(s *Spec) { s.Events = &[]string{"hook.*"} })
	r.publish(message("t", "0"))
	look := func() Endpoint { e, err := r.Find(t.Context(), e.ID); must(t, err); return e }
	for step := 0; look().State == StateActive && c.now().Sub(began) < 7*24*time.Hour; step++ {
		if step%10 == 0 {
			r.publish(message("t", strconv.Itoa(step)))
		}
		c.advance(time.Hour)
		eventually(t, "what is due is tried, and nothing is under way, which may disable it yet", func() bool {
			now := look()
			return (now.State != StateActive || now.Health.RetryAt > store.Millis(c.now()) || !r.due(e.ID)) &&
				len(r.all(Filter{Endpoint: e.ID, State: StateSending})) == 0
		})
	}
	if took := c.now().Sub(began); took < 5*24*time.Hour || took > 6*24*time.Hour {
		t.Errorf("after %s it is %s", took, look().State)
	}
	if got := look(); got.State != StateDisabled || !strings.Contains(got.DisabledReason, "five days") {
		t.Errorf("%s: %q", got.State, got.DisabledReason)
	}
	dead := r.all(Filter{State: stateDead})
	if len(dead) == 0 || dead[0].Attempts != int64(MaxAttempts) || dead[0].FinishedAt == nil || *dead[0].FinishedAt-dead[0].CreatedAt < (60*time.Hour).Milliseconds() {
		t.Errorf("dead: %+v", dead)
	}
	eventually(t, "events", func() bool {
		types := map[any]bool{}
		for _, g := range other.all() {
			types[g.json(t)["type"]] = true
		}
		return types[events.HookEndpointDisabled] && types[events.HookDeliveryDead]
	})
	if wanted, _ := r.Wants(message("t", "x")); wanted {
		t.Error("a disabled endpoint is given more")
	}
	to.setAnswer(nil)
	_, err := r.Change(t.Context(), somebody, e.ID, Spec{State: ptr(StateActive)})
	must(t, err)
	c.advance(30 * time.Hour)
	eventually(t, "the rest", func() bool { return look().Health.Waiting == 0 })
}

func (r *rig) due(endpoint string) bool {
	at, err := r.Store.Read().NextHookDue(r.t.Context(), endpoint)
	return err == nil && at <= store.Millis(r.Now())
}

// Two Outboxes on one database share the work: what one has claimed the other does not send, and who lost the lease changes nothing.
func TestLeasesFence(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := stillRig(t, dir)
	to := newReceiver(t, nil)
	e := first.endpoint(to.URL, func(s *Spec) { s.Topics = &[]string{"#"} })
	first.publish(message("t", "1"))
	var lost *job
	claim := func(o *Outbox) (j *job) {
		must(t, o.Store.WriteTogether(t.Context(), func(q *store.Queries) (err error) {
			j, err = o.claim(t.Context(), q, e.ID)
			return err
		}))
		return j
	}
	if lost = claim(first.Outbox); lost == nil {
		t.Fatal("nothing to claim")
	}
	later := &clock{at: time.Now().Add(time.Hour)}
	second := stillRig(t, dir, byClock(later))
	if j := claim(second.Outbox); j != nil {
		t.Fatal("claimed while it is leased")
	}
	must(t, second.returnLeases(t.Context(), later.now()))
	won := claim(second.Outbox)
	if won == nil || won.delivery.ID != lost.delivery.ID {
		t.Fatal("an expired lease was not given back")
	}
	for _, c := range []struct {
		o    *Outbox
		j    *job
		ours bool
	}{{first.Outbox, lost, false}, {second.Outbox, won, true}} {
		r := c.o.attempt(t.Context(), c.j)
		must(t, c.o.Store.WriteTogether(t.Context(), func(q *store.Queries) error {
			ours, err := c.o.finish(t.Context(), q, c.j, &r)
			if ours != c.ours {
				t.Errorf("ours: %v", ours)
			}
			return err
		}))
	}
	if d := second.all(Filter{})[0]; d.State != StateDelivered || d.Attempts != 1 {
		t.Errorf("%+v", d)
	}
	first.client.CloseIdleConnections()
	second.client.CloseIdleConnections()
}

// Both at work on one database: everything arrives once.
func TestTwoAtWork(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	one, two := openRig(t, dir), openRig(t, dir)
	to := newReceiver(t, nil)
	one.endpoint(to.URL, func(s *Spec) { s.Topics, s.Mode = &[]string{"#"}, ptr(ModeOrdered) })
	must(t, two.refresh(t.Context()))
	const n = 200
	for i := range n {
		m := message("t", strconv.Itoa(i))
		m.Device = "dev_" + strconv.Itoa(i%5)
		[]*rig{one, two}[i%2].publish(m)
	}
	one.settled(StateDelivered, n)
	seen, last := map[string]bool{}, map[any]int{}
	for _, g := range to.all() {
		data := g.json(t)
		payload := int(data["data"].(map[string]any)["payload"].(float64))
		device := data["device"].(map[string]any)["id"]
		if seen[g.id()] || payload < last[device] {
			t.Errorf("%s of %v after %d, twice: %v", g.body, device, last[device], seen[g.id()])
		}
		seen[g.id()], last[device] = true, payload
	}
}

// Rotation: both sign until the old one ends.
func TestRotation(t *testing.T) {
	t.Parallel()
	c := &clock{at: time.Now()}
	to := newReceiver(t, nil)
	r := newRig(t, byClock(c))
	e := r.endpoint(to.URL)
	signatures := func(n int) int {
		_, err := r.Test(t.Context(), somebody, e.ID)
		must(t, err)
		return len(strings.Fields(to.await(t, n)[n-1].header.Get("webhook-signature")))
	}
	if n := signatures(1); n != 1 {
		t.Errorf("%d signatures", n)
	}
	hour := time.Hour
	if _, secret, err := r.Rotate(t.Context(), somebody, e.ID, "", &hour); err != nil || !strings.HasPrefix(secret, "whsec_") {
		t.Fatal(secret, err)
	}
	if n := signatures(2); n != 2 {
		t.Errorf("%d signatures", n)
	}
	c.advance(hour + time.Second)
	if n := signatures(3); n != 1 {
		t.Errorf("%d signatures after the overlap", n)
	}
	key, secret, err := r.Create(t.Context(), somebody, Spec{URL: &to.URL, Name: ptr("asymmetric"), Signature: ptr("v1a")})
	if err != nil || secret != "" || !strings.HasPrefix(key.PublicKey, "whpk_") {
		t.Errorf("%+v, %q, %v", key, secret, err)
	}
}

// The secret that was made last is the current one, and stays, also where the clock was put back before.
func TestRotationByAClockThatWasAhead(t *testing.T) {
	t.Parallel()
	c := &clock{at: time.Now()}
	r := stillRig(t, storetest.Dir(t), byClock(c))
	e := r.endpoint("http://127.0.0.1:1/", func(s *Spec) { s.Signature = ptr("v1a") })
	for range 2 * maxSecrets {
		c.advance(-24 * time.Hour)
		key := sign.NewKey()
		now, _, err := r.Rotate(t.Context(), somebody, e.ID, key.String(), nil)
		must(t, err)
		if now.PublicKey != key.Public() || len(now.Secrets) > maxSecrets {
			t.Fatalf("%d secrets, the current one is %s and not %s", len(now.Secrets), now.PublicKey, key.Public())
		}
	}
}

// A replay is of the same message, once to each endpoint, and nothing that waits or has arrived since.
func TestReplayByFilter(t *testing.T) {
	t.Parallel()
	to := newReceiver(t, status(410))
	r := newRig(t)
	e := r.endpoint(to.URL, func(s *Spec) { s.Topics, s.Concurrency = &[]string{"#"}, ptr(1) })
	r.publish(message("t", "1"))
	dead := r.settled(stateDead, 1)[0]
	to.setAnswer(nil)
	_, err := r.Change(t.Context(), somebody, e.ID, Spec{State: ptr(StateActive)})
	must(t, err)
	for _, f := range []Filter{{State: stateDead, Type: "device.*"}, {State: stateDead, Until: time.Now().Add(-time.Hour)}, {State: stateDead, Device: "dev_x"}} {
		if n, err := r.ReplayAll(t.Context(), f, true); n != 0 || err != nil {
			t.Errorf("%+v: %d, %v", f, n, err)
		}
	}
	if n, err := r.ReplayAll(t.Context(), Filter{State: stateDead, Type: "mqtt.*"}, true); n != 1 || err != nil || len(r.all(Filter{})) != 1 {
		t.Errorf("dry: %d, %v", n, err)
	}
	if n, err := r.ReplayAll(t.Context(), Filter{State: stateDead}, false); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	d := r.settled(StateDelivered, 1)[0]
	if d.MessageID != dead.MessageID || deref(d.ReplayOf) != dead.ID {
		t.Errorf("%+v", d)
	}
	if n, err := r.ReplayAll(t.Context(), Filter{State: stateDead}, false); n != 0 || err != nil {
		t.Errorf("what has arrived since: %d, %v", n, err)
	}
	if n, err := r.ReplayAll(t.Context(), Filter{}, true); n != 1 || err != nil {
		t.Errorf("each message once: %d, %v", n, err)
	}
}

// Events that this package writes itself come to an end, and an endpoint is not told of its own failures.
func TestOwnEventsDoNotFeedThemselves(t *testing.T) {
	t.Parallel()
	one, two := newReceiver(t, status(410)), newReceiver(t, status(400, "webhook-delivery: abort-message"))
	r := newRig(t)
	r.endpoint(one.URL, func(s *Spec) { s.Name = ptr("one") })
	a := r.endpoint(two.URL, func(s *Spec) { s.Name = ptr("two") })
	b := r.endpoint(two.URL, func(s *Spec) { s.Name = ptr("three") })
	r.event("device.online", nil)
	eventually(t, "quiet", func() bool {
		x, _ := r.Find(t.Context(), a.ID)
		y, _ := r.Find(t.Context(), b.ID)
		return x.Health.Waiting == 0 && y.Health.Waiting == 0 && x.Health.Dead >= 3 && y.Health.Dead >= 3
	})
	last, err := r.Events.Last(t.Context())
	must(t, err)
	if last > 30 {
		t.Errorf("%d events", last)
	}
}

// What waits fills a queue: then messages are refused, events are counted and told.
func TestFullQueue(t *testing.T) {
	t.Parallel()
	to, other := newReceiver(t, nil), newReceiver(t, nil)
	r := newRig(t, func(o *Options) { o.Limits.Waiting = 3 })
	e := r.endpoint(to.URL, func(s *Spec) { s.Topics, s.Events = &[]string{"#"}, &[]string{"device.*"} })
	r.endpoint(other.URL, func(s *Spec) { s.Events = &[]string{"hook.overflow"} })
	_, err := r.Change(t.Context(), somebody, e.ID, Spec{State: ptr(StatePaused)})
	must(t, err)
	r.publish(message("t", "1"), message("t", "2"), message("t", "3"))
	if wanted, room := r.Wants(message("t", "4")); !wanted || room {
		t.Errorf("a fourth: wanted %v, room %v", wanted, room)
	}
	r.event("device.online", nil)
	other.await(t, 1)
	got := other.all()[0].json(t)
	if got["data"].(map[string]any)["endpoint"] != e.ID {
		t.Errorf("%v", got)
	}
	d := r.all(Filter{Endpoint: e.ID})
	if len(d) != 3 || d[0].HeldBy != "paused" {
		t.Errorf("%d wait, held by %q", len(d), d[0].HeldBy)
	}
	_, err = r.Change(t.Context(), somebody, e.ID, Spec{State: ptr(StateActive)})
	must(t, err)
	r.settled(StateDelivered, len(d))
}

// The sweep takes the oldest that are finished, and never what waits.
func TestSweep(t *testing.T) {
	t.Parallel()
	c := &clock{at: time.Now()}
	to := newReceiver(t, nil)
	r := newRig(t, byClock(c))
	must(t, r.Store.Write(t.Context(), func(q *store.Queries) error {
		return q.PutSetting(t.Context(), store.PutSettingParams{Name: "retention",
			Value: `{"deliveries_days":7,"dead_days":30,"max_messages":5,"max_bytes":1048576}`})
	}))
	e := r.endpoint(to.URL, func(s *Spec) { s.Topics = &[]string{"#"} })
	for i := range 12 {
		r.publish(message("t", strconv.Itoa(i)))
	}
	r.settled(StateDelivered, 12)
	must(t, r.Sweep(t.Context()))
	if left := r.all(Filter{}); len(left) != 5 {
		t.Errorf("%d are left", len(left))
	}
	_, err := r.Change(t.Context(), somebody, e.ID, Spec{State: ptr(StatePaused)})
	must(t, err)
	r.publish(message("t", "waits"))
	c.advance(6 * 24 * time.Hour)
	must(t, r.Sweep(t.Context()))
	if n := len(r.all(Filter{State: StateWaiting})); n != 1 {
		t.Errorf("%d wait", n)
	}
	c.advance(2 * 24 * time.Hour)
	must(t, r.Sweep(t.Context()))
	if left := r.all(Filter{}); len(left) != 1 || left[0].State != stateDead {
		t.Errorf("%+v", left)
	}
	must(t, r.Remove(t.Context(), somebody, e.ID))
	must(t, r.Sweep(t.Context()))
	if rows, err := r.Store.Read().HookEndpoints(t.Context()); err != nil || len(rows) != 0 {
		t.Errorf("%d endpoints, %v", len(rows), err)
	}
}
