package broker

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"testing"

	bare "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"

	"github.com/aditdev/adit/internal/mqtt"
)

// startBare runs mochi-mqtt as it is, on a port: what the broker is measured beside.
func startBare(b *testing.B) *rig {
	b.Helper()
	server := bare.New(&bare.Options{Logger: slog.New(slog.DiscardHandler)})
	if err := server.AddHook(new(auth.AllowHook), nil); err != nil {
		b.Fatal(err)
	}
	if err := server.Serve(); err != nil {
		b.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			served.Go(func() { _ = server.EstablishConnection("tcp", conn) })
		}
	})
	b.Cleanup(func() { _ = l.Close(); served.Wait(); _ = server.Close() })
	return &rig{addr: l.Addr().String()}
}

// client is one of internal/mqtt, with a session that is kept or not. It speaks 3.1.1: a Receive Maximum makes the bare
// library lose messages of QoS 1.
func (r *rig) client(b *testing.B, id string, keep bool, got func()) *mqtt.Client {
	b.Helper()
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		b.Fatal(err)
	}
	o := mqtt.Options{Version: mqtt.V311, ClientID: id, Username: "admin", Password: "secret", Clean: !keep, Inflight: 64,
		OnPublish: func(_ *mqtt.Publish, ack func()) { ack(); got() }}
	c, err := mqtt.NewClient(b.Context(), conn, o)
	if err != nil {
		b.Fatal(err)
	}
	return c
}

// BenchmarkMessages sends b.N messages of 200 bytes from publishers to subscribers, each pair on a topic of its own unless
// there is one publisher; one is done when it has arrived. Ten at most per publisher wait at QoS 0, so that nobody drops.
func BenchmarkMessages(b *testing.B) {
	for _, shape := range []struct{ from, to int }{{1, 1}, {10, 10}, {1, 100}} {
		for qos := byte(0); qos <= 1; qos++ {
			for _, kind := range []string{"bare", "ours", "ours kept"} {
				b.Run(fmt.Sprintf("%dx%d/QoS%d/%s", shape.from, shape.to, qos, kind), func(b *testing.B) {
					var r *rig
					if kind == "bare" {
						r = startBare(b)
					} else {
						r = startIn(b, b.TempDir(), newPolicy())
					}
					r.measure(b, shape.from, shape.to, qos, kind == "ours kept")
				})
			}
		}
	}
}

func (r *rig) measure(b *testing.B, from, to int, qos byte, keep bool) {
	each := b.N/from + 1
	credit := make([]chan struct{}, from)
	for i := range credit {
		credit[i] = make(chan struct{}, 200)
	}
	var arrived sync.WaitGroup
	arrived.Add(each * from * max(to/from, 1))
	var all []*mqtt.Client
	for i := range to {
		n := 0
		c := r.client(b, fmt.Sprint("sub", i), keep, func() {
			if n++; i < from && n <= each {
				<-credit[i]
			}
			arrived.Done()
		})
		if _, err := c.Subscribe(b.Context(), mqtt.Subscription{Filter: fmt.Sprint("t/", i%from), QoS: qos}); err != nil {
			b.Fatal(err)
		}
		all = append(all, c)
	}
	payload := make([]byte, 200)
	var work sync.WaitGroup
	var pubs []*mqtt.Client
	for i := range from {
		pubs = append(pubs, r.client(b, fmt.Sprint("pub", i), keep, func() {}))
	}
	b.ResetTimer()
	for i, c := range pubs {
		work.Go(func() {
			for range each {
				credit[i] <- struct{}{}
				if err := c.Enqueue(context.Background(), &mqtt.Publish{Topic: fmt.Sprint("t/", i), QoS: qos, Payload: payload}, func(mqtt.ReasonCode, error) {}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	work.Wait()
	arrived.Wait()
	b.StopTimer()
	b.ReportMetric(float64(each*from)/b.Elapsed().Seconds(), "msg/s")
	for _, c := range append(all, pubs...) {
		_ = c.Close()
	}
}

// BenchmarkRetained publishes at QoS 1 what is retained, on a thousand topics; one is done when it is acknowledged, which is
// when it is on disk.
func BenchmarkRetained(b *testing.B) {
	r := startIn(b, b.TempDir(), newPolicy())
	c := r.client(b, "pub", false, func() {})
	var acked sync.WaitGroup
	acked.Add(b.N)
	b.ResetTimer()
	for i := range b.N {
		m := &mqtt.Publish{Topic: fmt.Sprint("t/", i%1000), QoS: 1, Retain: true, Payload: make([]byte, 200)}
		if err := c.Enqueue(context.Background(), m, func(mqtt.ReasonCode, error) { acked.Done() }); err != nil {
			b.Fatal(err)
		}
	}
	acked.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	_ = c.Close()
}
