package messaging

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/tunnelhub"
)

// ExchangeOptions make an Exchange; every field must be set.
type ExchangeOptions struct {
	Log      *slog.Logger
	Now      func() time.Time
	Registry *Registry
	Backend  Backend
	// RunBackend is the Backend's loop: it ends every connection before it returns.
	RunBackend func(ctx context.Context) error
	// Name is this hub's level in topics of answers: replies/NAME/ID.
	Name string
	// Dial opens a stream, Online says whether one can be opened now: tunnelhub.Hub's.
	Dial   func(context.Context, tunnelhub.Request) (stream.Conn, error)
	Online func(device string) bool
}

// Exchange is MQTT as it passes: the doors in front of a Backend, what pages see of it, and requests with their answers.
// Its methods may be called concurrently.
type Exchange struct {
	ExchangeOptions
	last    *lastValues
	devices *deviceBrokers

	opened  chan struct{} // closed when Run has let in for the first time
	mu      sync.Mutex
	life    context.Context // of what Accept serves; nil before Run and after
	taps    int
	tapsBy  map[string]int
	serving sync.WaitGroup
}

// NewExchange makes an Exchange. Run serves it.
func NewExchange(o ExchangeOptions) *Exchange {
	e := &Exchange{ExchangeOptions: o, last: newLastValues(), tapsBy: map[string]int{}, opened: make(chan struct{})}
	e.devices = &deviceBrokers{exchange: e, open: map[deviceTap]*deviceBroker{}}
	return e
}

// Run lets connections in until ctx ends. Then nobody is let in any more, the Backend says goodbye to those who are, and Run
// returns when it is through.
func (e *Exchange) Run(ctx context.Context) error {
	base := context.WithoutCancel(ctx)
	life, cut := context.WithCancel(base)
	defer cut()
	backend, stop := context.WithCancel(base)
	defer stop()
	ran := make(chan error, 1)
	go func() { ran <- e.RunBackend(backend) }()
	end, err := e.Backend.Subscribe("#", func(m Received) { e.last.put(SampleOf(m)) })
	if err != nil {
		stop()
		return errors.Join(err, <-ran)
	}
	e.open(life)
	select {
	case <-ctx.Done():
		e.shut()
		end()
		stop()
		err = <-ran
	case err = <-ran:
		e.shut()
		end()
	}
	cut()
	e.serving.Wait()
	return err
}

func (e *Exchange) open(life context.Context) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.life = life
	close(e.opened)
}

// shut lets nobody begin any more.
func (e *Exchange) shut() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.life = nil
}

// begin counts what Run waits for; it fails where Run is over or has not begun.
func (e *Exchange) begin() (context.Context, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.life == nil {
		return nil, false
	}
	e.serving.Add(1)
	return e.life, true
}

// during is for what a caller wants of the Backend: it ends with Run too, which waits for it.
func (e *Exchange) during(ctx context.Context) (context.Context, func(), error) {
	life, ok := e.begin()
	if !ok {
		return nil, nil, stream.Restarting
	}
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(life, func() { cancel(stream.Restarting) })
	return ctx, func() { stop(); cancel(nil); e.serving.Done() }, nil
}

// Accept speaks MQTT on a connection from a goroutine of its own, and closes it.
func (e *Exchange) Accept(conn net.Conn, door Door) {
	ctx, ok := e.begin()
	if !ok {
		_ = conn.Close()
		return
	}
	go func() {
		defer e.serving.Done()
		e.serve(ctx, conn, door)
	}()
}

// Carrier speaks MQTT on the carrier of a device, as that device, until it ends.
func (e *Exchange) Carrier(ctx context.Context, device string, conn net.Conn) error {
	life, ok := e.begin()
	if !ok {
		return stream.Restarting
	}
	defer e.serving.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(life, cancel)()
	p := e.Registry.DevicePrincipal(device)
	e.serve(ctx, conn, Door{Name: "carrier", By: &p})
	return nil
}

func (e *Exchange) serve(ctx context.Context, conn net.Conn, door Door) {
	began := time.Now()
	err := e.Backend.Serve(ctx, conn, door)
	e.Log.Debug("MQTT connection ended", "door", door.Name, "address", door.Address, "duration", time.Since(began), "cause", err)
}

// acceptPause is how long Listen waits when the system has no descriptors left.
const acceptPause = 100 * time.Millisecond

// Listen serves raw TCP until ctx ends. Who comes before Run lets anybody in waits for that. It outlives running out of file descriptors.
func (e *Exchange) Listen(ctx context.Context, l net.Listener) error {
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	select {
	case <-e.opened:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	for {
		conn, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = conn.Close()
			}
			return context.Cause(ctx)
		case err == nil:
			address, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
			e.Accept(conn, Door{Name: "tcp", Address: address})
			continue
		}
		e.Log.Warn("MQTT connection not accepted", "cause", err)
		select {
		case <-time.After(acceptPause):
		case <-ctx.Done():
		}
	}
}

// Last gives the last messages below a device's trees that may allows, the newest first.
func (e *Exchange) Last(device string, limit int, may func(topic string) bool) []Sample {
	var out []Sample
	for _, tree := range trees {
		out = append(out, e.last.matching(tree+"/"+device+"/#", limit, may)...)
	}
	slices.SortStableFunc(out, func(a, b Sample) int { return b.At.Compare(a.At) })
	return out[:min(len(out), limit)]
}

// trees are the first levels under which each device has its own.
var trees = []string{"devices", "cmds"}

// Renamed carries what is kept below a device's trees to its new name; an empty one says that it was removed.
func (e *Exchange) Renamed(ctx context.Context, from, to string) error {
	ctx, done, err := e.during(ctx)
	if err != nil {
		return err
	}
	defer done()
	var errs []error
	for _, tree := range trees {
		target := ""
		if to != "" {
			target = tree + "/" + to
		}
		errs = append(errs, e.Backend.Moved(ctx, tree+"/"+from, target))
		e.last.forget(tree + "/" + from)
	}
	return errors.Join(errs...)
}
