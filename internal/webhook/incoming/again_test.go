package incoming

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aditdev/adit/internal/storetest"
	"github.com/aditdev/adit/internal/webhook/transform"
	"github.com/aditdev/adit/internal/wire"
)

// transforms gives what it is given to do.
type transforms func() []byte

func (f transforms) Apply(context.Context, transform.Transform, any) ([]byte, error) { return f(), nil }

// Of two repeats of a failed request that come at the same time one has it done again; the other was told 409, of which its sender knows nothing.
func TestRepeatsOfFailedAtOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t, storetest.Dir(t))
	between := func() {}
	b.Transforms = transforms(func() []byte { f := between; between = func() {}; f(); return []byte("y") })
	s := b.publishing(func(s *Settings) { s.Transform = &Transform{Kind: "jq", Text: "."} })
	b.broker.set(wire.Errorf(wire.Forbidden, "no"))
	stop := b.run()
	if _, err := b.send(s, "x", "Idempotency-Key", "k"); err != nil {
		t.Fatal(err)
	}
	b.until("it has failed", func() bool { return b.only().State == stateFailed })
	stop()
	b.broker.set(nil)
	repeat := func() {
		a, err := b.send(s, "x", "Idempotency-Key", "k")
		if err != nil || a.Status != http.StatusAccepted || a.Header[headerDuplicate] != "true" {
			t.Errorf("%+v, %v", a, err)
		}
	}
	between = repeat // while the first works out what is to be done
	repeat()
	if e := b.only(); e.State != stateWaiting || e.Repeats != 2 {
		t.Errorf("%+v", e)
	}
}

// told is what a sender was told.
type told struct {
	Answer
	err error
}

// repeats asks again in a goroutine, and returns when that waits, or has been told something.
func (b *bench) repeats(s Source, query, key string) <-chan told {
	b.t.Helper()
	got, id := make(chan told, 1), b.only().ID
	go func() {
		a, err := b.ask(context.Background(), s, query, "x", "Idempotency-Key", key)
		got <- told{a, err}
	}()
	b.until("it waits", func() bool {
		b.awaited.mu.Lock()
		defer b.awaited.mu.Unlock()
		return len(got) > 0 || b.awaited.waiting[id] != nil && b.taken() > 0
	})
	return got
}

// taken is how many wait.
func (b *bench) taken() int {
	b.slots.mu.Lock()
	defer b.slots.mu.Unlock()
	return b.slots.taken
}

// A sender that went away, or was told 504, and asks the same again waits for the answer, for as long as it may come, and gets it. It was told 202.
func TestRepeatJoinsWhatIsAwaited(t *testing.T) {
	t.Parallel()
	b := newBench(t, storetest.Dir(t))
	s := b.publishing(nil)
	b.run()
	ctx, goAway := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() {
		_, err := b.ask(ctx, s, "wait=30s", "x", "Idempotency-Key", "k")
		gone <- err
	}()
	b.message()
	goAway()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if _, err := b.ask(context.Background(), s, "wait=1ms", "x", "Idempotency-Key", "k"); !kept(err) || err.(*Refusal).Status != http.StatusGatewayTimeout || err.(*Refusal).Header[headerDuplicate] != "true" {
		t.Errorf("in vain: %v", err)
	}
	one, other := b.repeats(s, "wait=30s", "k"), b.repeats(s, "wait=30s", "k")
	b.broker.answers("late")
	for _, got := range []told{<-one, <-other, <-b.repeats(s, "wait=30s", "k")} {
		if got.err != nil || got.Status != http.StatusOK || string(got.Body) != "late" || got.Header[headerDuplicate] != "true" {
			t.Errorf("%+v", got)
		}
	}
	if n := b.taken(); n != 0 {
		t.Errorf("%d places stay taken", n)
	}
}

// Senders of one request that all come before it is kept take a place each, and not a second one as repeats.
func TestRepeatsAtOnceTakeOnePlace(t *testing.T) {
	t.Parallel()
	b := newBench(t, storetest.Dir(t))
	var there sync.WaitGroup
	there.Add(maxWaitingOn)
	b.Transforms = transforms(func() []byte { there.Done(); there.Wait(); return []byte("y") })
	s := b.publishing(func(s *Settings) { s.Transform = &Transform{Kind: "jq", Text: "."} })
	b.run()
	got := make(chan told, maxWaitingOn)
	for range maxWaitingOn {
		go func() {
			a, err := b.ask(context.Background(), s, "wait=30s", "x", "Idempotency-Key", "k")
			got <- told{a, err}
		}()
	}
	b.message()
	b.until("all are told apart", func() bool { return b.only().Repeats == maxWaitingOn-1 })
	b.broker.answers("late")
	for range maxWaitingOn {
		if a := <-got; a.err != nil || a.Status != http.StatusOK || string(a.Body) != "late" {
			t.Errorf("%+v", a)
		}
	}
	if n := b.taken(); n != 0 {
		t.Errorf("%d places stay taken", n)
	}
}

// Nobody waits for what does not come: nobody was asked for an answer.
func TestRepeatOfWhatNobodyAnswers(t *testing.T) {
	t.Parallel()
	b := newBench(t, storetest.Dir(t))
	s := b.publishing(nil)
	b.run()
	if _, err := b.send(s, "x", "Idempotency-Key", "k"); err != nil {
		t.Fatal(err)
	}
	b.until("it is done", func() bool { return b.only().State == stateDone })
	a, err := b.ask(context.Background(), s, "wait=30s", "x", "Idempotency-Key", "k")
	if err != nil || a.Status != http.StatusAccepted || a.Header[headerDuplicate] != "true" {
		t.Errorf("%+v, %v", a, err)
	}
}

// patient is a device that runs a command when it is let.
type patient struct {
	noDevices
	let chan struct{}
}

func (patient) Find(context.Context, string) (string, string, error) { return "dev_1", "kitchen", nil }
func (patient) Online(string) bool                                   { return true }
func (s patient) Run(ctx context.Context, _ string, _ wire.Run) (wire.RunResult, error) {
	select {
	case <-s.let:
		return wire.RunResult{Stdout: []byte("done")}, nil
	case <-ctx.Done():
		return wire.RunResult{}, ctx.Err()
	}
}

// A command that runs is waited for by whoever asks for it again.
func TestRepeatJoinsCommand(t *testing.T) {
	t.Parallel()
	b := newBench(t, storetest.Dir(t))
	device := patient{let: make(chan struct{})}
	b.Devices = device
	s := b.publishing(func(s *Settings) { s.Action = Action{Kind: ActionCommand, Device: "kitchen", Command: "door"} })
	b.run()
	if _, err := b.send(s, "x", "Idempotency-Key", "k"); err != nil {
		t.Fatal(err)
	}
	waits := b.repeats(s, "wait=30s", "k")
	close(device.let)
	if got := <-waits; got.err != nil || got.Status != http.StatusOK || got.Header[headerDuplicate] != "true" {
		t.Errorf("%+v", got)
	}
}

// refusing refuses the first command, and runs the others.
type refusing struct {
	patient
	runs *atomic.Int64
}

func (r refusing) Run(ctx context.Context, id string, run wire.Run) (wire.RunResult, error) {
	if r.runs.Add(1) == 1 {
		return wire.RunResult{}, wire.Errorf(wire.Conflict, "no")
	}
	return r.patient.Run(ctx, id, run)
}

// A command that failed is run again for a repeat, whose sender gets its answer where it waits.
func TestRepeatOfFailedCommandIsAnswered(t *testing.T) {
	t.Parallel()
	b := newBench(t, storetest.Dir(t))
	device := refusing{patient{let: make(chan struct{})}, &atomic.Int64{}}
	close(device.let)
	b.Devices = device
	s := b.publishing(func(s *Settings) { s.Action = Action{Kind: ActionCommand, Device: "kitchen", Command: "door"} })
	b.run()
	if _, err := b.send(s, "x", "Idempotency-Key", "k"); err != nil {
		t.Fatal(err)
	}
	b.until("it has failed", func() bool { return b.only().State == stateFailed })
	a, err := b.ask(context.Background(), s, "wait=30s", "x", "Idempotency-Key", "k")
	if err != nil || a.Status != http.StatusOK || a.Header[headerDuplicate] != "true" {
		t.Errorf("%+v, %v", a, err)
	}
}

// A sender that waits is answered also where the first try to publish failed, and the hub asks at the next.
func TestQuestionIsAskedAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t, storetest.Dir(t))
	s := b.publishing(nil)
	b.broker.set(wire.Errorf(wire.Offline, "The broker cannot be reached."))
	b.run()
	got := make(chan told, 1)
	go func() {
		a, err := b.ask(context.Background(), s, "wait=30s", "x")
		got <- told{a, err}
	}()
	b.until("it was tried", func() bool {
		entries, _, err := b.Requests(t.Context(), Filter{Limit: 1})
		return err == nil && len(entries) == 1 && entries[0].Attempts > 0
	})
	b.broker.set(nil)
	if m := b.message(); m.ResponseTopic == "" {
		t.Fatal("nobody is asked")
	}
	b.broker.answers("yes")
	if a := <-got; a.err != nil || string(a.Body) != "yes" {
		t.Errorf("%+v", a)
	}
}
