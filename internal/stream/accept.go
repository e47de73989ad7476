package stream

import (
	"bufio"
	"context"
	"net"
	"net/http"

	"github.com/coder/websocket"
)

// Accept upgrades a request to a WebSocket of the first of subprotocols that the client offers too. The caller has
// checked the Origin; on an error Accept has answered the request.
//
// The connection no longer belongs to the HTTP server. Serve it from a goroutine that is not the handler's, and let the
// handler return: only then do the server's buffers go, and a device costs the hub a third of what it would.
func Accept(w http.ResponseWriter, r *http.Request, subprotocols ...string) (*FrameConn, error) {
	var conn *FrameConn
	heard := func() {
		if conn != nil {
			conn.Hear()
		}
	}
	small := &smallHijacker{ResponseWriter: w}
	ws, err := websocket.Accept(small, r, &websocket.AcceptOptions{
		Subprotocols:   subprotocols,
		OriginPatterns: []string{"*"}, // the door has its own, exact rule
		OnPingReceived: func(context.Context, []byte) bool { heard(); return true },
		OnPongReceived: func(context.Context, []byte) { heard() },
	})
	if err != nil {
		return nil, err
	}
	conn = NewFrameConn(ws, small.out)
	return conn, nil
}

// handshakeBuffer is the size of the WebSocket's own buffers: large reads and writes pass them by, and an idle carrier
// needs only room for a ping.
const handshakeBuffer = 512

// smallHijacker gives the WebSocket a Spill to write to, and small buffers in place of the server's of 4 KiB.
type smallHijacker struct {
	http.ResponseWriter
	out *Spill
}

func (h *smallHijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	h.out = NewSpill(conn, spillLimit, nil)
	read := bufio.NewReaderSize(h.out, handshakeBuffer)
	if n := rw.Reader.Buffered(); n > 0 { // sent right behind the request
		early, _ := rw.Reader.Peek(n)
		read = bufio.NewReaderSize(&EarlyConn{Conn: h.out, Early: append([]byte(nil), early...)}, max(n, handshakeBuffer))
		_, _ = read.Peek(n)
	}
	return h.out, bufio.NewReadWriter(read, bufio.NewWriterSize(h.out, handshakeBuffer)), nil
}

// EarlyConn reads Early, which came right behind a request, before the conn itself.
type EarlyConn struct {
	net.Conn
	Early []byte
}

func (c *EarlyConn) Read(p []byte) (int, error) {
	if len(c.Early) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.Early)
	c.Early = c.Early[n:]
	return n, nil
}
