package incoming

import (
	"errors"
	"fmt"
	"testing"

	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/storetest"
	"github.com/aditdev/adit/internal/wire"
)

// fill keeps n requests of a source, in one transaction.
func (r *rig) fill(s Source, n int) {
	r.t.Helper()
	r.fillFrom(s, 0, n)
}

// fillFrom is fill, where there are some.
func (r *rig) fillFrom(s Source, first, n int) {
	r.t.Helper()
	err := r.store.WriteQuietly(r.t.Context(), func(q *store.Queries) error {
		for i := range n {
			id := fmt.Sprintf("req_%d", first+i)
			_, err := q.SeeHookKey(r.t.Context(), store.SeeHookKeyParams{SourceID: s.ID, Key: id, RequestID: id, At: r.millis(), ExpiresAt: r.millis() + 1e6})
			if err := errors.Join(err, q.AcceptHookRequest(r.t.Context(), store.AcceptHookRequestParams{ID: id, SourceID: s.ID, At: r.millis(), State: stateDone,
				Plan: "{}", Headers: "[]", Body: []byte{}})); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// A source with very many requests does not go in one transaction, for which everybody else would wait: some are gone while it is
// there still, and takes nothing.
func TestSourceIsRemovedBitByBit(t *testing.T) {
	t.Parallel()
	r := newRig(t, storetest.Dir(t))
	s := r.publishing(nil)
	const many = 20 * sweepAtOnce
	r.fill(s, many)
	removed := make(chan error, 1)
	go func() { removed <- r.Remove(t.Context(), "", s.ID) }()
	between := false
	for done := false; !done; {
		f, err := r.store.Read().HookRequestFigures(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		between = between || f.Count > 0 && f.Count < many
		select {
		case err := <-removed:
			if done = true; err != nil {
				t.Fatal(err)
			}
		default:
		}
	}
	if !between {
		t.Error("all requests went at once")
	}
	if _, err := r.send(s, "x"); wire.CodeOf(err) != wire.NotFound {
		t.Errorf("a removed source: %v", err)
	}
	if _, err := r.Source(t.Context(), s.ID); wire.CodeOf(err) != wire.NotFound {
		t.Errorf("it is there: %v", err)
	}
}
