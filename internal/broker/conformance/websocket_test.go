package conformance

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/coder/websocket"
)

// webSocket is one to url with a CONNECT of 5.0 ready to be sent.
func webSocket(t *testing.T, g target, subprotocols ...string) (*websocket.Conn, *http.Response, []byte) {
	t.Helper()
	conn, res, err := websocket.Dial(t.Context(), g.url, &websocket.DialOptions{Subprotocols: subprotocols})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.CloseNow() })
	w := g.run(t, "5", nil, true)
	tokens, err := tokenize(`10 . HEAD c2 003c [] "~ws" USER PASS`)
	if err != nil {
		t.Fatal(err)
	}
	connect, err := w.bytesOf(tokens)
	if err != nil {
		t.Fatal(err)
	}
	return conn, res, connect
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func write(t *testing.T, conn *websocket.Conn, kind websocket.MessageType, b []byte) {
	t.Helper()
	if err := conn.Write(within(t), kind, b); err != nil {
		t.Fatal(err)
	}
}

// collect reads until n bytes have come.
func collect(t *testing.T, conn *websocket.Conn, n int) []byte {
	t.Helper()
	var all []byte
	for len(all) < n {
		kind, b, err := conn.Read(within(t))
		if err != nil {
			t.Fatalf("after % x: %v", all, err)
		}
		if kind != websocket.MessageBinary {
			t.Errorf("the server sends a %s frame", kind)
		}
		all = append(all, b...)
	}
	return all
}

// ends waits for the end of the connection.
func ends(t *testing.T, conn *websocket.Conn) {
	t.Helper()
	for {
		if _, _, err := conn.Read(within(t)); err != nil {
			if errors.Is(err, context.DeadlineExceeded) {
				t.Error("the connection stays")
			}
			return
		}
	}
}

// Statements about WebSockets. Mosquitto 2.0 takes text frames too.
func TestWebSocket(t *testing.T) {
	t.Parallel()
	for name, g := range map[string]target{"mosquitto": mosquitto(t), "hub": wholeHub(t).target} {
		t.Run(name, func(t *testing.T) {
			t.Run("frames", func(t *testing.T) { framesAreNoPackets(t, g) })
			t.Run("subprotocol", func(t *testing.T) { saysMQTT(t, g) })
			if name == "hub" {
				t.Run("text", func(t *testing.T) { textEndsIt(t, g) })
				t.Run("nameless", func(t *testing.T) { namelessIsNotServed(t, g) })
			}
		})
	}
}

// MQTT-6.0.0-1: a frame that is not binary ends the connection.
func textEndsIt(t *testing.T, g target) {
	conn, _, connect := webSocket(t, g, "mqtt")
	write(t, conn, websocket.MessageBinary, connect)
	if ack := collect(t, conn, 2); ack[0] != 0x20 {
		t.Errorf("CONNECT is answered by % x", ack)
	}
	write(t, conn, websocket.MessageText, []byte{0xc0, 0x00})
	ends(t, conn)
}

// MQTT-6.0.0-2: packets and frames have nothing to do with each other.
func framesAreNoPackets(t *testing.T, g target) {
	conn, _, connect := webSocket(t, g, "mqtt")
	for _, b := range connect {
		write(t, conn, websocket.MessageBinary, []byte{b})
	}
	ack := collect(t, conn, 2)
	collect(t, conn, int(ack[1])+2-len(ack))
	write(t, conn, websocket.MessageBinary, []byte{0xc0, 0x00, 0xc0, 0x00, 0xc0})
	if got := collect(t, conn, 4); string(got) != "\xd0\x00\xd0\x00" {
		t.Errorf("got % x", got)
	}
	write(t, conn, websocket.MessageBinary, []byte{0x00})
	if got := collect(t, conn, 2); string(got) != "\xd0\x00" {
		t.Errorf("got % x", got)
	}
}

// MQTT-6.0.0-4: the subprotocol that the server selects is mqtt.
func saysMQTT(t *testing.T, g target) {
	_, res, _ := webSocket(t, g, "something", "mqtt")
	if got := res.Header.Get("Sec-WebSocket-Protocol"); got != "mqtt" {
		t.Errorf("the subprotocol is %q", got)
	}
}

// MQTT-6.0.0-3: who does not offer mqtt is not served.
func namelessIsNotServed(t *testing.T, g target) {
	conn, _, connect := webSocket(t, g)
	_ = conn.Write(within(t), websocket.MessageBinary, connect)
	if _, b, err := conn.Read(within(t)); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("who does not say mqtt is answered % x, %v", b, err)
	}
}
