// Package runner runs the commands that a device's owner named in agent.toml, when the hub asks. No shell is between: a value
// that the hub gives is matched with its parameter's pattern and becomes part of one argument. Each request is run once.
package runner

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"

	"github.com/aditdev/adit/internal/wire"
)

// Store keeps what became of requests over the agent's life.
type Store interface {
	Load(id string) (data []byte, ok bool)
	Save(id string, data []byte) error
	Forget(id string)
}

// Runner runs commands, at most wire.MaxRunsAtOnce at a time.
type Runner struct {
	log      *slog.Logger
	allowed  bool
	commands []*prepared
	store    Store
	slots    chan struct{}

	mu      sync.Mutex
	flights map[string]*flight // by the id of the request: those that run, and those whose answer could not be stored
	unkept  []string
}

// flight is a request while it runs.
type flight struct {
	done   chan struct{}
	result wire.RunResult
	err    error
	unkept bool // the store did not take the answer
}

const maxUnkept = 64 // answers in memory, where the store takes none

// New makes a runner. allowed is whether the device's policy lets the hub run commands.
func New(log *slog.Logger, allowed bool, commands []Command, store Store) (*Runner, error) {
	r := &Runner{log: log, allowed: allowed, store: store, slots: make(chan struct{}, wire.MaxRunsAtOnce), flights: map[string]*flight{}}
	for _, c := range commands {
		p, err := c.prepare()
		if err != nil {
			return nil, err
		}
		r.commands = append(r.commands, p)
	}
	return r, nil
}

// Run answers the call wire.MethodRun, with its errors. A repeat of a request that runs waits for the first. Where ctx ends, the command
// is ended too.
func (r *Runner) Run(ctx context.Context, ask wire.Run) (wire.RunResult, error) {
	if !ask.Valid() {
		return wire.RunResult{}, wire.Errorf(wire.Invalid, "The call has a member out of its bounds.")
	}
	r.mu.Lock()
	f, known := r.flights[ask.ID]
	if !known {
		f = &flight{done: make(chan struct{})}
		r.flights[ask.ID] = f
	}
	r.mu.Unlock()
	if !known {
		f.result, f.err = r.once(ctx, ask, f)
		r.land(ask.ID, f)
	}
	select {
	case <-f.done:
		return f.result, f.err
	case <-ctx.Done():
		return wire.RunResult{}, stopped()
	}
}

// land ends a flight. One whose answer was not stored stays in memory, the newest of them.
func (r *Runner) land(id string, f *flight) {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer close(f.done)
	if !f.unkept {
		delete(r.flights, id)
		return
	}
	if r.unkept = append(r.unkept, id); len(r.unkept) > maxUnkept {
		delete(r.flights, r.unkept[0])
		r.unkept = r.unkept[1:]
	}
}

func stopped() error {
	return wire.Errorf(wire.Offline, "The agent was stopped while the command ran, and ended it.")
}

// record is what the store keeps of a request: without a result it was begun.
type record struct {
	Result *wire.RunResult `json:"result,omitempty"`
}

func (r *Runner) once(ctx context.Context, ask wire.Run, f *flight) (wire.RunResult, error) {
	if data, ok := r.store.Load(ask.ID); ok {
		return earlier(data)
	}
	p, argv, err := r.check(ask)
	if err != nil {
		return wire.RunResult{}, err
	}
	cmd, err := p.command(argv)
	if err != nil {
		return wire.RunResult{}, err
	}
	select {
	case r.slots <- struct{}{}:
	default:
		return wire.RunResult{}, wire.Errorf(wire.RateLimited, "The device runs %d commands already; this one may be asked for again.", wire.MaxRunsAtOnce)
	}
	r.save(ask.ID, record{}, f)
	result, err := p.run(ctx, cmd, ask, func() { <-r.slots })
	switch {
	case err != nil:
		r.store.Forget(ask.ID) // nothing was run
		f.unkept = false
		return wire.RunResult{}, err
	case ctx.Err() != nil:
		return wire.RunResult{}, stopped()
	}
	r.log.Info("command ran", "command", p.Name, "request", ask.ID, "exit", result.ExitCode, "ms", result.TookMS, "timed_out", result.TimedOut)
	r.save(ask.ID, record{&result}, f)
	return result, nil
}

// earlier is the answer to a request that was run before.
func earlier(data []byte) (wire.RunResult, error) {
	var known record
	if json.Unmarshal(data, &known) == nil && known.Result != nil {
		return *known.Result, nil
	}
	return wire.RunResult{}, wire.Errorf(wire.Conflict,
		"The command was begun for this request, and cut off when the agent ended. It may have done its work or not, and is not run again.")
}

func (r *Runner) save(id string, what record, f *flight) {
	data, err := json.Marshal(what)
	if err == nil {
		err = r.store.Save(id, data)
	}
	f.unkept = err != nil
	if err != nil {
		r.log.Warn("what became of a command was not kept", "request", id, "cause", err)
	}
}

// check finds the command and puts the values in their places. It fails with Forbidden, NotFound or Invalid.
func (r *Runner) check(ask wire.Run) (*prepared, []string, error) {
	if !r.allowed {
		return nil, nil, wire.Errorf(wire.Forbidden, "The device does not let its hub run commands (policy.run in its agent.toml).")
	}
	var names []string
	for _, p := range r.commands {
		if p.Name == ask.Command {
			argv, err := p.arguments(ask.Arguments)
			return p, argv, err
		}
		names = append(names, p.Name)
	}
	has := "Its agent.toml names none."
	if len(names) > 0 {
		has = "Those of its agent.toml are " + strings.Join(names, ", ") + "."
	}
	return nil, nil, wire.Errorf(wire.NotFound, "The device has no command %q. %s", wire.Printable(ask.Command, 63), has)
}
