package mqtt

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aditdev/adit/internal/bench/figure"
	codec "github.com/aditdev/adit/internal/mqtt"
)

const (
	payloadSize  = 200                    // bytes
	warmUp       = 100 * time.Millisecond // of each run, before counting begins
	counting     = 300 * time.Millisecond
	countingKept = 800 * time.Millisecond // several commits of thousands of rows
	drainWithin  = 10 * time.Second       // for what is under way when a run ends
	ahead        = 200                    // messages of a publisher that have not arrived yet; nobody's queue overflows
	unanswered   = 64                     // messages of QoS 1 that await PUBACK
	atOnce       = 32                     // messages in one write
)

// shape is who publishes to whom: each publisher has a topic of its own, subscribers are spread over them.
type shape struct {
	from, to int
	qos      byte
	kept     bool // sessions outlive their connections
}

func (sh shape) String() string {
	return fmt.Sprintf("MQTT %d×%d, QoS %d, %s sessions", sh.from, sh.to, sh.qos, map[bool]string{true: "kept", false: "clean"}[sh.kept])
}

// fan is how many subscribers get each message.
func (sh shape) fan() int { return sh.to / sh.from }

// flows are messages delivered in a second.
func flows(ctx context.Context, all servers, report func(string)) error {
	for _, kind := range []struct {
		qos  byte
		kept bool
	}{{0, false}, {1, false}, {1, true}} {
		for _, size := range [][2]int{{1, 1}, {10, 10}, {1, 100}} {
			sh := shape{size[0], size[1], kind.qos, kind.kept}
			values, err := interleave(all, repeats, func(s *server) (float64, error) { return s.flow(ctx, sh) })
			if err != nil {
				return fmt.Errorf("%v: %w", sh, err)
			}
			least, bound := leastOfBare*values[bare], fmt.Sprintf("≥ %.1f × bare", leastOfBare)
			if sh.kept {
				least, bound = leastKept, fmt.Sprintf("≥ %d msg/s", leastKept)
			}
			report(figure.Row(sh.String(), fmt.Sprintf("%.0f msg/s", values[ours]), beside(values), bound, values[ours] >= least))
		}
	}
	return nil
}

// run is a shape at work on a server.
type run struct {
	shape
	server  *server
	gates   []*gate // of each publisher
	peers   []*peer
	sent    atomic.Int64
	arrived atomic.Int64
	work    sync.WaitGroup
	failed  chan error
	heard   func(payload []byte) // by one subscriber at a time; may be nil
}

func (s *server) flow(ctx context.Context, sh shape) (rate float64, err error) {
	r := &run{shape: sh, server: s}
	if err := r.subscribers(); err != nil {
		r.close()
		return 0, err
	}
	err = r.publishers()
	if err == nil {
		figure.Pause(ctx, warmUp)
		began, before := time.Now(), r.arrived.Load()
		figure.Pause(ctx, map[bool]time.Duration{false: counting, true: countingKept}[r.kept])
		rate = float64(r.arrived.Load()-before) / time.Since(began).Seconds()
		err = r.drain(ctx)
	}
	r.close()
	return rate, errors.Join(err, r.forget())
}

func (r *run) topic(i int) string { return fmt.Sprintf("bench/flow/%d", i%r.from) }

func (r *run) subscribers() error {
	r.failed = make(chan error, r.from+r.to)
	for range r.from {
		r.gates = append(r.gates, newGate(ahead, r.fan()))
	}
	for i := range r.to {
		p, err := r.server.dial(fmt.Sprintf("sub%d", i), !r.kept)
		if err != nil {
			return err
		}
		r.peers = append(r.peers, p)
		if err := p.subscribe(r.topic(i), r.qos); err != nil {
			return err
		}
		r.work.Go(func() { r.failed <- r.consume(p, r.gates[i%r.from]) })
	}
	return nil
}

// consume takes messages, and answers them when nothing more has come, as clients that are quick do.
func (r *run) consume(p *peer, g *gate) error {
	var answers []byte
	for n := 0; ; {
		m, err := p.next()
		if err != nil {
			return err
		}
		if m.kind != codec.PUBLISH {
			continue
		}
		if r.heard != nil {
			r.heard(m.body)
		}
		if m.id != 0 {
			answers = p.frame(answers, []byte{byte(codec.PUBACK) << 4, 2, byte(m.id >> 8), byte(m.id)})
		}
		if n++; n < atOnce && !p.quiet() {
			continue
		}
		if len(answers) > 0 {
			if err := p.write(answers); err != nil {
				return err
			}
			answers = answers[:0]
		}
		r.arrived.Add(int64(n))
		g.give(n)
		n = 0
	}
}

func (r *run) publishers() error {
	for i := range r.from {
		p, acks, err := r.publisher(i)
		if err != nil {
			return err
		}
		r.work.Go(func() { r.failed <- r.publish(p, r.topic(i), r.gates[i], acks) })
	}
	return nil
}

// publisher connects one; acks are given back by PUBACKs.
func (r *run) publisher(i int) (p *peer, acks *gate, err error) {
	if p, err = r.server.dial(fmt.Sprintf("pub%d", i), !r.kept); err != nil {
		return nil, nil, err
	}
	r.peers = append(r.peers, p)
	acks = newGate(unanswered, 1)
	r.work.Go(func() {
		defer acks.close()
		for {
			m, err := p.next()
			if err != nil {
				return
			}
			if m.kind == codec.PUBACK {
				acks.give(1)
			}
		}
	})
	return p, acks, nil
}

// publish sends as fast as its gates let it, until they are closed.
func (r *run) publish(p *peer, topic string, g, acks *gate) error {
	frame, err := codec.Encode(&codec.Publish{Topic: topic, QoS: r.qos, ID: uint16(r.qos), Payload: make([]byte, payloadSize)}, codec.V311)
	if err != nil {
		return err
	}
	var id uint16
	var out []byte
	for {
		n := g.take(atOnce)
		if n == 0 {
			return nil
		}
		for n > 0 {
			now := n
			if r.qos > 0 {
				if now = acks.take(n); now == 0 {
					return errors.New("the server cut a publisher off")
				}
			}
			out = out[:0]
			for range now {
				if r.qos > 0 {
					id = max(id+1, 1)
					binary.BigEndian.PutUint16(frame[len(frame)-payloadSize-2:], id)
				}
				out = p.frame(out, frame)
			}
			if err := p.write(out); err != nil {
				return err
			}
			r.sent.Add(int64(now))
			n -= now
		}
	}
}

// drain stops the publishers and waits for what they have sent: a server that loses messages is not fast.
func (r *run) drain(ctx context.Context) error {
	for _, g := range r.gates {
		g.close()
	}
	for late := time.Now().Add(drainWithin); ; figure.Pause(ctx, time.Millisecond) {
		sent, arrived := r.sent.Load()*int64(r.fan()), r.arrived.Load()
		if sent == arrived {
			return ctx.Err()
		}
		if time.Now().After(late) {
			return fmt.Errorf("%d of %d messages arrived", arrived, sent)
		}
	}
}

func (r *run) close() {
	for _, g := range r.gates {
		g.close()
	}
	for _, p := range r.peers {
		p.close()
	}
	r.work.Wait()
}

// forget ends what sessions were kept, for the next run to begin with none.
func (r *run) forget() error {
	if !r.kept {
		return nil
	}
	for kind, n := range map[string]int{"sub": r.to, "pub": r.from} {
		for i := range n {
			p, err := r.server.dial(fmt.Sprint(kind, i), true)
			if err != nil {
				return err
			}
			p.close()
		}
	}
	return nil
}

// gate holds a publisher back.
type gate struct {
	mu     sync.Mutex
	moved  *sync.Cond
	free   int
	parts  int // of messages that have not come to all
	fan    int
	closed bool
}

func newGate(free, fan int) *gate {
	g := &gate{free: free, fan: fan}
	g.moved = sync.NewCond(&g.mu)
	return g
}

// take waits for leave to send, and takes it for at most n messages; 0 when the gate is closed.
func (g *gate) take(n int) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.free == 0 && !g.closed {
		g.moved.Wait()
	}
	if g.closed {
		return 0
	}
	n = min(n, g.free)
	g.free -= n
	return n
}

// give counts deliveries; each message makes as many as it has subscribers.
func (g *gate) give(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.parts += n
	g.free += g.parts / g.fan
	g.parts %= g.fan
	g.moved.Signal()
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	g.moved.Broadcast()
}
