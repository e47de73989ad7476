package tunnel

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aditdev/adit/internal/bench/figure"
	"github.com/aditdev/adit/internal/wire"
)

// A device's link as many have it: 20 Mbit/s, 41 ms there and back, and a modem that queues 27 ms.
const (
	linkRate  = 20e6 / 8 // bytes a second, each way
	linkDelay = 41 * time.Millisecond / 2
	linkQueue = 64 << 10 // bytes
	linkChunk = 1448     // one packet's worth
	keys      = 60       // keystrokes measured
	keyEvery  = 40 * time.Millisecond
)

// link carries any number of TCP connections over one simulated line, first come first served in each direction.
type link struct {
	up, down line
	open     sync.WaitGroup
	listener []net.Listener
}

func newLink() *link {
	l := &link{up: line{room: make(chan struct{}, linkQueue/linkChunk)}, down: line{room: make(chan struct{}, linkQueue/linkChunk)}}
	return l
}

// line is one direction: a chunk leaves when the line is free, and arrives after the delay.
type line struct {
	mu   sync.Mutex
	free time.Time
	room chan struct{} // a place for each chunk in the queue
}

// carry says when n bytes that come now have left; it waits for a place in the queue.
func (l *line) carry(n int) time.Time {
	l.room <- struct{}{}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if l.free.Before(now) {
		l.free = now
	}
	l.free = l.free.Add(time.Duration(float64(n) / linkRate * float64(time.Second)))
	return l.free
}

// listen gives an address whose connections go over the link to another.
func (l *link) listen(to string) (string, error) {
	at, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	l.listener = append(l.listener, at)
	l.open.Go(func() {
		for {
			near, err := at.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				near.Close()
				continue
			}
			for _, conn := range []net.Conn{near, far} {
				// What waits for the line must wait in its queue, not in the kernel of this machine.
				_ = conn.(*net.TCPConn).SetReadBuffer(128 << 10)
			}
			l.open.Go(func() { l.up.pass(far, near) })
			l.open.Go(func() { l.down.pass(near, far) })
		}
	})
	return at.Addr().String(), nil
}

type chunk struct {
	bytes []byte
	left  time.Time
}

// pass carries one connection's bytes in one direction.
func (l *line) pass(to, from net.Conn) {
	defer to.Close()
	flying := make(chan chunk, 4096)
	var landing sync.WaitGroup
	landing.Go(func() {
		for c := range flying {
			time.Sleep(time.Until(c.left))
			<-l.room
			time.Sleep(time.Until(c.left.Add(linkDelay)))
			_, _ = to.Write(c.bytes)
		}
	})
	for {
		buf := make([]byte, linkChunk)
		n, err := from.Read(buf)
		if n > 0 {
			flying <- chunk{buf[:n], l.carry(n)}
		}
		if err != nil {
			break
		}
	}
	close(flying)
	landing.Wait()
}

func (l *link) close() {
	for _, at := range l.listener {
		at.Close()
	}
}

// Link measures keystrokes beside a transfer over one slow line, by two streams of the tunnel, by two plain TCP
// connections, and (once, for it takes long) by two channels of one SSH connection.
func Link(ctx context.Context, report func(Figure)) error {
	for _, up := range []bool{false, true} {
		direction := map[bool]string{true: "from the device", false: "to the device"}[up]
		p50, p99, rate := map[string][]float64{}, map[string][]float64{}, map[string][]float64{}
		for _, over := range []func(*link) (path, error){aditOver, plainOver, sshOver, aditOver, plainOver, aditOver, plainOver} {
			name, m, err := measureOver(ctx, over, up)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			p50[name] = append(p50[name], float64(quantile(m.keys, .5))/1e6)
			p99[name] = append(p99[name], float64(quantile(m.keys, .99))/1e6)
			rate[name] = append(rate[name], m.rate)
		}
		report(Figure{What: "keystroke beside a transfer " + direction + ", p50", Unit: "ms", Values: medians(p50)})
		report(Figure{What: "keystroke beside a transfer " + direction + ", p99", Unit: "ms", Values: medians(p99)})
		report(Figure{What: "  and that transfer", Unit: "Mbit/s", Values: medians(rate)})
	}
	return openOver(ctx, report)
}

// openOver is the time to the first echoed byte over the idle line: one round trip of it.
func openOver(ctx context.Context, report func(Figure)) error {
	l := newLink()
	defer l.close()
	a, err := aditOver(l)
	if err != nil {
		return err
	}
	defer a.close()
	f, err := openFigure(ctx, a.(*adit), 20, "open to first echoed byte over that line, p50")
	if err == nil {
		report(f)
	}
	return err
}

func measureOver(ctx context.Context, over func(*link) (path, error), up bool) (name string, m typed, err error) {
	l := newLink()
	defer l.close()
	p, err := over(l)
	if err != nil {
		return "", m, err
	}
	defer p.close()
	m, err = typeBeside(ctx, p, up)
	return p.name(), m, err
}

func medians(all map[string][]float64) map[string]float64 {
	one := map[string]float64{}
	for name, values := range all {
		one[name] = figure.Median(values)
	}
	return one
}

type typed struct {
	keys []time.Duration
	rate float64 // Mbit/s
}

// counter counts the bytes that a transfer moved.
type counter struct{ n atomic.Int64 }

func (c *counter) swallow(conn net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := conn.Read(buf)
		if c.n.Add(int64(n)); err != nil {
			return
		}
	}
}

// typeBeside sends a key at a time to an echo while another stream transfers all it can.
func typeBeside(ctx context.Context, p path, up bool) (typed, error) {
	var moved counter
	serve := moved.swallow
	if up {
		serve = source(saturateBy)
	}
	bulkTo, stop, err := target(serve)
	if err != nil {
		return typed{}, err
	}
	defer stop()
	echoTo, stopEcho, err := target(echo)
	if err != nil {
		return typed{}, err
	}
	defer stopEcho()
	busy, err := p.dial(ctx, bulkTo)
	if err != nil {
		return typed{}, err
	}
	go func() {
		if up {
			moved.swallow(busy)
		} else {
			_ = upload(busy, saturateBy)
		}
	}()
	defer reset(busy)
	conn, err := p.dial(ctx, echoTo)
	if err != nil {
		return typed{}, err
	}
	defer conn.Close()
	figure.Pause(ctx, 2*time.Second) // the transfer fills the queue
	from, start := moved.n.Load(), time.Now()
	var m typed
	for range keys {
		one, err := roundTrips(conn, 1)
		if err != nil {
			return typed{}, err
		}
		m.keys = append(m.keys, one...)
		figure.Pause(ctx, keyEvery)
	}
	m.rate = float64(moved.n.Load()-from) * 8 / 1e6 / time.Since(start).Seconds()
	slices.Sort(m.keys)
	return m, nil
}

// aditOver has the link between agent and hub.
func aditOver(l *link) (path, error) {
	var err error
	a := newAditBehind(func(hub string) string {
		var at string
		at, err = l.listen(hub)
		return at
	})
	return a, err
}

// plain is one TCP connection over the link for each stream.
type plain struct{ link *link }

func plainOver(l *link) (path, error) { return plain{l}, nil }

func (plain) name() string { return "tcp" }
func (plain) close()       {}

func (p plain) dial(_ context.Context, target wire.Target) (net.Conn, error) {
	address, _ := target.Address()
	at, err := p.link.listen(address)
	if err != nil {
		return nil, err
	}
	return net.Dial("tcp", at)
}

func sshOver(l *link) (path, error) {
	return newSSHMuxBehind(l.listen)
}
