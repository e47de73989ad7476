package conformance

import (
	"context"
	"flag"
	"net"
	"os"
	"sync/atomic"
	"testing"

	"github.com/coder/websocket"
)

// Who may everything on the brokers that tests run in their own process.
const user, pass = "tester", "secret"

// Most rows wait more than they work.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// target is a broker, and who may everything on it.
type target struct {
	doors      map[string]dial // tcp and websocket
	url        string          // of the latter
	user, pass string
}

var runs atomic.Int64

// each runs a row in each version that it is for, through each door.
func each(t *testing.T, w row, g target, exact bool) {
	t.Helper()
	for version, name := range map[string]string{"4": "3.1.1", "5": "5.0"} {
		if w.statements[version] == nil {
			continue
		}
		for door, d := range g.doors {
			t.Run(w.name+"/"+name+"/"+door, func(t *testing.T) {
				t.Parallel()
				if err := g.run(t, version, d, exact).do(w); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func dialTCP(address string) dial {
	return func() (net.Conn, error) { return net.Dial("tcp", address) }
}

// dialWebSocket reaches a broker by MQTT over WebSocket (MQTT 5.0 §6).
func dialWebSocket(url string) dial {
	return func() (net.Conn, error) {
		conn, _, err := websocket.Dial(context.Background(), url, &websocket.DialOptions{Subprotocols: []string{"mqtt"}})
		if err != nil {
			return nil, err
		}
		conn.SetReadLimit(8 << 20)
		return websocket.NetConn(context.Background(), conn, websocket.MessageBinary), nil
	}
}
