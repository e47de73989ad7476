package shell

import (
	"context"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/wire"
)

// line is the terminal at the other end of one SSH connection. receive has one caller; the rest may be called beside it.
type line interface {
	// receive delivers output until the login shell exits or the line breaks.
	receive(ctx context.Context) (exit int, err error)
	// input passes on typed bytes. It may block while the device does not take them.
	input(p []byte) error
	resize(size wire.ShellSize) error
	// ack lets the device forget output before next.
	ack(next int64) error
	hangup() error
	// forget lets the device forget the terminal, whose exit is known to all.
	forget()
}

// link is a shell's connection to its device. The shell's mu protects its fields below it.
type link struct {
	sh     *Shell
	client *ssh.Client
	line   line
	exit   int
	since  time.Time

	size   wire.ShellSize // as the device was told
	acked  int64
	flying []typed // input sent and not known to be taken
	sent   int     // its bytes
	credit int64   // bytes taken of the first of flying
}

// span is output from byte first on, of which bytes before next exist already.
type span struct{ first, next int64 }

// ackEvery is how much output is acknowledged to the device at once.
const ackEvery = 64 << 10

// begin is the moment when the terminal is there, and what output the device is about to send. A size that is not valid
// says nothing.
func (l *link) begin(line line, from span, size wire.ShellSize, outlivesHub bool) {
	l.line, l.since = line, time.Now()
	if size.Valid() {
		l.size = size
	}
	l.sh.joined(from, size, outlivesHub)
	l.sh.mu.Lock()
	defer l.sh.mu.Unlock()
	l.acked = l.sh.output.Next()
}

func (l *link) close() {
	_ = l.client.Close()
	l.sh.mu.Lock()
	defer l.sh.mu.Unlock()
	for _, t := range l.flying { // whether or not it arrived, nobody will say
		t.by.taken += int64(len(t.p))
	}
	if len(l.flying) > 0 {
		l.flying[0].by.taken -= l.credit
	}
	l.flying, l.sent, l.credit = nil, 0, 0
	l.sh.wake()
}

// use serves the shell over the link. It returns nil once the login shell has exited, whose status is then in l.exit.
// In that case alone the connection is still open.
func (l *link) use(allowed context.Context) error {
	ctx, cancel := context.WithCancelCause(allowed)
	received := make(chan struct{})
	var writing sync.WaitGroup
	writing.Go(func() { cancel(l.feed(ctx)) })
	writing.Go(func() {
		cancel(l.steer(allowed, ctx, received))
		select {
		case <-received:
		default:
			_ = l.client.Close() // ends receive
		}
	})
	exit, err := l.line.receive(ctx)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	l.exit = exit
	close(received)
	cancel(nil)
	writing.Wait()
	return err
}

// feed sends what browsers type.
func (l *link) feed(ctx context.Context) error {
	sh := l.sh
	for {
		sh.mu.Lock()
		p := l.nextInput(time.Now())
		changed := sh.changed
		sh.mu.Unlock()
		if p != nil {
			if err := l.line.input(p); err != nil {
				return wire.Wrap(err, wire.Offline, "The connection broke.")
			}
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// nextInput takes input from the queue that may be sent now. Keys typed into a dead connection long ago are dropped:
// their time has passed. The caller holds mu.
func (l *link) nextInput(now time.Time) []byte {
	sh := l.sh
	for len(sh.typed) > 0 && l.sent < wire.ShellInputWindow {
		t := sh.typed[0]
		sh.typed = sh.typed[1:]
		if t.at.Before(l.since) && now.Sub(t.at) > staleInput {
			t.by.taken += int64(len(t.p))
			sh.wake()
			continue
		}
		l.flying = append(l.flying, t)
		l.sent += len(t.p)
		return t.p
	}
	return nil
}

// taken notes that the device took n more bytes of input.
func (l *link) taken(n int64) {
	l.sh.mu.Lock()
	defer l.sh.mu.Unlock()
	n = min(n, int64(l.sent)-l.credit)
	for l.credit += n; len(l.flying) > 0; {
		t := l.flying[0]
		part := min(l.credit, int64(len(t.p)))
		if part < int64(len(t.p)) {
			break
		}
		t.by.taken += part
		l.credit -= part
		l.sent -= len(t.p)
		l.flying = l.flying[1:]
	}
	l.sh.wake()
}

// steer sends sizes and acknowledgements, and hangs up when the shell is to end. allowed is the parent of ctx that ends
// with the user's right; received is closed when the device will say no more.
func (l *link) steer(allowed, ctx context.Context, received <-chan struct{}) error {
	sh := l.sh
	for {
		sh.mu.Lock()
		size, ack := l.nextOrders(time.Now())
		changed := sh.changed
		left, stop := sh.overdue(time.Now())
		sh.mu.Unlock()
		if stop != nil {
			return l.hangUp(received, stop)
		}
		if err := l.tell(size, ack); err != nil {
			return wire.Wrap(err, wire.Offline, "The connection broke.")
		}
		select {
		case <-changed:
		case <-after(left):
		case <-ctx.Done():
			if allowed.Err() != nil && !stopping(allowed) {
				sh.revoke(context.Cause(allowed))
				return l.hangUp(received, context.Cause(allowed))
			}
			return nil
		}
	}
}

// nextOrders is what the device has to be told, zero where nothing. The caller holds mu.
func (l *link) nextOrders(now time.Time) (size wire.ShellSize, ack int64) {
	if s := (wire.ShellSize{Cols: l.sh.record.Cols, Rows: l.sh.record.Rows}); s != l.size {
		l.size, size = s, s
	}
	if floor := l.sh.floor(now); floor >= l.acked+ackEvery {
		l.acked, ack = floor, floor
	}
	return size, ack
}

func (l *link) tell(size wire.ShellSize, ack int64) error {
	if size.Valid() {
		if err := l.line.resize(size); err != nil {
			return err
		}
	}
	if ack > 0 {
		return l.line.ack(ack)
	}
	return nil
}

// hangUp asks the device to end the terminal, and gives it a moment to say how that went.
func (l *link) hangUp(received <-chan struct{}, why error) error {
	_ = l.line.hangup()
	select {
	case <-time.After(hangupGrace):
	case <-received:
	}
	return why
}
