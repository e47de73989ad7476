package store_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/aditdev/adit/internal/store"
)

func put(ctx context.Context, name string) func(*store.Queries) error {
	return func(q *store.Queries) error { return q.PutSetting(ctx, store.PutSettingParams{Name: name, Value: "1"}) }
}

// What fails within a shared transaction is undone alone, and who failed is told; all others are on disk when they return.
func TestWriteTogether(t *testing.T) {
	t.Parallel()
	st := open(t, t.TempDir())
	failed := errors.New("this one")
	var writers sync.WaitGroup
	for i := range 300 {
		writers.Go(func() {
			name := fmt.Sprintf("setting %d", i)
			err := st.WriteTogether(t.Context(), func(q *store.Queries) error {
				if err := put(t.Context(), name)(q); err != nil {
					return err
				}
				if i%3 == 0 {
					return failed
				}
				return nil
			})
			if (i%3 == 0) != errors.Is(err, failed) || i%3 != 0 && err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if _, err := st.Read().GetSetting(t.Context(), name); (i%3 == 0) != errors.Is(err, store.ErrNotFound) {
				t.Errorf("%s, read: %v", name, err)
			}
		})
	}
	writers.Wait()
}

func TestWriteTogetherOnAClosedStore(t *testing.T) {
	t.Parallel()
	st, err := store.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second shows that the first has handed over
		if err := st.WriteTogether(t.Context(), put(t.Context(), "x")); err == nil {
			t.Error("written to a closed store")
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := open(t, t.TempDir()).WriteTogether(ended, put(t.Context(), "x")); !errors.Is(err, context.Canceled) {
		t.Errorf("after the context's end: %v", err)
	}
}

// Both write what comes from 64 goroutines.
func BenchmarkWrite(b *testing.B) {
	for name, write := range map[string]func(*store.Store, context.Context, func(*store.Queries) error) error{
		"alone": (*store.Store).WriteQuietly, "together": (*store.Store).WriteTogether,
	} {
		b.Run(name, func(b *testing.B) {
			st, err := store.Open(b.Context(), b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			defer st.Close()
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := write(st, b.Context(), put(b.Context(), "x")); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
