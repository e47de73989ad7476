package ring_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/aditdev/adit/internal/ring"
)

func TestRingHoldsTheNewestBytes(t *testing.T) {
	t.Parallel()
	for _, first := range []int64{0, 7, 1 << 40} {
		random := rand.New(rand.NewPCG(1, uint64(first)))
		const limit = 10_000
		r := ring.New(limit, first)
		var all []byte
		for range 300 {
			p := make([]byte, random.IntN(3*limit/2)*random.IntN(2)+random.IntN(100))
			for i := range p {
				p[i] = byte(random.Uint32())
			}
			all = append(all, p...)
			if n, err := r.Write(p); n != len(p) || err != nil {
				t.Fatalf("Write of %d = %d, %v", len(p), n, err)
			}
			want := all[max(0, len(all)-limit):]
			if r.Next() != first+int64(len(all)) || r.Next()-r.Oldest() != int64(len(want)) {
				t.Fatalf("holds %d to %d, want %d bytes up to %d", r.Oldest(), r.Next(), len(want), len(all))
			}
			got := make([]byte, limit+1)
			if n := r.Read(got, r.Oldest()); !bytes.Equal(got[:n], want) {
				t.Fatalf("content differs after %d bytes", len(all))
			}
			if len(want) > 3 {
				at := random.IntN(len(want))
				if n := r.Read(got[:3], r.Oldest()+int64(at)); !bytes.Equal(got[:n], want[at:min(at+3, len(want))]) {
					t.Fatalf("3 bytes at %d differ", at)
				}
			}
		}
	}
}

func TestReadOutsideTheRingGivesNothing(t *testing.T) {
	t.Parallel()
	r := ring.New(4, 0)
	_, _ = r.Write([]byte("abcdef"))
	p := make([]byte, 8)
	for _, from := range []int64{-1, 0, 1, 6, 99} {
		if n := r.Read(p, from); n != 0 {
			t.Errorf("Read from %d gave %d bytes", from, n)
		}
	}
	if n := r.Read(p, 3); string(p[:n]) != "def" {
		t.Errorf("Read from 3 = %q", p[:n])
	}
}
