package incoming

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/storetest"
)

// bytes is how many bytes are kept of all requests.
func (b *bench) bytes() int64 {
	b.t.Helper()
	f, err := b.store.Read().HookRequestFigures(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	return f.Bytes
}

// What counts is what a request takes of the disk: small bodies of which a transform makes much, long answers and headers, and not the bodies alone.
func TestAllThatIsKeptCounts(t *testing.T) {
	t.Parallel()
	b := newBench(t, storetest.Dir(t))
	b.Transforms = transforms(func() []byte { return bytes.Repeat([]byte("y"), 500_000) })
	b.run()
	s := b.publishing(func(s *Settings) { s.Transform = &Transform{Kind: "jq", Text: "."} })
	if _, err := b.send(s, "x", "X-Long", strings.Repeat("z", 10_000)); err != nil {
		t.Fatal(err)
	}
	b.until("it is done", func() bool { return b.only().State == stateDone })
	about := func(want int64) {
		t.Helper()
		if n := b.bytes(); n < want || n > want+1000 {
			t.Errorf("%d bytes count, want %d", n, want)
		}
	}
	about(510_000)
	id := b.only().ID
	if err := b.answered(t.Context(), id, b.now(), &answer{Status: http.StatusOK, Body: bytes.Repeat([]byte("a"), 300_000)}); err != nil {
		t.Fatal(err)
	}
	about(810_000)
	b.Transforms = transforms(func() []byte { return bytes.Repeat([]byte("y"), 100_000) })
	if _, err := b.Replay(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	about(110_000)
	b.until("it is done again", func() bool { return b.only().State == stateDone })
	if left, err := b.surplus(t.Context(), events.Retention{MaxBytes: 100_000, MaxMessages: 100}); err != nil || left != 1 {
		t.Errorf("%d are too many, %v", left, err)
	}
}
