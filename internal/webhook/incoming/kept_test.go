package incoming

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/storetest"
	"github.com/aditdev/adit/internal/wire"
)

// bytes is how many bytes are kept of all requests.
func (r *rig) bytes() int64 {
	r.t.Helper()
	f, err := r.store.Read().HookRequestFigures(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return f.Bytes
}

// What counts is what a request takes of the disk: small bodies of which a transform makes much, long answers and headers, and not the bodies alone.
func TestAllThatIsKeptCounts(t *testing.T) {
	t.Parallel()
	r := newRig(t, storetest.Dir(t))
	r.Transforms = transforms(func() []byte { return bytes.Repeat([]byte("y"), 500_000) })
	r.run()
	s := r.publishing(func(s *Settings) { s.Transform = &Transform{Kind: "jq", Text: "."} })
	if _, err := r.send(s, "x", "X-Long", strings.Repeat("z", 10_000)); err != nil {
		t.Fatal(err)
	}
	r.until("it is done", func() bool { return r.only().State == stateDone })
	about := func(want int64) {
		t.Helper()
		if n := r.bytes(); n < want || n > want+1000 {
			t.Errorf("%d bytes count, want %d", n, want)
		}
	}
	about(510_000)
	id := r.only().ID
	if err := r.keepAnswer(t.Context(), id, r.now(), &Reply{Status: http.StatusOK, Body: bytes.Repeat([]byte("a"), 300_000)}); err != nil {
		t.Fatal(err)
	}
	about(810_000)
	r.Transforms = transforms(func() []byte { return bytes.Repeat([]byte("y"), 100_000) })
	if _, err := r.Replay(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	about(110_000)
	r.until("it is done again", func() bool { return r.only().State == stateDone })
	if left, err := r.surplus(t.Context(), events.Retention{MaxBytes: 100_000, MaxMessages: 100}); err != nil || left != 1 {
		t.Errorf("%d are too many, %v", left, err)
	}
}

// The door closes also where few wait that are large, and opens where they are done.
func TestDoorClosesByWaitingBytes(t *testing.T) {
	t.Parallel()
	r := newRig(t, storetest.Dir(t))
	s := r.publishing(nil)
	for i := range 2 {
		err := r.store.Write(t.Context(), func(q *store.Queries) error {
			return q.AcceptHookRequest(t.Context(), store.AcceptHookRequestParams{ID: fmt.Sprintf("req_%d", i), SourceID: s.ID, At: r.millis(), State: stateWaiting,
				Plan: "{}", Headers: "[]", Body: []byte{}, Kept: maxQueuedBytes / 2})
		})
		if err := errors.Join(err, r.Sweep(t.Context())); err != nil {
			t.Fatal(err)
		}
		if _, err := r.send(s, "x"); (wire.CodeOf(err) == wire.RateLimited) != (i == 1) {
			t.Errorf("with %d of 2: %v", i+1, err)
		}
	}
}

// What has come since the last count is not left to the next minute's where it is much.
func TestMuchIsCountedAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, storetest.Dir(t))
	r.grown(countAgain - 1)
	if len(r.count) > 0 {
		t.Error("too early")
	}
	r.grown(1)
	r.run()
	r.until("it is counted", func() bool { return len(r.count) == 0 })
}
