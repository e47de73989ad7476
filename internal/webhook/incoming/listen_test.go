package incoming

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/aditdev/adit/internal/storetest"
)

// Of large requests one is in memory, however many listen and are slow; they had eight each. The door stays open, and all get all in the end.
func TestSlowListenersMemory(t *testing.T) {
	t.Parallel()
	r := newRig(t, storetest.Dir(t))
	s := r.publishing(func(s *Settings) { s.Action = Action{Kind: ActionStore}; s.MaxBytes = MaxBytes })
	const requests, listeners = 3, 4
	for range requests {
		if _, err := r.send(s, strings.Repeat("x", listenMemory/listenCopies)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var inHand, told atomic.Int64
	read := make(chan struct{})
	var listening errgroup.Group
	for range listeners {
		_, seq, err := r.Listen(ctx, s.ID, 0)
		if err != nil {
			t.Fatal(err)
		}
		listening.Go(func() error {
			for d, err := range seq {
				if err != nil {
					return err
				}
				if n := inHand.Add(1); n > 1 && len(d.Body) > 1 {
					t.Errorf("%d are in hand at once, a large one among them", n)
				}
				<-read
				inHand.Add(-1)
				told.Add(1)
			}
			return nil
		})
	}
	r.until("one reads", func() bool { return inHand.Load() > 0 })
	if _, err := r.send(s, "x"); err != nil {
		t.Errorf("the door is shut: %v", err)
	}
	if r.listening.TryAcquire(1) {
		t.Error("there is room for another beside a large one")
		r.listening.Release(1)
	}
	close(read)
	r.until("all have all", func() bool { return told.Load() == listeners*(requests+1) })
	cancel()
	if err := listening.Wait(); err != nil {
		t.Error(err)
	}
	if !r.listening.TryAcquire(listenMemory) {
		t.Error("memory was not given back")
	}
}
