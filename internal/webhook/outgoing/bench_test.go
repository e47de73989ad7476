package outgoing

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/store"
)

// BenchmarkDeliver is issue 5, "It shows" 6: deliveries per second to a receiver on this machine, from a queue that is empty otherwise and from one of
// 100,000, and how soon a hub begins with that.
func BenchmarkDeliver(b *testing.B) {
	for _, backlog := range []int{0, 100_000} {
		b.Run("backlog="+strconv.Itoa(backlog), func(b *testing.B) { benchmarkDeliver(b, backlog) })
	}
}

func benchmarkDeliver(b *testing.B, backlog int) {
	dir, to := b.TempDir(), newReceiver(b, func(http.ResponseWriter, *http.Request) {})
	feed := stillRig(b, dir)
	feed.endpoint(to.URL, func(s *Spec) { s.Topics, s.Concurrency = &[]string{"#"}, ptr(32) })
	fill(b, feed, backlog+b.N)
	began := time.Now()
	r := stillRig(b, dir, func(o *Options) { o.Alone, o.Poll = true, time.Second })
	opened := time.Since(began)
	b.ResetTimer()
	r.run()
	to.await(b, 1)
	first := time.Since(began)
	to.await(b, b.N)
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "deliveries/s")
	b.ReportMetric(float64(opened.Milliseconds()), "open-ms")
	b.ReportMetric(float64(first.Milliseconds()), "first-ms")
}

func fill(b *testing.B, r *rig, n int) {
	for n > 0 {
		list := make([]messaging.Received, min(n, 1000))
		for i := range list {
			list[i] = message("t/"+strconv.Itoa(i), `{"temperature":21.5}`)
		}
		must(b, r.Store.WriteQuietly(context.Background(), func(q *store.Queries) error { return r.Take(context.Background(), q, list) }))
		n -= len(list)
	}
}

// BenchmarkLatency is from the commit of a message, one at a time, to its first byte at the receiver.
func BenchmarkLatency(b *testing.B) {
	to := newReceiver(b, nil)
	r := newRig(b, func(o *Options) { o.Poll = time.Second })
	r.endpoint(to.URL, func(s *Spec) { s.Topics = &[]string{"#"} })
	var took []time.Duration
	for n := range b.N {
		m := list(message("t", "x"))
		r.Wants(m[0])
		must(b, r.Store.WriteTogether(context.Background(), func(q *store.Queries) error { return r.Take(context.Background(), q, m) }))
		began := time.Now()
		r.Taken(m)
		took = append(took, to.await(b, n+1)[n].at.Sub(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*95/100].Microseconds())/1000, "p95-ms")
}
