package incoming

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

// awaited are the requests whose senders wait, by id.
type awaited struct {
	mu      sync.Mutex
	waiting map[string]*waiter
	asked   map[string]bool // questions that are still followed
}

// ask notes a question, and says how many there are.
func (a *awaited) ask(id string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked[id] = true
	return len(a.asked)
}

func (a *awaited) forget(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.asked, id)
}

// follows reports whether a question's answer would be taken.
func (a *awaited) follows(id string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asked[id]
}

// waiter is one of them; repeats wait with the first.
type waiter struct {
	done   chan struct{} // closed when answer or err is set
	answer *Reply
	err    error
	users  int
}

// enter waits for a request, with others that do.
func (a *awaited) enter(id string) *waiter {
	a.mu.Lock()
	defer a.mu.Unlock()
	w := a.waiting[id]
	if w == nil {
		w = &waiter{done: make(chan struct{})}
		a.waiting[id] = w
	}
	w.users++
	return w
}

func (a *awaited) leave(id string, w *waiter) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if w.users--; w.users == 0 && a.waiting[id] == w {
		delete(a.waiting, id)
	}
}

// resolve tells those who wait. The first answer counts.
func (a *awaited) resolve(id string, got *Reply, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	w := a.waiting[id]
	if w == nil {
		return
	}
	w.answer, w.err = got, err
	close(w.done)
	delete(a.waiting, id)
}

func (a *Reply) params(id string, took time.Duration) store.AnswerHookRequestParams {
	p := store.AnswerHookRequestParams{ID: id, Status: new(int64(a.Status)), AnswerType: a.ContentType, Answer: notNil(a.Body), TookMs: new(took.Milliseconds()), More: int64(len(a.Body))}
	if a.ExitCode != nil {
		p.ExitCode = new(int64(*a.ExitCode))
	}
	return p
}

func (h *Hooks) answerOf(row store.HookRequest) Answer {
	return Answer{Status: int(*row.Status), ContentType: row.AnswerType, Body: row.Answer, Header: h.located(row.ID)}
}

// lane is by what waiting senders are counted.
func (p *plan) lane(source string) string {
	switch {
	case p.device != "":
		return p.device
	case p.topic != "":
		return "topic " + p.topic
	}
	return source
}

// listening reports whether somebody is there who can answer.
func (v *visit) listening() bool {
	switch p := v.plan; p.Kind {
	case ActionStore:
		return v.crowds.has(v.ID)
	case ActionCommand:
		return v.Devices.Online(p.device)
	default:
		return v.Broker.Listens(p.topic, func(who messaging.Principal) bool {
			return p.device == "" || who.Device == p.device || v.Action.Device == "" && who.Kind == messaging.KindApplication
		})
	}
}

// acceptAndWait keeps the request, has it done, and waits for the answer.
func (v *visit) acceptAndWait(ctx context.Context) (Answer, error) {
	if !v.listening() {
		if v.Offline == OfflineRefuse {
			return Answer{}, &Refusal{Cause: wire.Errorf(wire.Offline, "Nobody is connected who could answer. The request was not kept: send it again later."), RetryAfter: 10 * time.Second}
		}
		v.wait, v.plan.WaitMS = 0, 0
		return v.accept(ctx)
	}
	a, err := v.keepAndWait(ctx)
	if _, ok := errors.AsType[*repeated](err); ok { // it has given its place back, and takes one as a repeat
		return v.again(ctx, "", err)
	}
	return a, err
}

// keepAndWait is acceptAndWait in a place for senders that wait. Its error is keep's where that failed.
func (v *visit) keepAndWait(ctx context.Context) (Answer, error) {
	lane := v.plan.lane(v.ID)
	if !v.slots.take(lane) {
		return Answer{}, &Refusal{Cause: tooManyWait(), RetryAfter: 2 * time.Second}
	}
	defer v.slots.give(lane)
	if v.plan.Kind == ActionStore {
		return v.storeAndWait(ctx)
	}
	select {
	case v.work <- struct{}{}:
	case <-time.After(time.Second):
		return Answer{}, busy(2*time.Second, "The hub is busy with other requests.")
	case <-ctx.Done():
		return Answer{}, ctx.Err()
	}
	owner, id := v.newOwner(), v.subject.ID
	w := v.awaited.enter(id)
	defer v.awaited.leave(id, w)
	if err := v.keep(ctx, stateWaiting, owner); err != nil {
		<-v.work
		return Answer{}, err
	}
	v.start(v.job(owner))
	return v.await(ctx, id, w)
}

func (v *visit) storeAndWait(ctx context.Context) (Answer, error) {
	id := v.subject.ID
	w := v.awaited.enter(id)
	defer v.awaited.leave(id, w)
	if err := v.keep(ctx, stateDone, ""); err != nil {
		return Answer{}, err
	}
	v.crowds.tell(v.ID)
	return v.await(ctx, id, w)
}

// join waits for the answer to a request that came before, with the first sender or in its place; there is none to wait for where nobody was asked.
func (v *visit) join(ctx context.Context, id string) (Answer, error) {
	w := v.awaited.enter(id) // first, so that what comes behind the next two is told
	defer v.awaited.leave(id, w)
	follows := v.awaited.follows(id)
	row, err := v.Store.Read().GetHookRequest(ctx, id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return v.accepted(id), nil
	case err != nil:
		return Answer{}, fmt.Errorf("find repeat: %w", err)
	case row.Status != nil:
		return v.answerOf(row), nil
	case !follows && !v.comes(row):
		return v.accepted(id), nil
	}
	lane := (&plan{device: row.DeviceID, topic: row.Topic}).lane(v.ID)
	if !v.slots.take(lane) {
		return Answer{}, &Refusal{Cause: tooManyWait(), RetryAfter: 2 * time.Second, Kept: true}
	}
	defer v.slots.give(lane)
	return v.await(ctx, id, w)
}

// comes reports whether an answer may come to a request for which nobody has been asked yet, or is asked by other means than a message.
func (v *visit) comes(row store.HookRequest) bool {
	var p plan
	if json.Unmarshal([]byte(row.Plan), &p) != nil {
		return false
	}
	switch p.Kind {
	case ActionCommand:
		return row.State == stateWaiting && v.Devices.Online(row.DeviceID)
	case ActionStore:
		return p.WaitMS > 0 && v.crowds.has(v.ID)
	}
	return p.WaitMS > 0 && row.State == stateWaiting
}

func tooManyWait() *wire.Error {
	return wire.Errorf(wire.RateLimited, "Too many requests wait for answers: %d may, and %d on one device.", maxWaiting, maxWaitingOn)
}

// await waits as long as the sender does.
func (v *visit) await(ctx context.Context, id string, w *waiter) (Answer, error) {
	v.held.release()
	patience := time.NewTimer(v.wait)
	defer patience.Stop()
	select {
	case <-w.done:
	case <-patience.C:
		return Answer{}, &Refusal{Cause: wire.Errorf(wire.Offline, "The request %s was kept, and no answer came in time. One that comes later is at Location.", id),
			Status: http.StatusGatewayTimeout, Header: v.located(id), Kept: true}
	case <-ctx.Done():
		return Answer{}, ctx.Err()
	}
	switch {
	case errors.Is(w.err, errExpired):
		return Answer{}, &Refusal{Cause: wire.Errorf(wire.Offline, "The request %s was kept, and not done in time.", id), Status: http.StatusGatewayTimeout,
			Header: v.located(id), Kept: true}
	case w.err != nil: // of the device, not of the request: a sender must not read it as 404 or 400 of the hub
		return Answer{}, &Refusal{Cause: wire.Errorf(wire.CodeOf(w.err), "%s", wire.MessageOf(w.err)), Status: http.StatusBadGateway, Kept: true}
	}
	a := w.answer
	return Answer{Status: a.Status, ContentType: a.ContentType, Body: a.Body, Header: v.located(id)}, nil
}

// question is a message that is answered by MQTT.
type question struct {
	hooks   *Hooks
	id      string
	topic   string
	mode    string
	from    string
	began   time.Time
	wait    time.Duration
	answers chan messaging.Received
}

// Late answers are taken for lateFor, of so many requests.
const (
	lateFor = 10 * time.Minute
	maxLate = 1024
)

// question is what a job asks; nil where nobody waits for an answer by MQTT.
func (h *Hooks) question(j *job) *question {
	if j.plan.Kind != ActionPublish || j.plan.WaitMS == 0 {
		return nil
	}
	q := &question{hooks: h, id: j.id, topic: h.Broker.ReplyTopic(j.id), mode: j.plan.Correlation, from: "hook " + j.sourceName, began: j.at,
		wait: time.Duration(j.plan.WaitMS) * time.Millisecond, answers: make(chan messaging.Received, 1)}
	if q.mode == CorrelateTopic {
		q.topic = "devices/" + j.plan.DeviceName + "/replies/" + j.id
	}
	return q
}

// ask publishes, and leaves a goroutine that waits for the answer.
func (q *question) ask(ctx context.Context, m mqtt.Message) error {
	patience := q.wait
	if q.hooks.awaited.ask(q.id) <= maxLate {
		patience += lateFor
	}
	end, err := q.hooks.Broker.Ask(ctx, m, q.from, q.take)
	if err != nil {
		q.hooks.awaited.forget(q.id)
		return err
	}
	done := func() { end(); q.hooks.awaited.forget(q.id) }
	if !q.hooks.begin(func(ctx context.Context) { defer done(); q.follow(ctx, patience) }) {
		done()
	}
	return nil
}

// take is given what comes on the response topic. The topic belongs to this request alone, so that older devices need no correlation data.
func (q *question) take(r messaging.Received) {
	if len(r.Correlation) > 0 && string(r.Correlation) != q.id {
		return
	}
	select {
	case q.answers <- r:
	default: // the first counts
	}
}

func (q *question) follow(ctx context.Context, patience time.Duration) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case r := <-q.answers:
		if err := q.hooks.keepAnswer(ctx, q.id, q.began, answerFrom(r, q.id, q.mode)); err != nil {
			q.hooks.Log.Error("answer to a hook not kept", "request", q.id, "cause", err)
		}
	case <-timer.C:
	case <-ctx.Done():
	}
}

// keepAnswer keeps an answer and tells whoever waits. Conflict says that there is one already.
func (h *Hooks) keepAnswer(ctx context.Context, id string, began time.Time, a *Reply) error {
	var n int64
	err := h.Store.WriteTogether(context.WithoutCancel(ctx), func(q *store.Queries) (err error) {
		n, err = q.AnswerHookRequest(ctx, a.params(id, h.Now().Sub(began)))
		return err
	})
	switch {
	case err != nil:
		return fmt.Errorf("keep answer: %w", err)
	case n == 0:
		return wire.Errorf(wire.Conflict, "This request was answered already.")
	}
	h.awaited.resolve(id, a, nil)
	return nil
}

// answerFrom reads what a device published. Its status is the user property `status`.
func answerFrom(r messaging.Received, id, mode string) *Reply {
	a := &Reply{Status: http.StatusOK, ContentType: cleanType(r.ContentType), Body: r.Payload}
	for _, u := range r.UserProperties {
		if u.Name == "status" {
			a.setStatus(u.Value)
		}
	}
	if mode == CorrelateEnvelope {
		a.unwrap(id)
	}
	return a
}

func (a *Reply) setStatus(text string) {
	if n, err := strconv.Atoi(text); err == nil && n >= 200 && n <= 599 {
		a.Status = n
	}
}

// unwrap reads an answer that is an envelope itself, {"id", "payload"} or {"id", "payload_base64"}, with "status" and "content_type" where they
// are wanted. Anything else is the answer as it is: its topic says to what.
func (a *Reply) unwrap(id string) {
	var e struct {
		ID          string          `json:"id"`
		Payload     json.RawMessage `json:"payload"`
		Bytes       []byte          `json:"payload_base64"`
		Status      int             `json:"status"`
		ContentType string          `json:"content_type"`
	}
	if json.Unmarshal(a.Body, &e) != nil || e.ID != id || e.Payload == nil && e.Bytes == nil {
		return
	}
	var text string
	switch {
	case e.Payload == nil:
		a.Body, a.ContentType = e.Bytes, "application/octet-stream"
	case e.Payload[0] == '"' && json.Unmarshal(e.Payload, &text) == nil:
		a.Body, a.ContentType = []byte(text), "text/plain; charset=utf-8"
	default:
		a.Body, a.ContentType = e.Payload, "application/json"
	}
	if e.Status >= 200 && e.Status <= 599 {
		a.Status = e.Status
	}
	if kind := cleanType(e.ContentType); kind != "" {
		a.ContentType = kind
	}
}
