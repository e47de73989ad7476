package stream

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/aditdev/adit/internal/wire"
)

// NetConn is the WebSocket as a conn of plain bytes in data frames, until ctx ends. Its writes wait for a slow peer, which
// those of frames do not: whoever sends learns how fast they are read. A deadline that passes ends it.
func (c *FrameConn) NetConn(ctx context.Context) net.Conn {
	return &byteConn{Conn: websocket.NetConn(ctx, c.ws, websocket.MessageBinary), frames: c}
}

type byteConn struct {
	net.Conn
	frames *FrameConn

	mu    sync.Mutex
	write *time.Timer
}

// Read is net.Conn's.
func (c *byteConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.frames.Hear()
	}
	return n, err
}

// Write is net.Conn's.
func (c *byteConn) Write(p []byte) (int, error) {
	for n := 0; n < len(p); {
		part := p[n:min(n+wire.MaxFrame, len(p))]
		if err := c.frames.WriteData(part); err != nil {
			return n, err
		}
		n += len(part)
	}
	return len(p), nil
}

// Close is net.Conn's. It waits for the peer's close frame, for at most 5 s.
func (c *byteConn) Close() error {
	_ = c.SetWriteDeadline(time.Time{})
	err := c.Conn.Close()
	c.frames.join()
	return err
}

// SetDeadline is net.Conn's.
func (c *byteConn) SetDeadline(at time.Time) error {
	_ = c.SetWriteDeadline(at)
	return c.SetReadDeadline(at)
}

// SetWriteDeadline is net.Conn's.
func (c *byteConn) SetWriteDeadline(at time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.write != nil {
		c.write.Stop()
		c.write = nil
	}
	if !at.IsZero() {
		c.write = time.AfterFunc(time.Until(at), c.frames.Abort)
	}
	return nil
}
