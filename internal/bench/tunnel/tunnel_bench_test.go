package tunnel

import (
	"context"
	"testing"
)

func BenchmarkBulk(b *testing.B) {
	for _, start := range paths() {
		p := start()
		for _, up := range []bool{true, false} {
			name := p.name() + map[bool]string{true: "/up", false: "/down"}[up]
			b.Run(name, func(b *testing.B) {
				b.SetBytes(bulkBytes)
				for b.Loop() {
					if _, err := bulk(context.Background(), p, 1, up, bulkBytes); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		p.close()
	}
}

func BenchmarkRoundTrip(b *testing.B) {
	for _, start := range paths() {
		p := start()
		to, stop, err := target(echo)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(p.name(), func(b *testing.B) {
			conn, err := p.dial(context.Background(), to)
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Close()
			times, err := roundTrips(conn, b.N)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(quantile(times, .5).Nanoseconds()), "p50-ns")
		})
		stop()
		p.close()
	}
}

func paths() []func() path {
	return []func() path{
		func() path { return newAdit() },
		func() path { return newBare() },
		func() path { m, _ := newSSHMux(); return m },
	}
}
