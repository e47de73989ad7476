package incoming

import (
	"bytes"
	"compress/gzip"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/aditdev/adit/internal/storetest"
	"github.com/aditdev/adit/internal/wire"
)

func zipped(t *testing.T, parts ...[]byte) string {
	t.Helper()
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	for _, part := range parts {
		if _, err := zip.Write(part); err != nil {
			t.Fatal(err)
		}
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// A small body may be a large one compressed. What it becomes in memory counts as what comes does.
func TestDecompressedBodiesAreBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t, storetest.Dir(t))
	s := r.publishing(func(s *Settings) {
		s.MaxBytes = MaxBytes
		s.Transform = &Transform{Kind: "jq", Text: `"x"`}
	})
	bomb := zipped(t, bytes.Repeat([]byte(" "), 20<<20))
	if err := r.budget.Acquire(t.Context(), maxInMemory-10<<20); err != nil {
		t.Fatal(err)
	}
	if _, err := r.send(s, bomb, "Content-Encoding", "gzip"); wire.CodeOf(err) != wire.RateLimited {
		t.Errorf("20 MiB where 10 are left: %v", err)
	}
	r.budget.Release(maxInMemory - 10<<20)
	if !r.budget.TryAcquire(maxInMemory) {
		t.Error("memory was not given back")
	}
}

// A body that is too large for a transform is said to be that. On an idle hub it was told to come again, for ever.
func TestTooLargeForTransform(t *testing.T) {
	t.Parallel()
	r := newRig(t, storetest.Dir(t))
	s := r.publishing(func(s *Settings) {
		s.MaxBytes = MaxBytes
		s.Transform = &Transform{Kind: "jq", Text: "."}
	})
	for _, mib := range []int{3, 12, 24} {
		if _, err := r.send(s, `"`+strings.Repeat("x", mib<<20)+`"`); wire.CodeOf(err) != wire.TooLarge {
			t.Errorf("%d MiB: %v", mib, err)
		}
	}
	noise := make([]byte, 5<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
	if _, err := r.send(s, zipped(t, noise, make([]byte, 20<<20)), "Content-Encoding", "gzip"); wire.CodeOf(err) != wire.TooLarge {
		t.Errorf("5 MiB that become 25: %v", err)
	}
	if !r.budget.TryAcquire(maxInMemory) {
		t.Error("memory was not given back")
	}
}
