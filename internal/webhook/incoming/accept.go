package incoming

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

// seen finds the request that this one repeats, before anything is made of it; "" where it is new. Two that come at once both
// pass here, and the second fails in keep.
func (v *visit) seen(ctx context.Context) (string, error) {
	if !v.needsInput() && v.wait == 0 { // nothing is spent before keep
		return "", nil
	}
	for _, key := range v.keys {
		id, err := v.seenBy(ctx, v.Store.Read(), key)
		if !errors.Is(err, store.ErrNotFound) {
			return id, err
		}
	}
	return "", nil
}

// seenBy finds the request that came with a key, or fails with store.ErrNotFound.
func (v *visit) seenBy(ctx context.Context, q *store.Queries, key string) (string, error) {
	id, err := q.SeenHookKey(ctx, store.SeenHookKeyParams{SourceID: v.ID, Key: key, Now: store.Millis(v.began)})
	if err != nil {
		return "", fmt.Errorf("look for repeat: %w", err)
	}
	return id, nil
}

// repeated is keep's error for a request that came before.
type repeated struct{ id string }

func (r *repeated) Error() string { return "came before as " + r.id }

// keep writes the request, what is to be done with it, and that it came, as one.
func (v *visit) keep(ctx context.Context, state, owner string) error {
	p := v.row(state, owner)
	err := v.Store.WriteTogether(ctx, func(q *store.Queries) error {
		for _, key := range v.keys {
			n, err := q.SeeHookKey(ctx, store.SeeHookKeyParams{SourceID: v.ID, Key: key, RequestID: p.ID, At: p.At,
				ExpiresAt: store.Millis(v.began.Add(v.remembered()))})
			if err != nil {
				return fmt.Errorf("keep request: %w", err)
			}
			if n == 0 {
				id, err := v.seenBy(ctx, q, key) // the keys before it are this request's own by now
				return errors.Join(err, &repeated{id})
			}
		}
		data := events.Data{"source": v.ID, "request_id": p.ID, "topic": p.Topic}
		if v.hops > 0 {
			data["hops"] = v.hops
		}
		if err := errors.Join(q.AcceptHookRequest(ctx, p), q.CountHookAccepted(ctx, store.CountHookAcceptedParams{ID: v.ID, At: &p.At}),
			v.Events.Write(ctx, q, events.Event{Type: events.HookReceived, Device: p.DeviceID, Data: data})); err != nil {
			return fmt.Errorf("keep request: %w", err)
		}
		return nil
	})
	if err == nil {
		v.grown(p.Kept)
	}
	return err
}

func (v *visit) row(state, owner string) store.AcceptHookRequestParams {
	headers, err := json.Marshal(v.subject.Headers)
	if err != nil {
		panic(err) // texts always marshal
	}
	p := store.AcceptHookRequestParams{ID: v.subject.ID, SourceID: v.ID, At: store.Millis(v.began), Method: v.subject.Method, Path: v.path(),
		Address: v.request.Address, ContentType: v.subject.ContentType, Bytes: int64(len(v.subject.Body)), State: state, Owner: owner,
		NextAt: store.Millis(v.began), Topic: v.plan.topic, DeviceID: v.plan.device, Plan: v.plan.text(), Headers: string(headers),
		Body: notNil(v.subject.Body), Payload: v.plan.payload, ExpiresAt: v.expires()}
	p.Kept = int64(len(p.Body) + len(p.Payload) + len(p.Headers) + len(p.Path) + len(p.Plan))
	if owner != "" {
		p.NextAt = store.Millis(v.Now().Add(lease)) // the body may have taken longer
	}
	if len(v.keys) > 0 {
		p.Key = v.keys[0]
	}
	return p
}

func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// maxPath bounds what is kept of an address, in bytes.
const maxPath = 4096

func (v *visit) path() string {
	path := v.request.Rest
	if v.request.URL.RawQuery != "" {
		path += "?" + v.request.URL.RawQuery
	}
	return wire.Printable(path, maxPath)
}

func (v *visit) expires() *int64 {
	life := time.Duration(v.ExpiresSeconds) * time.Second
	if v.wait > 0 { // a command that nobody waits for any more is not carried out later
		life = (v.wait + time.Second - 1).Truncate(time.Second)
	}
	if life == 0 {
		return nil
	}
	return new(store.Millis(v.began.Add(life)))
}

// accept keeps the request and leaves the rest to the queue.
func (v *visit) accept(ctx context.Context) (Answer, error) {
	state, owner, free := stateWaiting, "", false
	switch {
	case v.plan.Kind == ActionStore:
		state = stateDone
	case v.takeSlot():
		owner, free = v.newOwner(), true
	}
	if err := v.keep(ctx, state, owner); err != nil {
		if free {
			<-v.work
		}
		return v.again(ctx, "", err)
	}
	switch {
	case free:
		v.start(v.job(owner))
	case state == stateDone:
		v.crowds.tell(v.ID)
	default:
		v.rouse()
	}
	return v.accepted(v.subject.ID), nil
}

// job is what is to be done, with what is in memory of it.
func (v *visit) job(owner string) *job {
	j := &job{id: v.subject.ID, source: v.ID, sourceName: v.Name, owner: owner, at: v.began, expires: v.expires(), plan: v.plan,
		body: v.subject.Body, held: v.held}
	j.question = v.Hooks.question(j)
	v.held = &hold{} // the job's now
	return j
}

func (h *Hooks) accepted(id string) Answer {
	return Answer{Status: http.StatusAccepted, ContentType: "application/json", Body: []byte(`{"id":"` + id + `","queued":true}` + "\n"),
		Header: h.located(id)}
}

// located says which request it is, and where its answer is found: for whoever sent it, and nobody else. The id alone does not open it: it is
// published with the message, to all who may read the topic.
func (h *Hooks) located(id string) map[string]string {
	return map[string]string{"Location": "/hook/requests/" + id + "?key=" + h.keyOf(id), "Adit-Request": id}
}

// keyOf opens the answer to a request: 128 bits that follow from the id for this hub alone, so that repeats are told the same.
func (h *Hooks) keyOf(id string) string {
	return base64.RawURLEncoding.EncodeToString(h.Sealer.MAC("answer to hook request", id)[:16])
}

// again answers a repeat as the first was. One whose first failed is done anew; what keep failed with otherwise is passed on.
func (v *visit) again(ctx context.Context, id string, err error) (Answer, error) {
	if came, ok := errors.AsType[*repeated](err); ok {
		id, err = came.id, nil
	}
	if err != nil {
		return Answer{}, err
	}
	err = v.Store.WriteTogether(ctx, func(q *store.Queries) error { return q.CountHookRepeat(ctx, id) })
	if err != nil {
		return Answer{}, fmt.Errorf("count repeat: %w", err)
	}
	a, err := v.asFirst(ctx, id)
	if a.Header == nil {
		a.Header = map[string]string{}
	}
	a.Header[headerDuplicate] = "true"
	if r, ok := errors.AsType[*Refusal](err); ok && r.Header != nil {
		r.Header[headerDuplicate] = "true"
	}
	return a, err
}

// asFirst is what a repeat gets: 202, or where its sender waits the answer.
func (v *visit) asFirst(ctx context.Context, id string) (Answer, error) {
	row, err := v.Store.Read().GetHookRequest(ctx, id)
	switch {
	case errors.Is(err, store.ErrNotFound): // swept since
		return v.accepted(id), nil
	case err != nil:
		return Answer{}, fmt.Errorf("find repeat: %w", err)
	case row.State == stateFailed:
		_, err = v.replay(ctx, id, 0)
		if err != nil && !errors.Is(err, errWaits) && !errors.Is(err, errOnlyKept) { // another repeat was faster, or there is nothing to do any more
			return v.accepted(id), err
		}
	}
	if v.wait > 0 {
		return v.join(ctx, id)
	}
	return v.accepted(id), nil
}
