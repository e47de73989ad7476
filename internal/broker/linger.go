package broker

import (
	"io"
	"time"
)

// halfClose ends our side of a connection and leaves the peer's open: where it has sent what nobody reads any more, closing
// at once would reset the connection, and what is on its way to the peer, the reason too, would be lost (RFC 1122 §4.2.2.13).
// Whoever reads drains it then. False where the connection cannot be closed by halves: a WebSocket waits for its peer by itself.
func (c *conn) halfClose() bool {
	half, ok := c.net.(interface{ CloseWrite() error })
	return ok && half.CloseWrite() == nil && c.net.SetReadDeadline(time.Now().Add(closeWithin)) == nil
}

// drain reads until the peer's end, or until closeWithin after halfClose.
func (c *conn) drain() { _, _ = io.Copy(io.Discard, c.r) }
