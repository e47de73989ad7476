package handlers

import (
	"context"
	"errors"
	"io"
	"math"
	"strconv"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/labstack/echo/v4"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/shell"
	"github.com/aditdev/adit/internal/wire"
)

// attachSilence is how long a browser may neither answer a ping nor take what it is sent.
const attachSilence = 40 * time.Second

// errRestarting ends an attachment because the hub stops.
var errRestarting = errors.New("the hub is restarting")

// attachShell is GET /api/v1/shells/{shell_id}/attach: a WebSocket of subprotocol adit.shell.v1 (wire.ShellOutput). What
// is wrong with the shell is said by a close code: a page cannot read the status of a failed upgrade.
func (a *api) attachShell(c echo.Context) error {
	p := principalOf(c.Request().Context())
	from, err := attachFrom(c.QueryParam("from"))
	if err != nil {
		return err
	}
	held, release, err := a.Gate.Hold(c.Request().Context(), access.Use{User: p.User.ID, Credential: p.Credential})
	if err != nil {
		return err
	}
	defer release()
	ctx, cancel := context.WithCancelCause(held)
	defer cancel(nil)
	defer context.AfterFunc(a.Stopping, func() { cancel(errRestarting) })()

	// The origin was checked with every other route's; patterns say it again where it is enforced.
	ws, err := websocket.Accept(c.Response(), c.Request(), &websocket.AcceptOptions{
		Subprotocols: []string{wire.SubprotocolShell}, OriginPatterns: a.origins.hosts(), CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		return nil // Accept has answered
	}
	ws.SetReadLimit(wire.ShellMessageMax)
	door := attachDoor{ws: ws, cancel: cancel}
	if ws.Subprotocol() != wire.SubprotocolShell {
		door.close(wire.Errorf(wire.Invalid, "This door speaks %s only.", wire.SubprotocolShell))
		return nil
	}
	attachment, err := a.Shells.Attach(ctx, p.User.ID, c.Param("shell_id"), p.User.Email, from)
	if err != nil {
		door.close(err)
		return nil
	}
	defer attachment.Close()
	door.serve(ctx, attachment)
	return nil
}

// attachFrom reads the number of the first byte wanted. Without one the browser wants all that there is.
func attachFrom(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	from, err := strconv.ParseInt(text, 10, 64)
	if err != nil || from < 0 || from == math.MaxInt64 {
		return 0, wire.Errorf(wire.Invalid, "from is the number of an output byte.")
	}
	return from, nil
}

// attachDoor is one browser's WebSocket.
type attachDoor struct {
	ws     *websocket.Conn
	cancel context.CancelCauseFunc
}

// serve moves messages both ways until the shell or the browser ends, and closes. Reads and writes have contexts of their
// own: one that ends drops the connection, and the browser would not learn why.
func (d attachDoor) serve(ctx context.Context, a *shell.Attachment) {
	apart, stop := context.WithCancel(context.WithoutCancel(ctx))
	var beside sync.WaitGroup
	defer beside.Wait()
	defer stop()
	beside.Go(func() { d.cancel(d.read(apart, ctx, a)) })
	beside.Go(func() { d.cancel(d.ping(apart)) })
	d.close(orCause(ctx, d.send(apart, ctx, a)))
}

// send passes on what there is to tell. Its error says how that ended: io.EOF for the shell's end.
func (d attachDoor) send(apart, ctx context.Context, a *shell.Attachment) error {
	var buf []byte
	for {
		message, err := a.Next(ctx, buf)
		if err != nil {
			return err
		}
		if err := d.write(apart, message); err != nil {
			return err
		}
		buf = message
	}
}

func orCause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, io.EOF) {
		return cause
	}
	return err
}

func (d attachDoor) write(ctx context.Context, message []byte) error {
	ctx, cancel := context.WithTimeout(ctx, attachSilence)
	defer cancel()
	return d.ws.Write(ctx, websocket.MessageBinary, message)
}

func (d attachDoor) read(apart, ctx context.Context, a *shell.Attachment) error {
	for {
		kind, message, err := d.ws.Read(apart)
		if err != nil {
			return err
		}
		if ctx.Err() != nil { // the close is on its way, and nothing counts any more
			continue
		}
		if kind != websocket.MessageBinary {
			return wire.Errorf(wire.Invalid, "Messages are binary here.")
		}
		if err := a.Take(ctx, message); err != nil {
			return err
		}
	}
}

func (d attachDoor) ping(ctx context.Context) error {
	tick := time.NewTicker(wire.ShellPingSeconds * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		pong, cancel := context.WithTimeout(ctx, attachSilence-wire.ShellPingSeconds*time.Second)
		err := d.ws.Ping(pong)
		cancel()
		if err != nil {
			return err
		}
	}
}

// close ends the WebSocket with the code that says why.
func (d attachDoor) close(err error) {
	code, reason := websocket.StatusGoingAway, ""
	domain, ok := errors.AsType[*wire.Error](err)
	switch {
	case errors.Is(err, io.EOF):
		code = websocket.StatusNormalClosure
	case errors.Is(err, errRestarting):
		code = websocket.StatusCode(wire.CloseRestarting)
	case ok:
		code, reason = websocket.StatusCode(domain.Code.CloseCode()), wire.Printable(domain.Message, 100)
	}
	if len(reason) > 120 { // a close frame has room for 123 bytes
		reason = reason[:0]
	}
	_ = d.ws.Close(code, reason)
}
