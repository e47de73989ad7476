package events_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/storetest"
	"github.com/aditdev/adit/internal/wire"
)

// queued gives a queue on a clock, and what it has written so far.
func queued(t *testing.T) (*events.Queue, *clock, *store.Store, func() []events.Event) {
	t.Helper()
	st, err := store.Open(t.Context(), storetest.Dir(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	c := &clock{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	log := events.New(st, c.now)
	q := events.NewQueue(log, slog.New(slog.DiscardHandler))
	return q, c, st, func() []events.Event {
		q.Flush(t.Context())
		list, _, err := log.Page(t.Context(), events.Filter{}, 0, 500)
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
}

var kitchen = events.Stream{Number: 7, Device: "dev_a", User: "usr_a", Target: "ssh", Via: "cli", From: "192.0.2.7", Login: "pi"}

func TestStreamEvents(t *testing.T) {
	t.Parallel()
	q, c, _, written := queued(t)
	closed := q.Opened(kitchen)
	began := c.at
	c.at = c.at.Add(1500 * time.Millisecond)
	closed(10, 20, nil)
	q.Opened(kitchen)(0, 0, wire.Errorf(wire.Forbidden, "Access was withdrawn."))
	q.Opened(kitchen)(0, 0, errors.New("read tcp 10.0.0.1: secret"))
	q.Opened(kitchen)(0, 0, fmt.Errorf("read: %w", io.EOF))
	list := written()
	if len(list) != 8 || list[7].Type != events.StreamOpened || list[6].Type != events.StreamClosed || !list[7].At.Equal(began) ||
		list[6].Device != "dev_a" || list[6].User != "usr_a" {
		t.Fatalf("%+v", list)
	}
	want := "map[address:192.0.2.7 bytes_in:10 bytes_out:20 login:pi seconds:1.5 stream:7 target:ssh via:cli]"
	if got := fmt.Sprint(list[6].Data); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for i, want := range map[int]any{4: "Access was withdrawn.", 2: "The connection was lost.", 0: nil} {
		if got := list[i].Data["cause"]; got != want {
			t.Errorf("cause %v, want %v", got, want)
		}
	}
}

// A port that is scanned does not fill the log: what is alike is summed, and nothing of it is lost in the sums.
func TestManyStreamsAreSummed(t *testing.T) {
	t.Parallel()
	q, c, _, written := queued(t)
	other := kitchen
	other.User = "usr_b"
	for range 1000 {
		q.Opened(kitchen)(3, 4, nil)
	}
	q.Opened(other)(1, 1, nil)
	list := written()
	kinds, in := map[string]int{}, 0.0
	for _, e := range list {
		kinds[e.Type+" "+e.User]++
		if n, ok := e.Data["bytes_in"].(float64); ok && e.User == "usr_a" {
			in += n
		}
	}
	if kinds["stream.closed usr_a"] != 60 || kinds["stream.summed usr_a"] != 1 || kinds["stream.closed usr_b"] != 1 || in != 3000 {
		t.Errorf("%v, %v bytes", kinds, in)
	}
	if sum := list[0]; sum.Data["count"] != 940.0 || sum.Data["target"] != "ssh" || sum.Data["address"] != nil {
		t.Errorf("%+v", sum)
	}
	c.at = c.at.Add(time.Hour)
	q.Opened(kitchen)(3, 4, nil)
	if list := written(); list[0].Type != events.StreamClosed {
		t.Errorf("an hour later %+v", list[0])
	}
}

// counted is how many events there are, and how many refusals they stand for.
func counted(list []events.Event) (n int, refused float64) {
	for _, e := range list {
		count, _ := e.Data["count"].(float64)
		n, refused = n+1, refused+count
	}
	return n, refused
}

// A flood fills no log, and yet what the log has of it adds up to all of it.
func TestRefusalsAreThinnedOut(t *testing.T) {
	t.Parallel()
	q, c, _, written := queued(t)
	for i := range 50 {
		q.Refused("192.0.2.0/24", events.Event{Type: events.SSHRefused, Data: events.Data{"name": fmt.Sprint("name", i)}})
	}
	list := written()
	if n, refused := counted(list); n != 6 || refused != 50 || list[5].Data["name"] != "name0" || list[5].Data["count"] != 1.0 {
		t.Errorf("%d events of %v refusals of one network: %v", n, refused, list)
	}
	c.at = c.at.Add(time.Minute)
	for i := range 5000 {
		q.Refused(fmt.Sprint("network", i), events.Event{Type: events.SSHRefused})
	}
	if n, refused := counted(written()); n != 6+200+1 || refused != 5050 {
		t.Errorf("%d events in all, of %v", n, refused)
	}
}

// Whoever goes on is told of once a minute, with how often; the event has what came last.
func TestRefusalsAreCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st, err := store.Open(t.Context(), storetest.Dir(t))
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		log := events.New(st, time.Now)
		q := events.NewQueue(log, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- q.Run(ctx) }()
		for i := range 600 {
			q.Refused("192.0.2.0/24", events.Event{Type: events.SSHRefused, Data: events.Data{"name": fmt.Sprint("name", i)}})
			<-time.After(time.Second)
		}
		cancel()
		<-ended
		q.Flush(t.Context())
		list, _, err := log.Page(t.Context(), events.Filter{}, 0, 500)
		if err != nil {
			t.Fatal(err)
		}
		if n, refused := counted(list); n < 14 || n > 16 || refused != 600 {
			t.Errorf("%d events of %v refusals in ten minutes", n, refused)
		}
		if one := list[3]; one.Data["count"].(float64) < 50 || one.Data["name"] == nil {
			t.Errorf("%v", one)
		}
	})
}

// Nothing waits for a disk that is busy: what is too much is counted.
func TestFullQueueDrops(t *testing.T) {
	t.Parallel()
	q, _, st, written := queued(t)
	err := st.Write(t.Context(), func(*store.Queries) error { // nobody else writes meanwhile
		for range 5000 {
			q.Add(events.Event{Type: events.StreamOpened})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if list := written(); list[0].Type != events.EventsDropped || list[0].Data["count"] != 904.0 {
		t.Errorf("%+v", list[0])
	}
}

// Run writes without being asked, and a stream of the log is woken by it.
func TestQueueWrites(t *testing.T) {
	t.Parallel()
	st, err := store.Open(t.Context(), storetest.Dir(t))
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	log := events.New(st, time.Now)
	q := events.NewQueue(log, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() { ended <- q.Run(ctx) }()
	go func() { ended <- log.Run(ctx) }()
	q.Add(events.Event{Type: events.StreamOpened})
	for e, err := range log.Stream(ctx, 0) {
		if err != nil || e.Type != events.StreamOpened {
			t.Errorf("%+v %v", e, err)
		}
		break
	}
	cancel()
	if err := errors.Join(<-ended, <-ended); err != nil {
		t.Error(err)
	}
	var none *events.Queue
	none.Add(events.Event{})
	none.Refused("", events.Event{})
	none.Opened(kitchen)(0, 0, nil)
}
