package outgoing

import (
	"context"
	"database/sql"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/storetest"
	"github.com/aditdev/adit/internal/webhook/sign"
)

// seldom is an Outbox that must know what is due without looking.
func seldom(o *Options) { o.Poll = time.Hour }

// queue queues messages that no dispatcher is told of: another hub's, or those of one that was killed.
func (r *rig) queue(n int) {
	r.t.Helper()
	list := make([]messaging.Received, n)
	for i := range list {
		list[i] = message("t/"+strconv.Itoa(i), "x")
	}
	must(r.t, r.Store.WriteQuietly(context.Background(), func(q *store.Queries) error { return r.Take(context.Background(), q, list) }))
}

// holding is a receiver that answers nobody until so many ask at once.
func holding(t *testing.T, together int) *receiver {
	var there atomic.Int64
	all := make(chan struct{})
	return newReceiver(t, func(_ http.ResponseWriter, q *http.Request) {
		if there.Add(1) == int64(together) {
			close(all)
		}
		select {
		case <-all:
		case <-q.Context().Done():
		}
	})
}

// A queue that is there when the hub begins, or when its endpoint goes on, is worked on with all that the endpoint may have at once.
func TestBacklogBeginsAtOnce(t *testing.T) {
	t.Parallel()
	topics := func(s *Spec) { s.Topics = &[]string{"#"} } // 8 at once
	t.Run("start", func(t *testing.T) {
		t.Parallel()
		to, dir := holding(t, 8), storetest.Dir(t)
		feed := stillRig(t, dir)
		feed.endpoint(to.URL, topics)
		feed.queue(20)
		openRig(t, dir, seldom)
		to.await(t, 20)
	})
	t.Run("resumed", func(t *testing.T) {
		t.Parallel()
		to, r := holding(t, 8), newRig(t, seldom)
		e := r.endpoint(to.URL, topics)
		for _, state := range []string{StatePaused, StateActive} {
			_, err := r.Change(t.Context(), somebody, e.ID, Spec{State: &state})
			must(t, err)
			if state == StatePaused {
				r.queue(20)
			}
		}
		to.await(t, 20)
	})
}

// An endpoint that has used up its rate goes on when it has some again, and not when somebody looks.
func TestBacklogGoesOnByItsRate(t *testing.T) {
	t.Parallel()
	to, dir := newReceiver(t, nil), storetest.Dir(t)
	feed := stillRig(t, dir)
	feed.endpoint(to.URL, func(s *Spec) { s.Topics, s.Rate = &[]string{"#"}, ptr(20.0) })
	feed.queue(60) // 40 of them at once
	openRig(t, dir, seldom)
	to.await(t, 60)
}

// What the broker holds and cannot write counts in the queue until it is written, however often the database is asked; what it lets go does not.
func TestRoomWhileTheDiskIsBusy(t *testing.T) {
	t.Parallel()
	r := stillRig(t, storetest.Dir(t), func(o *Options) { o.Limits.Waiting = 10 })
	r.endpoint("http://127.0.0.1:1/", func(s *Spec) { s.Topics, s.Name = &[]string{"#"}, ptr("all") })
	r.endpoint("http://127.0.0.1:1/", func(s *Spec) { s.Topics, s.Name = &[]string{"t"}, ptr("one") })
	var held []messaging.Received
	take := func() {
		for range 30 {
			if m := message("t", "x"); second(r.Wants(m)) {
				held = append(held, m)
			}
			must(t, r.findDue(t.Context())) // each second
		}
	}
	take()
	if len(held) != 10 {
		t.Fatalf("%d taken where 10 may wait", len(held))
	}
	r.Left(held[:4])
	must(t, r.Store.WriteQuietly(t.Context(), func(q *store.Queries) error { return r.Take(t.Context(), q, held[4:]) }))
	r.Taken(held[4:])
	held = nil
	if take(); len(held) != 4 {
		t.Errorf("%d taken where there is room for 4", len(held))
	}
	r.Left(held)
	if r.held != (figures{}) {
		t.Errorf("%+v are held yet", r.held)
	}
}

func second(_, b bool) bool { return b }

// While the database takes nothing, an endpoint with a queue is tried again with the next look, and not at once, over and over.
func TestFailingDatabaseIsNotAskedAtOnce(t *testing.T) {
	t.Parallel()
	to, dir := newReceiver(t, nil), storetest.Dir(t)
	r := stillRig(t, dir, seldom)
	r.endpoint(to.URL, func(s *Spec) { s.Topics = &[]string{"#"} })
	r.queue(3)
	db, err := sql.Open("sqlite", filepath.Join(dir, store.File))
	must(t, err)
	defer func() { must(t, db.Close()) }()
	_, err = db.ExecContext(t.Context(), "CREATE TRIGGER full BEFORE UPDATE ON hook_deliveries BEGIN SELECT RAISE(ABORT, 'full'); END")
	must(t, err)
	r.look(t.Context())
	for len(r.wake) > 0 {
		<-r.wake
	}
	r.begin(t.Context(), t.Context())
	r.working.Wait()
	if len(r.wake) > 0 {
		t.Error("it is tried again at once")
	}
	_, err = db.ExecContext(t.Context(), "DROP TRIGGER full")
	must(t, err)
	r.look(t.Context())
	r.begin(t.Context(), t.Context())
	r.working.Wait()
	to.await(t, 3)
}

// Once a change is written, the next attempt goes to the new URL and is signed by the new secret alone, also where the worker does not know of it yet.
func TestChangeHoldsForTheNextAttempt(t *testing.T) {
	t.Parallel()
	old, to, dir := newReceiver(t, nil), newReceiver(t, nil), storetest.Dir(t)
	r, elsewhere := stillRig(t, dir), stillRig(t, dir)
	e := r.endpoint(old.URL, func(s *Spec) { s.Topics = &[]string{"#"} })
	r.publish(message("t", "1"))
	_, err := elsewhere.Change(t.Context(), somebody, e.ID, Spec{URL: &to.URL})
	must(t, err)
	_, text, err := elsewhere.Rotate(t.Context(), somebody, e.ID, "", new(time.Duration))
	must(t, err)
	l := r.lines[e.ID]
	l.working = 1
	r.work(t.Context(), t.Context(), e.ID, l)
	r.client.CloseIdleConnections()
	if n := len(old.all()); n > 0 {
		t.Fatalf("%d went to the old URL", n)
	}
	key, err := sign.ParseSecret(text)
	must(t, err)
	got := to.await(t, 1)[0]
	must(t, sign.Verify([]sign.Secret{key}, got.header, []byte(got.body), time.Now(), 5*time.Minute))
	if signatures := strings.Fields(got.header.Get("webhook-signature")); len(signatures) != 1 {
		t.Errorf("signed by %d secrets", len(signatures))
	}
}

// Events that come together are delivered side by side, as far as the endpoint lets them, and not by the one worker that the first of them began.
func TestEventsTogetherAreSentTogether(t *testing.T) {
	t.Parallel()
	to, r := holding(t, 8), newRig(t, seldom)
	r.endpoint(to.URL, func(s *Spec) { s.Events = &[]string{"install.*"} }) // 8 at once
	must(t, r.Store.WriteTogether(t.Context(), func(q *store.Queries) error {
		for i := range 8 {
			if err := r.Events.Write(t.Context(), q, events.Event{Type: events.InstallStep, Data: events.Data{"n": i}}); err != nil {
				return err
			}
		}
		return nil
	}))
	to.await(t, 8)
}
