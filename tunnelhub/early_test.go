package tunnelhub_test

import (
	"context"
	"io"
	"sync"
	"testing"

	"github.com/aditdev/adit/internal/wire"
)

// What a device says right behind its answer is not lost, however late the hub's opener gets to run.
func TestBytesRightBehindOpened(t *testing.T) {
	r := newRig(t)
	for range 200 {
		p := r.dialPeer(t)
		p.auth.Instance.Random = wire.NewID()
		p.ready()
		r.waitCarriers(1)
		var serving sync.WaitGroup
		serving.Go(func() {
			m, _, err := p.tryRead()
			open, ok := m.(wire.Open)
			if err != nil || !ok {
				t.Errorf("got %v, %v", m, err)
				return
			}
			p.send(wire.Opened{Stream: open.Stream})
			_ = p.ws.WriteData([]byte("hello"))
			p.send(wire.EOF{Stream: open.Stream})
		})
		conn, err := r.hub.Dial(context.Background(), r.request("ssh"))
		if err != nil {
			t.Fatal(err)
		}
		serving.Wait()
		if got, err := io.ReadAll(conn); err != nil || string(got) != "hello" {
			t.Fatalf("%q, %v", got, err)
		}
		conn.Reset(io.EOF)
		p.ws.CloseNow()
		r.waitCarriers(0)
	}
}
