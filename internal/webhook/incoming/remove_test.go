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
func (b *bench) fill(s Source, n int) {
	b.t.Helper()
	b.fillFrom(s, 0, n)
}

// fillFrom is fill, where there are some.
func (b *bench) fillFrom(s Source, first, n int) {
	b.t.Helper()
	err := b.store.WriteQuietly(b.t.Context(), func(q *store.Queries) error {
		for i := range n {
			id := fmt.Sprintf("req_%d", first+i)
			_, err := q.SeeHookKey(b.t.Context(), store.SeeHookKeyParams{SourceID: s.ID, Key: id, RequestID: id, At: b.millis(), ExpiresAt: b.millis() + 1e6})
			if err := errors.Join(err, q.AcceptHookRequest(b.t.Context(), store.AcceptHookRequestParams{ID: id, SourceID: s.ID, At: b.millis(), State: stateDone,
				Plan: "{}", Headers: "[]", Body: []byte{}})); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

// A source with very many requests does not go in one transaction, for which everybody else would wait: some are gone while it is
// there still, and takes nothing.
func TestSourceIsRemovedBitByBit(t *testing.T) {
	t.Parallel()
	b := newBench(t, storetest.Dir(t))
	s := b.publishing(nil)
	const many = 20 * sweepAtOnce
	b.fill(s, many)
	removed := make(chan error, 1)
	go func() { removed <- b.Remove(t.Context(), "", s.ID) }()
	between := false
	for done := false; !done; {
		f, err := b.store.Read().HookRequestFigures(t.Context())
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
	if _, err := b.send(s, "x"); wire.CodeOf(err) != wire.NotFound {
		t.Errorf("a removed source: %v", err)
	}
	if _, err := b.Source(t.Context(), s.ID); wire.CodeOf(err) != wire.NotFound {
		t.Errorf("it is there: %v", err)
	}
}
