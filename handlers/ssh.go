package handlers

import (
	"context"
	"crypto/sha1" //nolint:gosec // RFC 6455 §4.2.2 asks for it; nothing is protected by it
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/labstack/echo/v4"

	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
)

// ssh is GET /ssh, the way of stock OpenSSH to the gate, in three forms: a WebSocket of subprotocol ssh, whose binary
// messages are the bytes; `Upgrade: ssh`, with the bytes themselves behind the 101; and for what passes no other upgrade
// `?raw` with `Upgrade: websocket`, bytes likewise. Who comes is found out in SSH.
func (a *api) ssh(c echo.Context) error {
	r := c.Request()
	upgrade := strings.ToLower(r.Header.Get("Upgrade"))
	_, raw := r.URL.Query()["raw"]
	switch {
	case upgrade == "ssh", upgrade == "websocket" && raw:
		return a.sshRaw(c)
	case upgrade == "websocket":
		return a.sshWebSocket(c)
	}
	c.Response().Header().Set("Upgrade", "ssh, websocket")
	return echo.NewHTTPError(http.StatusUpgradeRequired, "This is the door of stock OpenSSH: the page of a device shows the lines "+
		"for ~/.ssh/config. If you use them, a proxy before the hub has stripped the Upgrade header.")
}

// sshRaw answers 101 and hands the connection itself to the gate.
func (a *api) sshRaw(c echo.Context) error {
	w, r := c.Response(), c.Request()
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return err
	}
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	reply := "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + r.Header.Get("Upgrade") + "\r\n"
	if key := r.Header.Get("Sec-WebSocket-Key"); key != "" { // an edge between may look for it
		reply += "Sec-WebSocket-Accept: " + acceptKey(key) + "\r\n"
	}
	if _, err := conn.Write([]byte(reply + "\r\n")); err != nil {
		_ = conn.Close()
		return nil
	}
	_ = conn.SetDeadline(time.Time{})
	early, _ := buffered.Reader.Peek(buffered.Reader.Buffered())
	a.SSH(&stream.EarlyConn{Conn: conn, Early: append([]byte(nil), early...)}, c.RealIP())
	return nil
}

// acceptKey is the answer to a WebSocket's key (RFC 6455 §4.2.2).
func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // see the import
	return base64.StdEncoding.EncodeToString(sum[:])
}

func (a *api) sshWebSocket(c echo.Context) error {
	ws, err := websocket.Accept(c.Response(), c.Request(), &websocket.AcceptOptions{
		Subprotocols: []string{subprotocolSSH}, OriginPatterns: a.origins.hosts(), CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		return nil // Accept has answered
	}
	if ws.Subprotocol() != subprotocolSSH {
		_ = ws.Close(websocket.StatusCode(wire.Invalid.CloseCode()), "Name the subprotocol ssh.")
		return nil
	}
	a.SSH(newSocketConn(ws), c.RealIP())
	return nil
}

const (
	subprotocolSSH = "ssh"
	sshMessage     = 1 << 20 // bytes of one message; clients cut their streams as they like
)

// socketConn is a WebSocket as the gate needs a net.Conn: bytes in binary messages, and a deadline that ends it.
type socketConn struct {
	net.Conn // of the upgrade: only its addresses are used
	ws       *websocket.Conn
	message  io.Reader // what is left of one
	deadline *time.Timer
}

func newSocketConn(ws *websocket.Conn) *socketConn {
	c := &socketConn{Conn: websocket.NetConn(context.Background(), ws, websocket.MessageBinary), ws: ws}
	ws.SetReadLimit(sshMessage) // which NetConn has lifted
	return c
}

// Read is net.Conn's. A text message is an error of the peer's, which is told so.
func (c *socketConn) Read(p []byte) (int, error) {
	for {
		if c.message == nil {
			kind, message, err := c.ws.Reader(context.Background())
			if err != nil {
				return 0, err
			}
			if kind != websocket.MessageBinary {
				e := wire.Errorf(wire.Invalid, "This door takes binary messages only.")
				_ = c.ws.Close(websocket.StatusCode(e.Code.CloseCode()), e.Message)
				return 0, e
			}
			c.message = message
		}
		n, err := c.message.Read(p)
		if errors.Is(err, io.EOF) {
			c.message, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func (c *socketConn) Write(p []byte) (int, error) {
	if err := c.ws.Write(context.Background(), websocket.MessageBinary, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (c *socketConn) Close() error { return c.ws.CloseNow() }

// SetDeadline ends the connection at a time; the zero time lifts it.
func (c *socketConn) SetDeadline(at time.Time) error {
	if c.deadline != nil {
		c.deadline.Stop()
	}
	if !at.IsZero() {
		c.deadline = time.AfterFunc(time.Until(at), func() { _ = c.ws.CloseNow() })
	}
	return nil
}

// SetWriteDeadline is not needed: a peer that takes nothing answers no keepalive either.
func (c *socketConn) SetWriteDeadline(time.Time) error { return nil }

// SetReadDeadline likewise.
func (c *socketConn) SetReadDeadline(time.Time) error { return nil }
