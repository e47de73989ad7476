package mqtt

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aditdev/adit/internal/bench/figure"
	codec "github.com/aditdev/adit/internal/mqtt"
)

const (
	paceRate   = 1000 // messages per second
	pacedFor   = 700 * time.Millisecond
	mostOfBare = 1.5 // of the library's median
)

// delays are how long a message is under way from a publisher to a subscriber while there is little to do.
func delays(ctx context.Context, all servers, report func(string)) error {
	for qos := range byte(2) {
		tails := map[string][]float64{}
		middle, err := interleave(all, repeats, func(s *server) (float64, error) {
			p50, p99, err := s.delay(ctx, shape{1, 1, qos, false})
			tails[s.name] = append(tails[s.name], p99)
			return p50, err
		})
		if err != nil {
			return err
		}
		tail := map[string]float64{}
		for name, values := range tails {
			tail[name] = figure.Median(values)
		}
		row := func(what string, values map[string]float64, bound string, met bool) {
			report(figure.Row(fmt.Sprintf("MQTT at %d msg/s, QoS %d, %s", paceRate, qos, what), fmt.Sprintf("%.0f µs", values[ours]),
				beside(values), bound, met))
		}
		row("p50", middle, fmt.Sprintf("≤ %.1f × bare", mostOfBare), middle[ours] <= mostOfBare*middle[bare])
		row("p99", tail, "no bound", true)
	}
	return nil
}

// delay gives quantiles in microseconds.
func (s *server) delay(ctx context.Context, sh shape) (p50, p99 float64, err error) {
	epoch := time.Now()
	var times []float64
	r := &run{shape: sh, server: s}
	r.heard = func(payload []byte) {
		sent := time.Duration(binary.BigEndian.Uint64(payload))
		times = append(times, float64((time.Since(epoch) - sent).Microseconds()))
	}
	err = r.subscribers()
	if err == nil {
		err = r.pace(ctx, epoch)
	}
	if err == nil {
		err = r.drain(ctx)
	}
	r.close()
	if err != nil || len(times) == 0 {
		return 0, 0, errors.Join(err, errors.New("nothing was measured"))
	}
	slices.Sort(times)
	return times[len(times)/2], times[len(times)*99/100], nil
}

// pace sends one message after the other, each with the time at which it leaves.
func (r *run) pace(ctx context.Context, epoch time.Time) error {
	p, _, err := r.publisher(0)
	if err != nil {
		return err
	}
	payload := make([]byte, payloadSize)
	const between = time.Second / paceRate
	began := time.Now()
	for i := range int(pacedFor / between) {
		figure.Pause(ctx, time.Until(began.Add(time.Duration(i)*between)))
		binary.BigEndian.PutUint64(payload, uint64(time.Since(epoch)))
		frame, err := codec.Encode(&codec.Publish{Topic: r.topic(0), QoS: r.qos, ID: uint16(i+1) * uint16(r.qos), Payload: payload}, codec.V311)
		if err != nil {
			return err
		}
		if err := p.write(p.frame(nil, frame)); err != nil {
			return err
		}
		r.sent.Add(1)
	}
	return nil
}
