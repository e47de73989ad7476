package incoming

import (
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/aditdev/adit/internal/mqtt"
)

// BenchmarkAccept is how many requests are accepted, each durable before it is answered, and published.
func BenchmarkAccept(b *testing.B) {
	for _, kind := range []string{"stored", "published"} {
		b.Run(kind, func(b *testing.B) {
			hooks := newRig(b, b.TempDir())
			hooks.broker.got = make(chan mqtt.Message, b.N)
			s := hooks.publishing(func(s *Settings) {
				if kind == "stored" {
					s.Action = Action{Kind: ActionStore}
				}
			})
			stop := hooks.run()
			var n atomic.Int64
			b.SetParallelism(32)
			hooks.source(s.ID).limit.SetLimit(1e9)
			hooks.source(s.ID).limit.SetBurst(1e9)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := hooks.send(s, `{"door":"open"}`, "Idempotency-Key", strconv.FormatInt(n.Add(1), 10)); err != nil {
						b.Error(err)
					}
				}
			})
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "accepted/s")
			stop()
		})
	}
}
