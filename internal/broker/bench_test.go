package broker

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"

	"github.com/aditdev/adit/internal/mqtt"
)

// client is one of internal/mqtt, with a session that is kept or not.
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

// These are for profiles of the broker alone; internal/bench/mqtt measures the door beside other brokers.

// BenchmarkMessages sends b.N messages of 200 bytes from publishers to subscribers, each pair on a topic of its own unless
// there is one publisher; one is done when it has arrived. Ten at most per publisher wait at QoS 0, so that nobody drops.
func BenchmarkMessages(b *testing.B) {
	for _, shape := range []struct{ from, to int }{{1, 1}, {10, 10}, {1, 100}} {
		for qos := byte(0); qos <= 1; qos++ {
			for _, kind := range []string{"clean", "kept"} {
				b.Run(fmt.Sprintf("%dx%d/QoS%d/%s", shape.from, shape.to, qos, kind), func(b *testing.B) {
					startIn(b, b.TempDir(), newPolicy()).measure(b, shape.from, shape.to, qos, kind == "kept")
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
