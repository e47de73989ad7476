// Package hooks measures the webhook broker as its users meet it: a hub in a process of its own, requests by HTTP, messages
// by MQTT, and a receiver on loopback. What it stands beside is taken in the same run: a bare server that keeps nothing,
// and the same requests sent straight to the receiver.
package hooks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/aditdev/adit/internal/bench/figure"
)

// The bounds, and the sizes of what is measured.
const (
	leastAccepted  = 1500 // requests a second
	leastDelivered = 400  // attempts a second
	mostAdded      = 25   // milliseconds from the request to the first byte at the receiver, p50
	mostStart      = 1000 // milliseconds to ready, with a backlog
	leastOfEmpty   = 0.9  // of the rate without a backlog

	repeats = 3
	turns   = 7 // of what differs by a tenth from one time to the next
	backlog = 100_000
	few     = 6000 // deliveries that are no backlog
	ends    = 16   // endpoints that take them: one is sent 1,000 a second at most, which must not be what is measured
	senders = 64   // connections that send requests at once
)

// Main measures if args name hooks, or nothing, and prints a row for each figure.
func Main(ctx context.Context, args []string, out io.Writer) error {
	if len(args) > 0 && !slices.Contains(args, "hooks") {
		return nil
	}
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	err = measure(ctx, dir, func(row string) { fmt.Fprintln(out, row) })
	if err != nil {
		err = fmt.Errorf("hooks: %w", err)
	}
	return errors.Join(err, os.RemoveAll(dir))
}

func measure(ctx context.Context, dir string, report func(string)) error {
	h, err := newHub(ctx, dir)
	if err != nil {
		return err
	}
	defer h.kill()
	r := newReceiver()
	defer r.Close()
	for _, part := range []func(context.Context, *hub, *receiver, func(string)) error{accepted, delay, delivered} {
		if err := part(ctx, h, r, report); err != nil {
			return fmt.Errorf("%w\n%s", err, h.said.String())
		}
	}
	return nil
}

// accepted measures how many requests a second are kept and answered with 202, for two kinds of work behind them.
func accepted(ctx context.Context, h *hub, r *receiver, report func(string)) error {
	for _, kind := range []struct {
		what   string
		action object
	}{
		{"hooks accepted, only kept", object{"kind": "store"}},
		{"hooks accepted, published to MQTT", object{"kind": "publish", "topic": "bench/accepted/{{ .body.n }}"}},
	} {
		url, secret, err := h.source(ctx, kind.action)
		if err != nil {
			return err
		}
		var ours, bare []float64
		for range repeats {
			n, err := h.flood(ctx, url, secret, 202)
			if err != nil {
				return err
			}
			ours = append(ours, n)
			if n, err = h.flood(ctx, r.URL, secret, 200); err != nil {
				return err
			}
			bare = append(bare, n)
		}
		v, beside := figure.Median(ours), figure.Median(bare)
		report(figure.Row(kind.what, fmt.Sprintf("%.0f/s", v), fmt.Sprintf("bare server that keeps nothing %.0f/s (× %.2f)", beside, v/beside),
			fmt.Sprintf("≥ %d/s", leastAccepted), v >= leastAccepted))
	}
	return nil
}

// delay measures what the hub adds between a request and the receiver's first byte: in, through MQTT, and out again.
func delay(ctx context.Context, h *hub, r *receiver, report func(string)) error {
	url, secret, err := h.source(ctx, object{"kind": "publish", "topic": "bench/delay"})
	if err != nil {
		return err
	}
	end, err := h.endpoint(ctx, r.URL, "bench/delay")
	if err != nil {
		return err
	}
	through, err := r.roundTrips(ctx, h.client, url, secret)
	if err != nil {
		return err
	}
	straight, err := r.roundTrips(ctx, h.client, r.URL, secret)
	if err != nil {
		return err
	}
	slices.Sort(through)
	p95 := through[len(through)*95/100]
	added := figure.Median(through) - figure.Median(straight)
	report(figure.Row("hook to first byte at a receiver, p50", fmt.Sprintf("+%.1f ms", added),
		fmt.Sprintf("sent straight %.2f ms; p95 through the hub %.1f ms", figure.Median(straight), p95), fmt.Sprintf("≤ %d ms", mostAdded), added <= mostAdded))
	return h.remove(ctx, end)
}

// delivered measures deliveries a second of a queue of a few thousand.
func delivered(ctx context.Context, h *hub, r *receiver, report func(string)) error {
	to, err := h.endpoints(ctx, r.URL)
	if err != nil {
		return err
	}
	rate, err := median(func() (float64, error) { return h.fewRate(ctx, r, to) })
	if err != nil {
		return err
	}
	bare, err := h.flood(ctx, r.URL, "", 200)
	if err != nil {
		return err
	}
	report(figure.Row("deliveries", fmt.Sprintf("%.0f/s", rate), fmt.Sprintf("%d connections that only send %.0f/s", senders, bare),
		fmt.Sprintf("≥ %d/s", leastDelivered), rate >= leastDelivered))
	return behind(ctx, h, r, to, report)
}

// behind measures the start of a second hub, with a backlog, and the rate there, in turns with that of the first.
func behind(ctx context.Context, h *hub, r *receiver, to []string, report func(string)) error {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	second, err := newHub(ctx, dir)
	if err != nil {
		return err
	}
	defer second.kill()
	its := newReceiver()
	defer its.Close()
	all, err := second.endpoints(ctx, its.URL)
	if err == nil {
		err = second.fill(ctx, all, backlog)
	}
	if err != nil {
		return err
	}
	start, err := median(func() (float64, error) {
		second.kill()
		took, err := second.start(ctx)
		return float64(took.Milliseconds()), err
	})
	if err != nil {
		return err
	}
	report(figure.Row(fmt.Sprintf("start with %d deliveries waiting", backlog), fmt.Sprintf("%.0f ms", start), "killed before",
		fmt.Sprintf("≤ %d ms", mostStart), start <= mostStart))
	var empty, full []float64
	for range turns {
		one, err := h.fewRate(ctx, r, to)
		if err != nil {
			return err
		}
		other, err := second.rate(ctx, its, all, few)
		if err == nil {
			err = second.state(ctx, all, "paused")
		}
		if err != nil {
			return err
		}
		empty, full = append(empty, one), append(full, other)
	}
	v, beside := figure.Median(full), figure.Median(empty)
	report(figure.Row("deliveries of that backlog", fmt.Sprintf("%.0f/s", v), fmt.Sprintf("without it %.0f/s (× %.2f)", beside, v/beside),
		fmt.Sprintf("≥ × %.1f", leastOfEmpty), v >= leastOfEmpty*beside))
	return nil
}

func median(measure func() (float64, error)) (float64, error) {
	var all []float64
	for range repeats {
		v, err := measure()
		if err != nil {
			return 0, err
		}
		all = append(all, v)
	}
	return figure.Median(all), nil
}
