package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/aditdev/adit/internal/wire"
)

// spillLimit bounds what a carrier queues for a slow network: one window, as much again that is sent anew after a
// resume, and control frames.
const spillLimit = 2*wire.Window + 256<<10

// FrameConn is a WebSocket that carries control and data frames. Writes from several goroutines are fine; one reads.
type FrameConn struct {
	ws    *websocket.Conn
	out   *Spill       // below the WebSocket; nil where it cannot be had, then writes may block
	heard atomic.Int64 // since epoch
	bytes struct{ in, out atomic.Int64 }

	mu sync.Mutex // one frame at a time between Cork and Uncork
}

// NewFrameConn makes a FrameConn of a WebSocket whose network connection is out. out may be nil.
func NewFrameConn(ws *websocket.Conn, out *Spill) *FrameConn {
	c := &FrameConn{ws: ws, out: out}
	c.Hear()
	ws.SetReadLimit(wire.MaxFrame)
	return c
}

// epoch is what silence is measured from: by the monotonic clock, since the other may be set meanwhile.
var epoch = time.Now()

// Hear notes that the peer was heard now; pings and pongs arrive below this type.
func (c *FrameConn) Hear() { c.heard.Store(int64(time.Since(epoch))) }

// Heard is when a frame of any kind last came.
func (c *FrameConn) Heard() time.Time {
	now := time.Now()
	return now.Add(time.Duration(c.heard.Load()) - now.Sub(epoch))
}

// Bytes counts the payload of data frames in and out.
func (c *FrameConn) Bytes() (in, out int64) { return c.bytes.in.Load(), c.bytes.out.Load() }

// Subprotocol is what was negotiated.
func (c *FrameConn) Subprotocol() string { return c.ws.Subprotocol() }

// Next waits for a frame and reports whether it is a data frame. Read it with Payload before the next Next.
func (c *FrameConn) Next(ctx context.Context) (data bool, payload io.Reader, err error) {
	kind, payload, err := c.ws.Reader(ctx)
	if err != nil {
		return false, nil, fmt.Errorf("read frame: %w", err)
	}
	c.Hear()
	return kind == websocket.MessageBinary, payload, nil
}

// Payload reads a frame into buf, which holds wire.MaxFrame bytes, and gives the part used.
func (c *FrameConn) Payload(payload io.Reader, buf []byte) ([]byte, error) {
	n := 0
	for n < len(buf) {
		m, err := payload.Read(buf[n:])
		n += m
		if errors.Is(err, io.EOF) {
			c.bytes.in.Add(int64(n))
			return buf[:n], nil
		}
		if err != nil {
			return nil, fmt.Errorf("read frame: %w", err)
		}
	}
	if m, err := payload.Read(make([]byte, 1)); m > 0 || !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read frame: %w", websocket.ErrMessageTooBig)
	}
	c.bytes.in.Add(int64(n))
	return buf[:n], nil
}

// ReadMessage reads one control frame, as the handshake needs it: a data frame there is an error.
func (c *FrameConn) ReadMessage(ctx context.Context) (wire.Message, []byte, error) {
	data, payload, err := c.Next(ctx)
	if err != nil {
		return nil, nil, err
	}
	if data {
		return nil, nil, wire.Errorf(wire.Invalid, "A data frame came where a message was due.")
	}
	raw, err := io.ReadAll(payload)
	if err != nil {
		return nil, nil, fmt.Errorf("read frame: %w", err)
	}
	m, err := wire.Decode(raw)
	return m, raw, err
}

// WriteMessage sends a control frame. It does not wait for a slow network.
func (c *FrameConn) WriteMessage(m wire.Message) error {
	raw, err := wire.Encode(m)
	if err != nil {
		return err
	}
	return c.WriteRaw(raw)
}

// WriteRaw sends a control frame that is encoded already.
func (c *FrameConn) WriteRaw(raw []byte) error { return c.write(websocket.MessageText, raw) }

// WriteData sends a data frame, and waits first until earlier ones are on their way: for senders, which may block.
func (c *FrameConn) WriteData(p []byte) error {
	if c.out != nil {
		if err := c.out.Wait(); err != nil {
			return fmt.Errorf("write frame: %w", err)
		}
	}
	return c.write(websocket.MessageBinary, p)
}

// PassData sends a data frame without waiting for a slow network: for relays, whose peers keep the window. It fails
// with ErrSpillFull where they do not.
func (c *FrameConn) PassData(p []byte) error { return c.write(websocket.MessageBinary, p) }

func (c *FrameConn) write(kind websocket.MessageType, p []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out != nil {
		c.out.Cork()
	}
	err := c.ws.Write(context.Background(), kind, p) // a context that ends would end the WebSocket; Close does that
	if c.out != nil {
		err = errors.Join(err, c.out.Uncork())
	}
	if err != nil {
		return fmt.Errorf("write frame: %w", err)
	}
	if kind == websocket.MessageBinary {
		c.bytes.out.Add(int64(len(p)))
	}
	return nil
}

// Ping sends a WebSocket ping and waits for its pong until ctx ends, which does not end the connection.
func (c *FrameConn) Ping(ctx context.Context) error { return c.ws.Ping(ctx) }

// Close sends a close frame with the code and message of cause (normal closure for nil) and waits for the peer's, for
// at most 5 s.
func (c *FrameConn) Close(cause error) {
	code, reason := CloseFrame(cause)
	_ = c.ws.Close(code, reason)
	c.join()
}

// CloseNow drops the connection.
func (c *FrameConn) CloseNow() {
	_ = c.ws.CloseNow()
	c.join()
}

// Abort drops the connection and waits for nothing: it is safe from within a write.
func (c *FrameConn) Abort() {
	if c.out != nil {
		_ = c.out.Close()
		return
	}
	_ = c.ws.CloseNow()
}

func (c *FrameConn) join() {
	if c.out != nil {
		c.out.Join()
	}
}

// Restarting is the cause with which a stopping hub closes its carriers: they come back within seconds.
var Restarting error = wire.Errorf(wire.Offline, "The hub is restarting.")

// CloseFrame is the WebSocket close code and reason for a cause; a reason holds at most 123 bytes.
func CloseFrame(cause error) (websocket.StatusCode, string) {
	switch {
	case cause == nil:
		return websocket.StatusNormalClosure, ""
	case errors.Is(cause, Restarting):
		return wire.CloseRestarting, wire.MessageOf(Restarting)
	}
	message := wire.MessageOf(cause)
	for len(message) > 123 {
		message = wire.Printable(message, len([]rune(message))-1)
	}
	return websocket.StatusCode(wire.CodeOf(cause).CloseCode()), message
}

// CloseCause is what a peer's close frame means: nil for a normal closure, Restarting, or a *wire.Error. An error that
// is no close frame is offline: the connection was lost.
func CloseCause(err error) error {
	var frame websocket.CloseError
	if !errors.As(err, &frame) {
		return wire.Wrap(err, wire.Offline, "The connection was lost.")
	}
	switch frame.Code {
	case websocket.StatusNormalClosure, websocket.StatusGoingAway:
		return nil
	case wire.CloseRestarting:
		return Restarting
	}
	return wire.Errorf(wire.CodeOfClose(int(frame.Code)), "%s", wire.Printable(frame.Reason, 123))
}

// LocalAddr is the address of this machine that the connection uses; nil where it is not known.
func (c *FrameConn) LocalAddr() net.Addr {
	if c.out == nil {
		return nil
	}
	return c.out.LocalAddr()
}
