package stream

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/aditdev/adit/internal/wire"
)

// rememberedCalls bounds what a Callee keeps; the oldest are forgotten first.
const rememberedCalls = 1024

// Callee answers calls, each id once: a call that is repeated because its carrier died gets the answer of the first.
// The zero value is ready.
type Callee struct {
	mu       sync.Mutex
	answered map[string]*answered
	order    []string
}

type answered struct {
	done   chan struct{}
	result wire.Result
	at     time.Time
}

// Answer gives the result of the call with this id, by do or from memory. It blocks while an earlier copy of the call
// is being answered, until ctx ends.
func (c *Callee) Answer(ctx context.Context, id string, do func() wire.Result) wire.Result {
	c.mu.Lock()
	c.forget()
	a, known := c.answered[id]
	if !known {
		a = &answered{done: make(chan struct{}), at: time.Now()}
		if c.answered == nil {
			c.answered = make(map[string]*answered)
		}
		c.answered[id] = a
		c.order = append(c.order, id)
	}
	c.mu.Unlock()
	if !known {
		a.result = do()
		close(a.done)
		return a.result
	}
	select {
	case <-a.done:
		return a.result
	case <-ctx.Done():
		return wire.Result{ID: id, Code: wire.Offline, Message: "The call was given up."}
	}
}

func (c *Callee) forget() {
	for len(c.order) > 0 {
		id := c.order[0]
		if len(c.order) <= rememberedCalls && time.Since(c.answered[id].at) < wire.AnswersFor {
			return
		}
		delete(c.answered, id)
		c.order = c.order[1:]
	}
}

// Caller matches results to the calls that wait for them. The zero value is ready.
type Caller struct {
	mu      sync.Mutex
	waiting map[string]chan wire.Result
}

// Expect gives the channel on which the result of the call with this id will come. Call forget when done with it.
func (c *Caller) Expect(id string) (result <-chan wire.Result, forget func()) {
	ch := make(chan wire.Result, 1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting == nil {
		c.waiting = make(map[string]chan wire.Result)
	}
	c.waiting[id] = ch
	return ch, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.waiting, id)
	}
}

// Deliver hands a result to who waits for it. One that nobody expects is dropped: its call was given up.
func (c *Caller) Deliver(r wire.Result) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ch, ok := c.waiting[r.ID]; ok {
		delete(c.waiting, r.ID)
		ch <- r
	}
}

// ResultOf makes the result of a call from what its handler returned.
func ResultOf(id string, value any, err error) wire.Result {
	if err == nil {
		var raw json.RawMessage
		if raw, err = json.Marshal(value); err == nil && len(raw) > wire.MaxFrame-256 {
			err = wire.Errorf(wire.TooLarge, "The answer of %d bytes does not fit in a frame.", len(raw))
		}
		if err == nil {
			return wire.Result{ID: id, Result: raw}
		}
	}
	return wire.Result{ID: id, Code: wire.CodeOf(err), Message: wire.Printable(wire.MessageOf(err), 1000)}
}

// ReadResult stores the answer in value, a pointer or nil, or gives the failure that the other side reported.
func ReadResult(r wire.Result, value any) error {
	if r.Code != "" {
		return wire.Errorf(r.Code, "%s", wire.Printable(r.Message, 1000))
	}
	if value == nil || len(r.Result) == 0 {
		return nil
	}
	if err := json.Unmarshal(r.Result, value); err != nil {
		return wire.Wrap(err, wire.Internal, "The other side's answer cannot be read.")
	}
	return nil
}
