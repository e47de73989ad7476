package incoming

import (
	"bytes"
	"compress/gzip"
	"errors"
	"testing"

	"github.com/aditdev/adit/internal/storetest"
	"github.com/aditdev/adit/internal/wire"
)

// A small body may be a large one compressed. What it becomes in memory counts as what comes does.
func TestDecompressedBodiesAreBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t, storetest.Dir(t))
	s := r.publishing(func(s *Settings) {
		s.MaxBytes = MaxBytes
		s.Transform = &Transform{Kind: "jq", Text: `"x"`}
	})
	var bomb bytes.Buffer
	zip := gzip.NewWriter(&bomb)
	_, err := zip.Write(bytes.Repeat([]byte(" "), 20<<20))
	if err := errors.Join(err, zip.Close()); err != nil {
		t.Fatal(err)
	}
	if err := r.budget.Acquire(t.Context(), maxInMemory-10<<20); err != nil {
		t.Fatal(err)
	}
	if _, err = r.send(s, bomb.String(), "Content-Encoding", "gzip"); wire.CodeOf(err) != wire.RateLimited {
		t.Errorf("20 MiB where 10 are left: %v", err)
	}
	r.budget.Release(maxInMemory - 10<<20)
	if !r.budget.TryAcquire(maxInMemory) {
		t.Error("memory was not given back")
	}
}
