// Package mqtt measures the hub's MQTT door beside what it is compared with: the library mochi-mqtt over WebSocket, which
// checks and keeps nothing, and Debian's Mosquitto over plain TCP, since Debian builds it without WebSockets. Each is a process of
// its own on loopback, their turns are interleaved, and the same lean clients speak with all of them.
package mqtt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/aditdev/adit/internal/bench/figure"
)

// The bounds, and how often each figure is taken; the median counts.
const (
	repeats     = 5
	leastOfBare = 0.9  // of the library's messages per second
	leastKept   = 5000 // messages per second at QoS 1 in sessions that are kept
	mostIdle    = 40   // KiB of an idle client
)

// The servers by name, in the order of their turns.
const (
	ours      = "adit"
	bare      = "bare"
	mosquitto = "mosquitto"
)

// Main measures if args name mqtt, or nothing, and prints a row for each figure. With "serve-bare ADDRESS" it is the library's
// process.
func Main(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 2 && args[0] == "serve-bare" {
		return serveBare(ctx, args[1])
	}
	if len(args) > 0 && !slices.Contains(args, "mqtt") {
		return nil
	}
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	err = measure(ctx, dir, func(row string) { fmt.Fprintln(out, row) })
	if err != nil {
		err = fmt.Errorf("mqtt: %w", err)
	}
	return errors.Join(err, os.RemoveAll(dir))
}

func measure(ctx context.Context, dir string, report func(string)) error {
	program, err := buildHub(ctx, dir)
	if err != nil {
		return err
	}
	for _, part := range []func(context.Context, servers, func(string)) error{memory, flows, delays} {
		all, err := startAll(ctx, program, dir)
		if err == nil {
			err = part(ctx, all, report)
		}
		all.stop()
		if err != nil {
			return err
		}
	}
	return nil
}

// interleave takes a figure of each server in turn, several times, and keeps the medians by name.
func interleave(all servers, times int, take func(*server) (float64, error)) (map[string]float64, error) {
	values := map[string][]float64{}
	for range times {
		for _, s := range all {
			v, err := take(s)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", s.name, err)
			}
			values[s.name] = append(values[s.name], v)
		}
	}
	medians := map[string]float64{}
	for name, v := range values {
		medians[name] = figure.Median(v)
	}
	return medians, nil
}

// beside says how ours compares with the others.
func beside(values map[string]float64) string {
	var parts []string
	for _, name := range []string{bare, mosquitto} {
		parts = append(parts, fmt.Sprintf("%s %.*f (× %.2f)", name, digits(values[name]), values[name], values[ours]/values[name]))
	}
	return strings.Join(parts, ", ")
}

// digits are those behind the point that are worth showing.
func digits(v float64) int {
	if v < 100 {
		return 1
	}
	return 0
}
