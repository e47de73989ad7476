package hooks

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"time"

	"github.com/aditdev/adit/internal/bench/figure"
)

// receiver takes requests, counts them, and tells when the next began.
type receiver struct {
	*httptest.Server
	count atomic.Int64
	began chan time.Time // of the first request that nobody was told of yet
}

func newReceiver() *receiver {
	r := &receiver{began: make(chan time.Time, 1)}
	r.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
		select {
		case r.began <- time.Now():
		default:
		}
		_, _ = io.Copy(io.Discard, q.Body)
		r.count.Add(1)
	}))
	return r
}

// roundTrips sends requests one after the other and gives, for each, the milliseconds until the receiver's first byte.
func (r *receiver) roundTrips(ctx context.Context, client *http.Client, url, secret string) (all []float64, err error) {
	for n := range 300 {
		select {
		case <-r.began:
		default:
		}
		began := time.Now()
		if err := send(ctx, client, url, secret, n, 0); err != nil {
			return nil, err
		}
		select {
		case at := <-r.began:
			all = append(all, float64(at.Sub(began).Microseconds())/1000)
		case <-time.After(10 * time.Second):
			return nil, errSilent
		}
		figure.Pause(ctx, 5*time.Millisecond)
	}
	return all, ctx.Err()
}
