package stream

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// netConns are both ends of a WebSocket of plain bytes: that of Accept, and the peer's, which reads only when asked.
func netConns(t *testing.T) (ours *FrameConn, theirs *websocket.Conn) {
	t.Helper()
	accepted := make(chan *FrameConn, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := Accept(w, r, "mqtt")
		if err != nil {
			t.Error(err)
		}
		accepted <- c
	}))
	t.Cleanup(server.Close)
	theirs, _, err := websocket.Dial(t.Context(), server.URL, &websocket.DialOptions{Subprotocols: []string{"mqtt"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = theirs.CloseNow() })
	ours = <-accepted
	t.Cleanup(ours.CloseNow)
	return ours, theirs
}

// Plain bytes wait for a slow peer, however many there are: frames' writes queue a window and then fail, which took MQTT
// connections down that were only slow.
func TestNetConnWaitsForASlowPeer(t *testing.T) {
	t.Parallel()
	ours, theirs := netConns(t)
	conn := ours.NetConn(t.Context())
	const total = 4 * spillLimit
	written := make(chan error, 1)
	go func() {
		_, err := conn.Write(make([]byte, total))
		written <- err
	}()
	select {
	case err := <-written:
		t.Fatalf("nobody reads, and the write returns: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	peer := websocket.NetConn(context.Background(), theirs, websocket.MessageBinary)
	if n, err := io.CopyN(io.Discard, peer, total); err != nil {
		t.Errorf("%d of %d bytes: %v", n, total, err)
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
}

func TestNetConnDeadlines(t *testing.T) {
	t.Parallel()
	ours, _ := netConns(t)
	conn := ours.NetConn(t.Context())
	_ = conn.SetDeadline(time.Now().Add(time.Hour))
	_ = conn.SetDeadline(time.Time{})
	_ = conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	if _, err := conn.Write(make([]byte, 4*spillLimit)); err == nil {
		t.Error("a write outlives its deadline")
	}
	ours, _ = netConns(t)
	conn = ours.NetConn(t.Context())
	_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("a read outlives its deadline")
	}
}
