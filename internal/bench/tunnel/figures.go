package tunnel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/aditdev/adit/internal/bench/figure"
	"github.com/aditdev/adit/tunnelhub"
)

// Repeats is how often each figure is taken, interleaved with its baselines; the median counts.
const Repeats = 5

// Paths measures what one process on loopback can: bulk, round trips, opening.
func Paths(ctx context.Context, report func(Figure)) error {
	mux, err := newSSHMux()
	if err != nil {
		return err
	}
	ours := newAdit()
	paths := []path{ours, newBare(), mux}
	defer func() {
		for _, p := range paths {
			p.close()
		}
	}()
	for _, n := range []int{1, 8} {
		for _, up := range []bool{true, false} {
			f, err := bulkFigure(ctx, paths, n, up)
			if err != nil {
				return err
			}
			report(f)
		}
	}
	for _, measure := range []func(context.Context, []path) (Figure, error){idleFigure, besideFigure} {
		f, err := measure(ctx, paths)
		if err != nil {
			return err
		}
		report(f)
	}
	f, err := openFigure(ctx, ours, 300, "open to first echoed byte, parked carrier, p50")
	if err == nil {
		report(f)
	}
	return err
}

// interleave takes a figure of each path in turn, several times, and keeps the medians.
func interleave(paths []path, take func(path) (float64, error)) (map[string]float64, error) {
	all := map[string][]float64{}
	for range Repeats {
		for _, p := range paths {
			value, err := take(p)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", p.name(), err)
			}
			all[p.name()] = append(all[p.name()], value)
		}
	}
	medians := map[string]float64{}
	for name, values := range all {
		medians[name] = figure.Median(values)
	}
	return medians, nil
}

func bulkFigure(ctx context.Context, paths []path, n int, up bool) (Figure, error) {
	values, err := interleave(paths, func(p path) (float64, error) {
		return bulk(ctx, p, n, up, bulkBytes/int64(n))
	})
	direction := map[bool]string{true: "up", false: "down"}[up]
	return Figure{What: fmt.Sprintf("bulk, %d at once, %s", n, direction), Unit: "MB/s", Values: values}, err
}

func idleFigure(ctx context.Context, paths []path) (Figure, error) {
	values, err := interleave(paths, func(p path) (float64, error) { return echoed(ctx, p) })
	return Figure{What: "64 bytes there and back, idle, p50", Unit: "µs", Values: values}, err
}

// besideFigure is the round trip while another stream of the same device moves all it can towards the person.
func besideFigure(ctx context.Context, paths []path) (Figure, error) {
	values, err := interleave(paths, func(p path) (float64, error) {
		to, stop, err := target(source(saturateBy))
		if err != nil {
			return 0, err
		}
		defer stop()
		busy, err := p.dial(ctx, to)
		if err != nil {
			return 0, err
		}
		var moved counter
		var down sync.WaitGroup
		down.Go(func() { moved.swallow(busy) })
		for moved.n.Load() < bulkBytes/8 { // in full flow
			figure.Pause(ctx, time.Millisecond)
		}
		before := moved.n.Load()
		rtt, err := echoed(ctx, p)
		if moved.n.Load() == before {
			err = errors.Join(err, errors.New("the stream beside it stood still"))
		}
		reset(busy)
		down.Wait()
		return rtt, err
	})
	return Figure{What: "64 bytes there and back beside a saturating stream, p50", Unit: "µs", Values: values}, err
}

// reset ends a stream that is in full flow.
func reset(conn net.Conn) {
	_ = conn.(*net.TCPConn).SetLinger(0)
	conn.Close()
}

func echoed(ctx context.Context, p path) (float64, error) {
	to, stop, err := target(echo)
	if err != nil {
		return 0, err
	}
	defer stop()
	conn, err := p.dial(ctx, to)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	times, err := roundTrips(conn, rounds)
	if err != nil {
		return 0, err
	}
	return float64(quantile(times, .5)) / 1e3, nil
}

// openFigure is the time from asking the hub for a stream to its first echoed byte, on a parked carrier.
func openFigure(ctx context.Context, a *adit, n int, what string) (Figure, error) {
	to, stop, err := target(echo)
	if err != nil {
		return Figure{}, err
	}
	defer stop()
	var times []float64
	for range n {
		for a.hub.Presence(device).Carriers < 1 {
			time.Sleep(time.Millisecond)
		}
		start := time.Now()
		conn, err := a.hub.Dial(ctx, tunnelhub.Request{Device: device, Target: to, User: "usr_1", Early: true})
		if err != nil {
			return Figure{}, err
		}
		if _, err = roundTrips(conn, 1); err != nil {
			return Figure{}, err
		}
		times = append(times, float64(time.Since(start).Microseconds()))
		conn.Close()
		<-conn.Done()
	}
	return Figure{What: what, Unit: "µs", Values: map[string]float64{"adit": figure.Median(times)}}, nil
}
