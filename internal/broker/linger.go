package broker

import "time"

// halfClose ends our side of a connection and leaves the peer's open: where it has sent what nobody reads any more, closing
// at once would reset the connection, and what is on its way to the peer, the reason too, would be lost (RFC 1122 §4.2.2.13).
// Whoever reads drains it then. False where a connection has no halves: a WebSocket waits for its peer by itself.
func (c *conn) halfClose() bool {
	half, ok := c.net.(interface{ CloseWrite() error })
	return ok && half.CloseWrite() == nil && c.net.SetReadDeadline(time.Now().Add(closeWithin/2)) == nil
}
