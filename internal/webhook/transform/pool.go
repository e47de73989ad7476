package transform

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/aditdev/adit/internal/wire"
)

const (
	maxWorkers = 2
	// greetWithin is how long a new worker has to say that it is there; a busy machine starts programs slowly.
	greetWithin = 10 * time.Second
	// grace is what a worker has beside MaxTime until it is killed: in it, it reads its input, and a busy machine makes more of
	// 100 ms of processor time. A program that takes longer ends long before, by the worker itself.
	grace = 5 * time.Second
	// defaultIdle is how long a worker that nobody needs stays.
	defaultIdle = 5 * time.Minute
)

// Options of a Pool; each may be left out.
type Options struct {
	Command []string      // how a worker is started; this program, with Argument, where nil: its main then calls WorkIfAsked
	Workers int           // at most so many; 2 where 0
	Idle    time.Duration // after which a worker ends; 5 minutes where 0
	Log     *slog.Logger  // hears of workers that died
}

// Pool runs transforms in worker processes.
type Pool struct {
	o     Options
	turns chan struct{} // one for each worker that may run

	mu     sync.Mutex
	idle   []*process // that wait, the longest first
	closed bool
}

// NewPool makes a pool that has no worker yet.
func NewPool(o Options) *Pool {
	if o.Command == nil {
		o.Command = []string{self(), Argument}
	}
	if o.Workers <= 0 {
		o.Workers = maxWorkers
	}
	if o.Idle <= 0 {
		o.Idle = defaultIdle
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Pool{o: o, turns: make(chan struct{}, o.Workers)}
}

// self is this very program, also where its file was replaced by an update.
func self() string {
	if _, err := os.Stat("/proc/self/exe"); err == nil {
		return "/proc/self/exe"
	}
	path, err := os.Executable()
	if err != nil {
		return os.Args[0]
	}
	return path
}

// Run ends workers that have been idle, until ctx ends; then it waits for what is under way and ends all. There must be one Run while
// there are calls of Apply, or workers stay until this process ends.
func (p *Pool) Run(ctx context.Context) error {
	tick := time.NewTicker(max(p.o.Idle/4, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			p.end(p.takeIdle(time.Now().Add(-p.o.Idle)))
		case <-ctx.Done():
			p.close()
			return nil
		}
	}
}

func (p *Pool) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	for range cap(p.turns) { // each call that is under way ends soon
		p.turns <- struct{}{}
	}
	p.end(p.takeIdle(time.Now().Add(time.Hour)))
	for range cap(p.turns) { // those who wait are told
		<-p.turns
	}
}

// takeIdle takes out the workers that nobody has needed since before.
func (p *Pool) takeIdle(before time.Time) (taken []*process) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.idle) > 0 && p.idle[0].used.Before(before) {
		taken, p.idle = append(taken, p.idle[0]), p.idle[1:]
	}
	return taken
}

func (p *Pool) end(all []*process) {
	for _, w := range all {
		w.end()
	}
}

// Apply gives what t makes of input, which is written as JSON for it (json.RawMessage stays as it is). It waits for a worker until ctx
// ends; the program itself is not interrupted by ctx, since it ends soon. What is the program's or the input's fault is
// wire.Invalid or wire.TooLarge, with a message for people, and will be the same another time.
func (p *Pool) Apply(ctx context.Context, t Transform, input any) ([]byte, error) {
	if len(t.Text) > MaxText || t.Kind != JQ && t.Kind != Template {
		return nil, Check(t)
	}
	data, err := json.Marshal(input)
	if err != nil {
		return nil, wire.Wrap(err, wire.Invalid, "The transform's input cannot be written as JSON.")
	}
	if len(data) > MaxInput {
		return nil, wire.Errorf(wire.TooLarge, "The transform's input has %d bytes, at most %d are taken.", len(data), MaxInput)
	}
	select {
	case p.turns <- struct{}{}:
		defer func() { <-p.turns }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	for {
		w, err := p.take()
		if err != nil {
			return nil, err
		}
		fresh := w.used.IsZero()
		out, err := w.ask(t, data)
		if err == nil || w.alive {
			p.put(w)
			return out, err
		}
		p.o.Log.Debug("a transform's worker ended", "cause", err, "state", w.cmd.ProcessState.String(), "said", w.said.String())
		if fresh || !errors.Is(err, errMemory) {
			return nil, err
		}
		// What earlier programs left behind may have been the cause: once more, with a new worker.
	}
}

// take gives the worker that was used last, so that others become idle, or a new one.
func (p *Pool) take() (*process, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, wire.Errorf(wire.Offline, "The hub is stopping.")
	}
	if n := len(p.idle); n > 0 {
		w := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		return w, nil
	}
	p.mu.Unlock()
	return start(p.o.Command)
}

func (p *Pool) put(w *process) {
	w.used = time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = append(p.idle, w)
}

// process is a worker, seen from the hub. One call uses it at a time.
type process struct {
	cmd   *exec.Cmd
	in    *os.File // its stdin
	out   *os.File // its stdout
	said  *head    // its stderr
	used  time.Time
	alive bool
}

// head keeps the first bytes of a stream.
type head struct{ text []byte }

const maxSaid = 400

func (h *head) Write(b []byte) (int, error) {
	h.text = append(h.text, b[:min(len(b), maxSaid-len(h.text))]...)
	return len(b), nil
}

func (h *head) String() string { return wire.Printable(text(h.text), maxSaid) }

func start(command []string) (*process, error) {
	theirIn, in, err := os.Pipe()
	if err != nil {
		return nil, notStarted(err)
	}
	out, theirOut, err := os.Pipe()
	if err != nil {
		return nil, notStarted(errors.Join(err, theirIn.Close(), in.Close()))
	}
	w := &process{cmd: exec.Command(command[0], command[1:]...), in: in, out: out, said: &head{}, alive: true}
	w.cmd.Env = []string{} // nil would be ours
	w.cmd.Dir = "/"
	w.cmd.Stdin, w.cmd.Stdout, w.cmd.Stderr = theirIn, theirOut, w.said
	err = w.cmd.Start()
	_, _ = theirIn.Close(), theirOut.Close() // the child has its own
	if err != nil {
		return nil, notStarted(errors.Join(err, in.Close(), out.Close()))
	}
	_ = out.SetReadDeadline(time.Now().Add(greetWithin)) // pipes have deadlines
	kind, rest, err := readFrame(out)
	if err != nil || kind != frameGreeting || string(rest) != greeting {
		w.end()
		return nil, notStarted(errors.Join(errors.New("no greeting: "+w.cmd.ProcessState.String()+" "+w.said.String()), err))
	}
	return w, nil
}

func notStarted(err error) error {
	return wire.Wrap(err, wire.Internal, "The hub cannot start the process in which transforms run. Its log says why.")
}

// end closes the worker's stdin and waits for it; one that does not hear is killed.
func (w *process) end() {
	w.alive = false
	_ = w.in.Close()
	killer := time.AfterFunc(time.Second, func() { _ = w.cmd.Process.Kill() })
	defer killer.Stop()
	_ = w.cmd.Wait()
	_ = w.out.Close()
}

// kill ends a worker in the middle of a program, and says how it ended.
func (w *process) kill() {
	_ = w.cmd.Process.Kill()
	w.end()
}

// ask runs a transform. Where the worker dies, or must be killed, it is not alive any more, and err says what the program did.
func (w *process) ask(t Transform, input []byte) ([]byte, error) {
	deadline := time.Now().Add(MaxTime + grace)
	_, _ = w.in.SetWriteDeadline(deadline), w.out.SetReadDeadline(deadline)
	kind, parts := request(t, input)
	err := writeFrame(w.in, kind, parts...)
	var rest []byte
	if err == nil {
		kind, rest, err = readFrame(w.out)
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		w.kill()
		return nil, told(errSlow)
	case err != nil: // the pipe is broken
		w.end()
		if w.cmd.ProcessState.ExitCode() == exitSlow {
			return nil, told(errSlow)
		}
		return nil, told(errMemory)
	}
	switch kind {
	case frameOutput:
		return rest, nil
	case frameInvalid:
		return nil, wire.Errorf(wire.Invalid, "%s", rest)
	}
	w.kill()
	return nil, wire.Wrap(errors.New(wire.Printable(text(rest), maxSaid)), wire.Internal, "The jq interpreter failed at this program. The hub's log says how.")
}
