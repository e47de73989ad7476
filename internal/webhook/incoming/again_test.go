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
	r := newRig(t, storetest.Dir(t))
	between := func() {}
	r.Transforms = transforms(func() []byte { f := between; between = func() {}; f(); return []byte("y") })
	s := r.publishing(func(s *Settings) { s.Transform = &Transform{Kind: "jq", Text: "."} })
	r.broker.set(wire.Errorf(wire.Forbidden, "no"))
	stop := r.run()
	if _, err := r.send(s, "x", "Idempotency-Key", "k"); err != nil {
		t.Fatal(err)
	}
	r.until("it has failed", func() bool { return r.only().State == stateFailed })
	stop()
	r.broker.set(nil)
	repeat := func() {
		a, err := r.send(s, "x", "Idempotency-Key", "k")
		if err != nil || a.Status != http.StatusAccepted || a.Header[headerDuplicate] != "true" {
			t.Errorf("%+v, %v", a, err)
		}
	}
	between = repeat // while the first works out what is to be done
	repeat()
	if e := r.only(); e.State != stateWaiting || e.Repeats != 2 {
		t.Errorf("%+v", e)
	}
}

// told is what a sender was told.
type told struct {
	Answer
	err error
}

// repeats asks again in a goroutine, and returns when that waits, or has been told something.
func (r *rig) repeats(s Source, query, key string) <-chan told {
	r.t.Helper()
	got, id := make(chan told, 1), r.only().ID
	go func() {
		a, err := r.ask(context.Background(), s, query, "x", "Idempotency-Key", key)
		got <- told{a, err}
	}()
	r.until("it waits", func() bool {
		r.awaited.mu.Lock()
		defer r.awaited.mu.Unlock()
		return len(got) > 0 || r.awaited.waiting[id] != nil && r.taken() > 0
	})
	return got
}

// taken is how many wait.
func (r *rig) taken() int {
	r.slots.mu.Lock()
	defer r.slots.mu.Unlock()
	return r.slots.taken
}

// A sender that went away, or was told 504, and asks the same again waits for the answer, for as long as it may come, and gets it. It was told 202.
func TestRepeatJoinsWhatIsAwaited(t *testing.T) {
	t.Parallel()
	r := newRig(t, storetest.Dir(t))
	s := r.publishing(nil)
	r.run()
	ctx, goAway := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() {
		_, err := r.ask(ctx, s, "wait=30s", "x", "Idempotency-Key", "k")
		gone <- err
	}()
	r.message()
	goAway()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if _, err := r.ask(context.Background(), s, "wait=1ms", "x", "Idempotency-Key", "k"); !kept(err) || err.(*Refusal).Status != http.StatusGatewayTimeout || err.(*Refusal).Header[headerDuplicate] != "true" {
		t.Errorf("in vain: %v", err)
	}
	one, other := r.repeats(s, "wait=30s", "k"), r.repeats(s, "wait=30s", "k")
	r.broker.answers("late")
	for _, got := range []told{<-one, <-other, <-r.repeats(s, "wait=30s", "k")} {
		if got.err != nil || got.Status != http.StatusOK || string(got.Body) != "late" || got.Header[headerDuplicate] != "true" {
			t.Errorf("%+v", got)
		}
	}
	if n := r.taken(); n != 0 {
		t.Errorf("%d places stay taken", n)
	}
}

// Senders of one request that all come before it is kept take a place each, and not a second one as repeats.
func TestRepeatsAtOnceTakeOnePlace(t *testing.T) {
	t.Parallel()
	r := newRig(t, storetest.Dir(t))
	var there sync.WaitGroup
	there.Add(maxWaitingOn)
	r.Transforms = transforms(func() []byte { there.Done(); there.Wait(); return []byte("y") })
	s := r.publishing(func(s *Settings) { s.Transform = &Transform{Kind: "jq", Text: "."} })
	r.run()
	got := make(chan told, maxWaitingOn)
	for range maxWaitingOn {
		go func() {
			a, err := r.ask(context.Background(), s, "wait=30s", "x", "Idempotency-Key", "k")
			got <- told{a, err}
		}()
	}
	r.message()
	r.until("all are told apart", func() bool { return r.only().Repeats == maxWaitingOn-1 })
	r.broker.answers("late")
	for range maxWaitingOn {
		if a := <-got; a.err != nil || a.Status != http.StatusOK || string(a.Body) != "late" {
			t.Errorf("%+v", a)
		}
	}
	if n := r.taken(); n != 0 {
		t.Errorf("%d places stay taken", n)
	}
}

// Nobody waits for what does not come: nobody was asked for an answer.
func TestRepeatOfWhatNobodyAnswers(t *testing.T) {
	t.Parallel()
	r := newRig(t, storetest.Dir(t))
	s := r.publishing(nil)
	r.run()
	if _, err := r.send(s, "x", "Idempotency-Key", "k"); err != nil {
		t.Fatal(err)
	}
	r.until("it is done", func() bool { return r.only().State == stateDone })
	a, err := r.ask(context.Background(), s, "wait=30s", "x", "Idempotency-Key", "k")
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
	r := newRig(t, storetest.Dir(t))
	device := patient{let: make(chan struct{})}
	r.Devices = device
	s := r.publishing(func(s *Settings) { s.Action = Action{Kind: ActionCommand, Device: "kitchen", Command: "door"} })
	r.run()
	if _, err := r.send(s, "x", "Idempotency-Key", "k"); err != nil {
		t.Fatal(err)
	}
	waits := r.repeats(s, "wait=30s", "k")
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
	r := newRig(t, storetest.Dir(t))
	device := refusing{patient{let: make(chan struct{})}, &atomic.Int64{}}
	close(device.let)
	r.Devices = device
	s := r.publishing(func(s *Settings) { s.Action = Action{Kind: ActionCommand, Device: "kitchen", Command: "door"} })
	r.run()
	if _, err := r.send(s, "x", "Idempotency-Key", "k"); err != nil {
		t.Fatal(err)
	}
	r.until("it has failed", func() bool { return r.only().State == stateFailed })
	a, err := r.ask(context.Background(), s, "wait=30s", "x", "Idempotency-Key", "k")
	if err != nil || a.Status != http.StatusOK || a.Header[headerDuplicate] != "true" {
		t.Errorf("%+v, %v", a, err)
	}
}

// A sender that waits is answered also where the first try to publish failed, and the hub asks at the next.
func TestQuestionIsAskedAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, storetest.Dir(t))
	s := r.publishing(nil)
	r.broker.set(wire.Errorf(wire.Offline, "The broker cannot be reached."))
	r.run()
	got := make(chan told, 1)
	go func() {
		a, err := r.ask(context.Background(), s, "wait=30s", "x")
		got <- told{a, err}
	}()
	r.until("it was tried", func() bool {
		entries, _, err := r.Requests(t.Context(), Filter{Limit: 1})
		return err == nil && len(entries) == 1 && entries[0].Attempts > 0
	})
	r.broker.set(nil)
	if m := r.message(); m.ResponseTopic == "" {
		t.Fatal("nobody is asked")
	}
	r.broker.answers("yes")
	if a := <-got; a.err != nil || string(a.Body) != "yes" {
		t.Errorf("%+v", a)
	}
}
