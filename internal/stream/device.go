package stream

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/aditdev/adit/internal/wire"
)

// retryMost bounds the wait between attempts to take a stream up again: a person sits before it.
const retryMost = 4 * time.Second

// DeviceOptions refine DialDevice. The zero value will do.
type DeviceOptions struct {
	Dialer  Dialer            // proxy, CA file, address override
	Login   string            // for ssh and rescue: the account, with whose grant the hub ends the stream; empty names none
	Early   bool              // return before the device has answered; a refusal is then the error of the first Read
	Waiting func(cause error) // told when the stream lost its hub and waits for it; nil when all is well again. May be nil
}

// DialDevice opens a stream to a target on a device through the hub's door, and returns it as a Conn. The stream outlives the hub's restart, a change of network and a laptop's sleep: for up to
// wire.ResumeFor it is taken up again without the caller noticing more than a pause. Errors are *wire.Error: offline,
// forbidden, not_found, …, in a *DialError where the hub was not reached. The caller closes it; Close waits a few
// seconds for what was written.
//
// hubURL is the hub's URL (https://hub.example.com), device an id or a name. ctx bounds the opening only.
func DialDevice(ctx context.Context, hubURL, token, device string, target wire.Target, opts DeviceOptions) (Conn, error) {
	query := url.Values{"target": {string(target)}}
	if opts.Login != "" {
		query.Set("login", opts.Login)
	}
	d := &deviceConn{
		End:    NewEnd(wire.MaxPipelined),
		url:    strings.TrimSuffix(hubURL, "/") + "/api/v1/devices/" + url.PathEscape(device) + "/connect?" + query.Encode(),
		header: http.Header{"Authorization": {"Bearer " + token}},
		target: target, opts: opts,
		opened: make(chan error, 1),
	}
	d.life, d.cancel = context.WithCancelCause(context.Background())
	d.working.Go(func() { d.supervise(ctx) })
	select {
	case err := <-d.opened:
		if err != nil {
			d.working.Wait()
			return nil, err
		}
		return d, nil
	case <-ctx.Done():
		err := wire.Wrap(context.Cause(ctx), wire.Offline, "The opening of the stream was given up.")
		d.Reset(err)
		d.cancel(err)
		d.working.Wait()
		return nil, err
	}
}

// deviceConn is a stream whose one end is a program on a person's machine.
type deviceConn struct {
	*End
	url    string
	header http.Header
	target wire.Target
	opts   DeviceOptions

	life    context.Context // ends with the stream
	cancel  context.CancelCauseFunc
	working sync.WaitGroup
	opened  chan error // the first opening's outcome

	// The supervisor's own.
	token  string
	isOpen bool
}

// Close is net.Conn's.
func (d *deviceConn) Close() error {
	err := d.End.Close()
	<-d.Done() // while the device takes what was written, and little longer
	d.cancel(net.ErrClosed)
	d.working.Wait()
	return err
}

// Join is Conn's.
func (d *deviceConn) Join(conn net.Conn) error {
	err := d.End.Join(conn)
	_ = d.Close()
	return err
}

// supervise opens the stream and takes it up again, until it is over.
func (d *deviceConn) supervise(ctx context.Context) {
	defer d.cancel(nil)
	err := d.visit(ctx)
	if !d.isOpen {
		if err == nil {
			err = wire.Errorf(wire.Offline, "The hub closed the connection before the stream was open.")
		}
		d.Fail(err)
		d.answer(err)
		return
	}
	for d.running() {
		var taken bool
		if err, taken = d.resume(err); !taken {
			d.Fail(err)
		}
	}
}

func (d *deviceConn) running() bool {
	select {
	case <-d.Done():
		return false
	default:
		return true
	}
}

// resume visits the hub until it takes the stream up again, for wire.ResumeFor. It returns when that visit is over, and
// why, or with the reason to give up.
func (d *deviceConn) resume(lost error) (err error, taken bool) {
	d.tell(lost)
	deadline := time.Now().Add(wire.ResumeFor)
	for n := 0; d.running() && d.token != ""; n++ {
		ctx, cancel := context.WithDeadline(d.life, deadline)
		d.isOpen = false
		err = d.visit(ctx)
		cancel()
		switch {
		case d.isOpen, !d.running():
			return err, true
		case final(err):
			return err, false
		case time.Now().After(deadline):
			return wire.Wrap(err, wire.Offline, "The stream was lost: the hub or the device did not come back within %v.", wire.ResumeFor), false
		}
		d.pause(time.Duration(rand.Int64N(int64(min(retryMost, 250*time.Millisecond<<min(n, 10))))))
	}
	return lost, !d.running()
}

// final reports whether another attempt would meet the same refusal.
func final(err error) bool {
	switch wire.CodeOf(err) {
	case wire.Invalid, wire.Unauthenticated, wire.Forbidden, wire.NotFound, wire.Conflict, wire.TooLarge:
		return true
	}
	return false
}

func (d *deviceConn) pause(wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-d.Done():
	case <-d.life.Done():
	}
}

func (d *deviceConn) tell(cause error) {
	if d.opts.Waiting != nil {
		d.opts.Waiting(cause)
	}
}

// visit connects to the hub, opens or resumes the stream there, and serves it until that WebSocket ends. ctx bounds the
// connecting.
func (d *deviceConn) visit(ctx context.Context) error {
	ws, err := d.opts.Dialer.Dial(ctx, d.url, d.header, wire.SubprotocolStream)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(d.life, ws.Abort)
	defer stop()
	open := wire.Open{Stream: 1, Target: d.target, Resume: d.token}
	if d.token != "" {
		open.Received = d.Received()
	}
	var helpers sync.WaitGroup
	ended := make(chan struct{})
	helpers.Go(func() { keepAlive(ws, ended) })
	if err = d.ask(ws, open); err == nil {
		err = d.read(ws, open, &helpers)
	}
	d.Detach(ws)
	close(ended)
	ws.Close(nil)
	helpers.Wait()
	return err
}

// ask sends the open. One that resumes is attached when the device has said what it received.
func (d *deviceConn) ask(ws *FrameConn, open wire.Open) error {
	if open.Resume != "" {
		return ws.WriteMessage(open)
	}
	err := d.Open(ws, open)
	if err == nil && d.opts.Early {
		d.isOpen = true
		d.answer(nil)
	}
	return err
}

// read serves frames until the WebSocket ends.
func (d *deviceConn) read(ws *FrameConn, open wire.Open, helpers *sync.WaitGroup) error {
	buf := make([]byte, wire.MaxFrame)
	for d.running() {
		data, payload, err := ws.Next(context.Background())
		if err != nil {
			if cause := CloseCause(err); cause != nil {
				return cause
			}
			return wire.Errorf(wire.Offline, "The hub closed the connection.")
		}
		if data {
			if buf, err = ws.Payload(payload, buf[:wire.MaxFrame]); err == nil {
				err = d.Receive(ws, buf)
			}
		} else {
			err = d.message(ws, payload, open, helpers)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *deviceConn) message(ws *FrameConn, payload io.Reader, open wire.Open, helpers *sync.WaitGroup) error {
	raw, err := io.ReadAll(payload)
	if err != nil {
		return err
	}
	m, err := wire.Decode(raw)
	if err != nil {
		return err
	}
	switch m := m.(type) {
	case wire.Unknown:
		return nil
	case wire.Refused:
		return wire.Errorf(m.Code, "%s", wire.Printable(m.Message, 300))
	case wire.Opened:
		d.token, d.isOpen = m.Resume, true
		if open.Resume != "" {
			err = d.Attach(ws, open.Stream, m.Received)
			d.tell(nil)
		}
		d.Opened()
		helpers.Go(d.Flush)
		d.answer(nil)
		return err
	}
	return d.Handle(ws, m)
}

func (d *deviceConn) answer(err error) {
	select {
	case d.opened <- err:
	default:
	}
}

// keepAlive pings the hub, and drops the WebSocket when the hub is silent for too long or does not answer after this
// machine slept.
func keepAlive(ws *FrameConn, ended <-chan struct{}) {
	const look = 5 * time.Second
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	last, pinged := time.Now(), time.Now()
	for {
		select {
		case <-ended:
			return
		case <-ticker.C:
		}
		now := time.Now()
		slept := now.Round(0).Sub(last.Round(0)) > 2*look
		last = now
		if time.Since(ws.Heard()) > wire.DeadAfter || (slept && !answers(ws)) {
			ws.Abort()
			return
		}
		if now.Sub(pinged) > wire.PingEvery {
			pinged = now
			_ = answers(ws) // silence is what counts
		}
	}
}

func answers(ws *FrameConn) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return ws.Ping(ctx) == nil
}
