package incoming

import (
	"context"
	"crypto/hmac"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/webhook/header"
	"github.com/aditdev/adit/internal/wire"
)

// Entry is a request as people see it.
type Entry struct {
	Number                   int64
	ID, SourceID             string
	SourceSlug, SourceName   string // the slug as ***, where it is the secret
	At                       time.Time
	Method, Path, Address    string
	ContentType, Key, State  string
	Bytes, Repeats, Attempts int64
	NextAt                   *time.Time // of one that waits and is not worked on
	Error, Topic, DeviceID   string
	Status, ExitCode, TookMS *int64
}

// Detail is an Entry with all that was kept.
type Detail struct {
	Entry
	Headers       []Header
	Body, Payload []byte
	Answer        *Reply
}

// Reply is what was answered.
type Reply struct {
	Status      int
	ContentType string
	Body        []byte
	ExitCode    *int
}

func (h *Hooks) entry(r store.ListHookRequestsRow) Entry {
	e := Entry{Number: r.Number, ID: r.ID, SourceID: r.SourceID, At: store.Time(r.At), Method: r.Method, Path: r.Path, Address: r.Address,
		ContentType: r.ContentType, Key: r.Key, State: r.State, Bytes: r.Bytes, Repeats: r.Repeats, Attempts: r.Attempts, Error: r.Error,
		Topic: r.Topic, DeviceID: r.DeviceID, Status: r.Status, ExitCode: r.ExitCode, TookMS: r.TookMs}
	if s := h.source(r.SourceID); s != nil {
		e.SourceSlug, e.SourceName = s.Slug, s.Name
		if s.Verify.Kind == VerifyNone { // whoever knows it can send
			e.SourceSlug = header.Masked
		}
	}
	if r.State == stateWaiting && r.Owner == "" {
		e.NextAt = new(store.Time(r.NextAt))
	}
	return e
}

// Request gives one with all that was kept, or fails with wire.NotFound.
func (h *Hooks) Request(ctx context.Context, id string) (Detail, error) {
	row, err := h.row(ctx, id)
	if err != nil {
		return Detail{}, err
	}
	return h.detail(row), nil
}

var errNoRequest = wire.Errorf(wire.NotFound, "There is no such request, or it was removed since.")

func (h *Hooks) row(ctx context.Context, id string) (store.HookRequest, error) {
	row, err := h.Store.Read().GetHookRequest(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return row, errNoRequest
	}
	if err != nil {
		return row, fmt.Errorf("find request: %w", err)
	}
	return row, nil
}

func (h *Hooks) detail(r store.HookRequest) Detail {
	d := Detail{Body: r.Body, Payload: r.Payload, Entry: h.entry(store.ListHookRequestsRow{Number: r.Number, ID: r.ID, SourceID: r.SourceID, At: r.At,
		Method: r.Method, Path: r.Path, Address: r.Address, ContentType: r.ContentType, Bytes: r.Bytes, Key: r.Key, Repeats: r.Repeats, State: r.State,
		Attempts: r.Attempts, NextAt: r.NextAt, Owner: r.Owner, Error: r.Error, Topic: r.Topic, DeviceID: r.DeviceID, Status: r.Status, ExitCode: r.ExitCode, TookMs: r.TookMs})}
	if json.Unmarshal([]byte(r.Headers), &d.Headers) != nil {
		d.Headers = nil
	}
	if r.Status != nil {
		d.Answer = &Reply{Status: int(*r.Status), ContentType: r.AnswerType, Body: r.Answer}
		if r.ExitCode != nil {
			d.Answer.ExitCode = new(int(*r.ExitCode))
		}
	}
	return d
}

// Answered gives the answer to a request whose sender waited too short, to whoever has the key that stood in its Location: 202 while there is
// none. Another key is not_found, as is a request that does not exist.
func (h *Hooks) Answered(ctx context.Context, id, key string) (Answer, error) {
	if !hmac.Equal([]byte(key), []byte(h.keyOf(id))) {
		return Answer{}, errNoRequest
	}
	row, err := h.row(ctx, id)
	switch {
	case err != nil:
		return Answer{}, err
	case row.Status != nil:
		return h.answerOf(row), nil
	case row.State == stateFailed:
		return Answer{}, &Refusal{Cause: wire.Errorf(wire.Conflict, "%s", row.Error), Status: http.StatusBadGateway}
	}
	return h.accepted(id), nil
}

// Why Replay does nothing, both wire.Conflict.
var (
	errWaits    = wire.Errorf(wire.Conflict, "It waits to be done already.")
	errOnlyKept = wire.Errorf(wire.Conflict, "Its source only keeps requests: there is nothing to do again.")
)

// Replay does anew what the source does with a request, as the source is now, under the same id; a command runs again. Errors: not_found, conflict
// where it waits still, and those of Receive for what its transform makes of it.
func (h *Hooks) Replay(ctx context.Context, id string) (Entry, error) { return h.replay(ctx, id, 1) }

// replay is Replay for a person where anew is 1. For a sender that repeats it is 0: what the device has run already it does not run again.
func (h *Hooks) replay(ctx context.Context, id string, anew int64) (Entry, error) {
	row, err := h.row(ctx, id)
	if err != nil {
		return Entry{}, err
	}
	s := h.source(row.SourceID)
	if s == nil {
		return Entry{}, wire.Errorf(wire.NotFound, "Its source was removed.")
	}
	p, err := h.plan(ctx, s, subjectOf(row))
	if err != nil {
		return Entry{}, err
	}
	p.Hops = hopsIn(row)
	change := store.ReplayHookRequestParams{ID: id, NextAt: h.millis(), Topic: p.topic, DeviceID: p.device, Plan: p.text(), Payload: p.payload, Anew: anew}
	change.More = int64(len(change.Plan) + len(change.Payload))
	if s.ExpiresSeconds > 0 {
		change.ExpiresAt = new(store.Millis(h.Now().Add(time.Duration(s.ExpiresSeconds) * time.Second)))
	}
	if p.Kind == ActionStore {
		ref := s.Slug
		if s.Verify.Kind == VerifyNone { // it is the secret
			ref = s.ID
		}
		return Entry{}, wire.Wrap(errOnlyKept, wire.Conflict,
			"Its source only keeps requests: there is nothing to do again. To get it again, listen: `adit hook listen %s --since %s --once --forward URL`.", ref, id)
	}
	n := int64(0)
	err = h.Store.WriteTogether(ctx, func(q *store.Queries) (err error) {
		n, err = q.ReplayHookRequest(ctx, change)
		return err
	})
	switch {
	case err != nil:
		return Entry{}, fmt.Errorf("replay request: %w", err)
	case n == 0:
		return Entry{}, errWaits
	}
	h.rouse()
	d, err := h.Request(ctx, id)
	return d.Entry, err
}

// hopsIn is how many hubs a kept request had passed.
func hopsIn(row store.HookRequest) int {
	var was plan
	_ = json.Unmarshal([]byte(row.Plan), &was) // the hub's own
	return was.Hops
}

// subjectOf is a kept request as transforms see it.
func subjectOf(row store.HookRequest) *subject {
	r := &subject{ID: row.ID, Source: row.SourceID, Method: row.Method, ContentType: row.ContentType, Body: row.Body}
	path, query, _ := strings.Cut(row.Path, "?")
	r.Path = path
	r.Query, _ = url.ParseQuery(query) // as far as it can be read, as at the door
	_ = json.Unmarshal([]byte(row.Headers), &r.Headers)
	for _, field := range r.Headers {
		if strings.EqualFold(field.Name, "Content-Encoding") {
			r.Encoding = field.Value
		}
	}
	return r
}

// GiveAnswer is that of whoever listens to a source that only keeps requests. Errors: not_found, invalid, conflict.
func (h *Hooks) GiveAnswer(ctx context.Context, id string, r Reply) error {
	row, err := h.row(ctx, id)
	if err != nil {
		return err
	}
	if s := h.source(row.SourceID); s == nil || s.Action.Kind != ActionStore {
		return wire.Errorf(wire.Conflict, "A device answers this request, nobody else.")
	}
	if r.Status < 200 || r.Status > 599 {
		return invalidField("status", "A status is 200 to 599.")
	}
	r.ContentType = cleanType(r.ContentType)
	return h.keepAnswer(ctx, id, store.Time(row.At), &r)
}
