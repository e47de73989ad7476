package tunnelhub_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/agent/carrier"
	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
	"github.com/aditdev/adit/tunnelhub"
)

// door is a person's WebSocket, driven by hand.
func (r *rig) door(t *testing.T, target wire.Target) *stream.FrameConn {
	t.Helper()
	u := r.server.URL + "/api/v1/devices/" + device + "/connect?target=" + url.QueryEscape(string(target))
	ws, err := stream.Dialer{}.Dial(context.Background(), u, http.Header{}, wire.SubprotocolStream)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ws.CloseNow)
	return ws
}

// A person who goes on talking when the stream is over is not heard by the next stream of its carrier, which may be
// somebody else's.
func TestNothingLeaksIntoTheNextStream(t *testing.T) {
	r := newRig(t)
	for range 100 {
		leakOnce(t, r)
	}
}

// leakOnce is one round of it. Long because each step depends on the one before.
func leakOnce(t *testing.T, r *rig) {
	p := r.dialPeer(t)
	p.auth.Instance.Random = wire.NewID()
	p.ready()
	r.waitCarriers(1)
	hostile := r.door(t, "tcp:127.0.0.1:1")
	if err := hostile.WriteMessage(wire.Open{Stream: 1, Target: "tcp:127.0.0.1:1"}); err != nil {
		t.Fatal(err)
	}
	m, _ := p.read()
	open := m.(wire.Open)
	p.send(wire.Opened{Stream: open.Stream})
	opened := make(chan error, 1)
	go func() { _, _, err := hostile.ReadMessage(context.Background()); opened <- err }()
	if err := <-opened; err != nil {
		t.Fatal(err)
	}
	var flood sync.WaitGroup
	flood.Go(func() {
		for hostile.WriteData([]byte("injected")) == nil {
			runtime.Gosched()
		}
	})
	flood.Go(func() {
		for {
			if _, _, err := hostile.Next(context.Background()); err != nil {
				return
			}
		}
	})
	second := make(chan error, 1)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	go func() {
		conn, err := r.hub.Dial(ctx, r.request("tcp:127.0.0.1:2"))
		if err == nil {
			conn.Reset(io.EOF)
		}
		second <- err
	}()
	parked, next := false, false
	for frames := 0; ; frames++ {
		data, payload, err := p.ws.Next(context.Background())
		if err != nil {
			break // a carrier that ends harms nobody
		}
		raw, _ := io.ReadAll(payload)
		if data && next {
			t.Fatalf("%q came after the next stream's open", raw)
		}
		if !parked && frames == 3 {
			parked = true
			p.send(wire.Parked{Stream: open.Stream})
		}
		if m, err := wire.Decode(raw); !data && err == nil {
			o, ok := m.(wire.Open)
			if ok && o.Target == "tcp:127.0.0.1:2" {
				next = true
				p.send(wire.Opened{Stream: o.Stream})
			}
			if _, over := m.(wire.Reset); over && next {
				break
			}
		}
	}
	<-second
	p.ws.CloseNow()
	hostile.CloseNow()
	flood.Wait()
	r.waitCarriers(0)
}

// A right that is withdrawn while bytes pour down ends the target's connection at once, not when its stream could no
// longer be taken up.
func TestWithdrawnUnderLoad(t *testing.T) {
	r := newRig(t)
	over := make(chan struct{}, 10)
	target := listen(t, func(conn net.Conn) {
		for {
			if _, err := conn.Write(make([]byte, 32<<10)); err != nil {
				over <- struct{}{}
				return
			}
		}
	})
	r.agent(nil)
	r.waitOnline(true)
	for i := range 10 {
		conn := r.dialDevice(target, stream.DeviceOptions{})
		if i%2 == 0 { // a person who takes it all, and one who does not
			go func() { _, _ = io.Copy(io.Discard, conn) }()
		}
		if _, err := io.ReadFull(conn, make([]byte, 1000)); i%2 == 1 && err != nil {
			t.Fatal(err)
		}
		if n := r.hub.CloseStreams(func(tunnelhub.Info) bool { return true }); n != 1 {
			t.Fatalf("%d streams", n)
		}
		select {
		case <-over:
		case <-time.After(patience): // half of the time for which a stream can be taken up
			t.Fatalf("round %d: the target is still connected", i)
		}
		conn.Close()
	}
}

// Nothing is left behind by streams that came and went, however they did. Long because each way is a step
// of one round.
func TestManyStreamsLeaveNothing(t *testing.T) {
	r := newRig(t)
	target := listen(t, echo)
	nobody := wire.Target("tcp:127.0.0.1:1")
	pools := make(chan *carrier.Pool, 1)
	r.pool(func(p *carrier.Pool) { pools <- p })
	<-pools
	r.waitOnline(true)
	settle := func() {
		until(t, "no streams", func() bool { return len(r.hub.Streams()) == 0 })
		until(t, "few carriers", func() bool { return r.hub.Presence(device).Carriers <= 40 })
	}
	round := func(n int) {
		var all sync.WaitGroup
		for i := range n {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				defer cancel()
				switch i % 5 {
				case 0: // refused
					if conn, err := r.hub.Dial(ctx, r.request(nobody)); err == nil {
						conn.Close()
						t.Error("nobody answered")
					}
					return
				case 1: // given up
					cancel()
				}
				conn, err := r.hub.Dial(ctx, r.request(target))
				if err != nil {
					if i%5 != 1 {
						t.Error(err)
					}
					return
				}
				if i%5 == 2 {
					conn.Reset(io.EOF)
					return
				}
				said := fmt.Sprint(i)
				_, _ = io.WriteString(conn, said)
				if i%5 == 3 {
					_ = conn.CloseWrite()
					if got, err := io.ReadAll(conn); string(got) != said {
						t.Errorf("%q, %v", got, err)
					}
				}
				_ = conn.Close()
			})
			if i%20 == 19 {
				all.Wait()
			}
		}
		all.Wait()
	}
	round(100)
	settle()
	before := runtime.NumGoroutine()
	round(600)
	settle()
	for deadline := time.Now().Add(patience); runtime.NumGoroutine() > before+100; runtime.Gosched() { // what is over may be ending
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, then %d\n%s", before, runtime.NumGoroutine(), buf[:runtime.Stack(buf, true)])
		}
	}
}

// Unknown messages are ignored however many come, and messages that are none end their carrier alone.
func TestStrangeMessages(t *testing.T) {
	r := newRig(t)
	p := r.dialPeer(t)
	p.ready()
	for range 100_000 {
		if err := p.ws.WriteRaw([]byte(`{"type":"from-the-future","stream":1}`)); err != nil {
			t.Fatal(err)
		}
	}
	p.send(wire.Call{ID: "a", Method: "facts"})
	if m, _ := p.read(); m.(wire.Result).ID != "a" {
		t.Fatalf("got %v", m)
	}
	for _, raw := range []string{
		strings.Repeat("[", wire.MaxFrame), strings.Repeat(`{"type":`, 4000), `{"type":"ack","stream":0,"bytes":-1}`,
		`{"type":"ack","stream":0,"bytes":9223372036854775808}`, `{"type":"parked","stream":0}`, `{"type":"eof"}`,
		`{"type":"opened","stream":1}`, `{"type":"open","stream":1,"target":"ssh"}`, `{"type":"hello","nonce":"a"}`, `null`, ``,
	} {
		p := r.dialPeer(t)
		p.auth.Instance.Random = p.auth.Instance.Random + "a"
		p.auth.Instance.Counter += 1
		if err := p.ws.WriteRaw(nil); err != nil {
			t.Fatal(err)
		}
		_ = p.ws.WriteRaw([]byte(raw))
		if _, _, err := p.tryRead(); err == nil {
			t.Errorf("%.40q passed in a handshake", raw)
		}
	}
	r.waitCarriers(1)
}

// A device that calls and calls is told so, and does not keep the hub busy.
func TestCallFlood(t *testing.T) {
	r := newRig(t)
	p := r.dialPeer(t)
	p.ready()
	var sending sync.WaitGroup
	const calls = 5000
	sending.Go(func() {
		for i := range calls {
			if p.ws.WriteMessage(wire.Call{ID: fmt.Sprint(i), Method: "facts"}) != nil {
				return
			}
		}
	})
	for range calls {
		m, _ := p.read()
		if result := m.(wire.Result); result.Code != "" && result.Code != wire.RateLimited {
			t.Fatalf("got %+v", result)
		}
	}
	sending.Wait()
}
