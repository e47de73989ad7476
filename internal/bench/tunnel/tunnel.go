// Package tunnel measures the tunnel beside what it is compared with: a bare relay of two WebSockets without
// acknowledgements or checks, and an SSH channel in one WebSocket. All run in one process on loopback, interleaved.
package tunnel

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/aditdev/adit/internal/wire"
)

// path is a way from a person's program to a target on a device.
type path interface {
	name() string
	// dial opens a stream to a target.
	dial(ctx context.Context, target wire.Target) (net.Conn, error)
	close()
}

// Figure is one measured row: what, by each path.
type Figure struct {
	What   string
	Unit   string
	Values map[string]float64 // by path
}

const (
	block      = 32 << 10
	rounds     = 2000
	bulkBytes  = 256 << 20
	saturateBy = 4 << 30
)

// target serves one kind of stream on loopback.
func target(serve func(net.Conn)) (wire.Target, func(), error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { defer conn.Close(); serve(conn) })
		}
	})
	return wire.TCPTarget("127.0.0.1", l.Addr().(*net.TCPAddr).Port), func() { l.Close() }, nil
}

// sink swallows n bytes and then says one.
func sink(n int64) func(net.Conn) {
	return func(conn net.Conn) {
		buf := make([]byte, 256<<10)
		for left := n; left > 0; {
			m, err := conn.Read(buf)
			if err != nil {
				return
			}
			left -= int64(m)
		}
		_, _ = conn.Write([]byte{1})
	}
}

// source says n bytes, and then waits for one.
func source(n int64) func(net.Conn) {
	return func(conn net.Conn) {
		buf := make([]byte, 256<<10)
		for left := n; left > 0; {
			m, err := conn.Write(buf[:min(left, int64(len(buf)))])
			if err != nil {
				return
			}
			left -= int64(m)
		}
		_, _ = conn.Read(buf[:1])
	}
}

func echo(conn net.Conn) {
	buf := make([]byte, 4096)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		if _, err = conn.Write(buf[:n]); err != nil {
			return
		}
	}
}

// bulk moves size bytes over each of n streams at once, and gives MB/s in all.
func bulk(ctx context.Context, p path, n int, up bool, size int64) (float64, error) {
	serve := source(size)
	if up {
		serve = sink(size)
	}
	to, stop, err := target(serve)
	if err != nil {
		return 0, err
	}
	defer stop()
	conns := make([]net.Conn, n)
	for i := range conns {
		if conns[i], err = p.dial(ctx, to); err != nil {
			return 0, fmt.Errorf("dial: %w", err)
		}
	}
	start := time.Now()
	errs := make(chan error, n)
	for _, conn := range conns {
		go func() {
			if up {
				errs <- upload(conn, size)
			} else {
				errs <- download(conn, size)
			}
		}()
	}
	for range conns {
		if err := <-errs; err != nil {
			return 0, err
		}
	}
	took := time.Since(start)
	for _, conn := range conns {
		conn.Close()
	}
	return float64(size) * float64(n) / 1e6 / took.Seconds(), nil
}

func upload(conn net.Conn, size int64) error {
	buf := make([]byte, block)
	for left := size; left > 0; left -= int64(len(buf)) {
		if _, err := conn.Write(buf); err != nil {
			return fmt.Errorf("upload: %w", err)
		}
	}
	_, err := io.ReadFull(conn, buf[:1])
	return err
}

func download(conn net.Conn, size int64) error {
	buf := make([]byte, block)
	for left := size; left > 0; {
		n, err := conn.Read(buf)
		if err != nil {
			return fmt.Errorf("download: %w", err)
		}
		left -= int64(n)
	}
	_, err := conn.Write(buf[:1])
	return err
}

// roundTrips sends 64 bytes to an echo n times and gives the times sorted.
func roundTrips(conn net.Conn, n int) ([]time.Duration, error) {
	buf := make([]byte, 64)
	times := make([]time.Duration, n)
	for i := range times {
		start := time.Now()
		if _, err := conn.Write(buf); err != nil {
			return nil, err
		}
		if _, err := io.ReadFull(conn, buf); err != nil {
			return nil, err
		}
		times[i] = time.Since(start)
	}
	slices.Sort(times)
	return times, nil
}

func quantile(sorted []time.Duration, q float64) time.Duration {
	return sorted[int(q*float64(len(sorted)-1))]
}
