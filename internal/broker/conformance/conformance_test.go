package conformance

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"testing"

	"github.com/coder/websocket"
)

// Who may everything on the brokers of these tests.
const user, pass = "tester", "secret"

// Most rows wait more than they work.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

var runs atomic.Int64

// each runs a row in each version that it is for, through each door.
func each(t *testing.T, w row, doors map[string]dial, exact bool) {
	for version, name := range map[string]string{"4": "3.1.1", "5": "5.0"} {
		if w.statements[version] == nil {
			continue
		}
		for door, d := range doors {
			t.Run(w.name+"/"+name+"/"+door, func(t *testing.T) {
				t.Parallel()
				if err := newRun(version, fmt.Sprintf("u%d", runs.Add(1)), d, exact).do(w); err != nil {
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
