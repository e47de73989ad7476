package stream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aditdev/adit/internal/wire"
)

// wireLink stands for one carrier between two Ends. It delivers frames in order and is cut for good after a number of
// them, counted in one direction: the last one arrives, or is lost on the way.
type wireLink struct {
	a, b   *linkSide
	dead   chan struct{}
	cutOff sync.Once
}

type linkSide struct {
	link  *wireLink
	end   *End // that reads what arrives at this side
	in    chan any
	peer  *linkSide
	left  int  // frames that this side may yet send; negative: no limit
	loses bool // the last one
	mu    sync.Mutex
}

var errCut = errors.New("cut")

func newLink(a, b *End, left [2]int, loses bool) *wireLink {
	l := &wireLink{dead: make(chan struct{})}
	l.a = &linkSide{link: l, end: a, in: make(chan any, 4096), left: left[0], loses: loses}
	l.b = &linkSide{link: l, end: b, in: make(chan any, 4096), left: left[1], loses: loses}
	l.a.peer, l.b.peer = l.b, l.a
	return l
}

func (s *linkSide) send(frame any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.link.dead:
		return errCut
	default:
	}
	s.left--
	if s.left == 0 && s.loses {
		s.Abort()
		return nil
	}
	s.peer.in <- frame
	if s.left == 0 {
		s.Abort()
	}
	return nil
}

func (s *linkSide) WriteData(p []byte) error          { return s.send(bytes.Clone(p)) }
func (s *linkSide) WriteMessage(m wire.Message) error { return s.send(m) }
func (s *linkSide) Abort()                            { s.link.cutOff.Do(func() { close(s.link.dead) }) }

// read hands over what arrives, what was on its way when the link was cut included.
func (s *linkSide) read(parked *bool) error {
	defer s.end.Detach(s)
	for {
		var frame any
		select {
		case frame = <-s.in:
		default:
			select {
			case frame = <-s.in:
			case <-s.link.dead:
				if len(s.in) == 0 {
					return nil
				}
				continue
			}
		}
		var err error
		switch f := frame.(type) {
		case []byte:
			err = s.end.Receive(s, f)
		case wire.Parked:
			*parked = true
			err = s.end.Handle(s, f)
			return err
		case wire.Message:
			err = s.end.Handle(s, f)
		}
		if err != nil {
			s.Abort()
			return err
		}
	}
}

// session runs a stream of two ends over links that are cut as cuts says, one after another, then over one that is not.
// Long because both ends and the links between them are one story.
func session(t *testing.T, up, down []byte, cuts func(n int) (left [2]int, loses bool)) {
	t.Helper()
	opener, acceptor := NewEnd(wire.MaxPipelined), NewEnd(wire.Window)
	person, near := tcpPair(t)
	far, target := tcpPair(t)
	var all sync.WaitGroup
	joined := make(chan error, 1)
	all.Go(func() { _ = opener.Join(near) })
	all.Go(func() { joined <- acceptor.Join(far) })
	check := func(name string, conn net.Conn, send, want []byte) {
		all.Go(func() {
			_, _ = conn.Write(send)
			_ = conn.(*net.TCPConn).CloseWrite()
		})
		all.Go(func() {
			got, err := io.ReadAll(conn)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s got %d bytes of %d, the same: %v, %v", name, len(got), len(want), bytes.Equal(got, want), err)
			}
		})
	}
	check("person", person, up, down)
	check("target", target, down, up)
	for n := 0; ; n++ {
		left, loses := cuts(n)
		l := newLink(opener, acceptor, left, loses)
		received, peerReceived := opener.Received(), acceptor.Received()
		if err := errors.Join(opener.Attach(l.a, 1, peerReceived), acceptor.Attach(l.b, 1, received)); err != nil {
			t.Fatal(err)
		}
		opener.Opened()
		var link sync.WaitGroup
		parked := false
		link.Go(opener.Flush)
		link.Go(acceptor.Flush)
		link.Go(func() {
			if err := l.a.read(&parked); err != nil {
				t.Errorf("opener: %v", err)
			}
		})
		link.Go(func() {
			var never bool
			if err := l.b.read(&never); err != nil {
				t.Errorf("acceptor: %v", err)
			}
		})
		over := false
		select {
		case err := <-joined:
			if err != nil {
				t.Errorf("acceptor ended: %v", err)
			}
			acceptor.Settle()
			_ = l.b.send(wire.Parked{Stream: 1})
			over = true
		case <-l.dead:
		case <-time.After(time.Minute):
			t.Fatalf("stuck: opener %+v acceptor %+v", state(opener), state(acceptor))
		}
		if over {
			l.b.Abort()
			link.Wait()
			opener.Settle()
			break
		}
		link.Wait()
	}
	all.Wait()
}

func state(e *End) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return fmt.Sprintf("out %d next %d acked %d finished %v eofDue %v in %d passed %d told %d ended %v", e.out.end, e.next, e.acked,
		e.finished, e.eofDue, e.received, e.passed, e.told, e.ended)
}

func tcpPair(t *testing.T) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func random(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(rand.Uint32())
	}
	return p
}

// A stream is cut after each of its frames in turn, in each direction, with the frame delivered or lost.
func TestCutAfterEveryFrame(t *testing.T) {
	up, down := random(100<<10), random(120<<10)
	for direction := range 2 {
		for _, loses := range []bool{false, true} {
			for at := 1; at <= 16; at++ {
				session(t, up, down, func(n int) (left [2]int, lose bool) {
					left = [2]int{-1, -1}
					if n == 0 {
						left[direction] = at
					}
					return left, loses
				})
			}
		}
	}
}

// A stream of several windows is cut again and again.
func TestRandomCuts(t *testing.T) {
	for range 10 {
		up, down := random(int(rand.Int64N(5<<20))), random(int(rand.Int64N(5<<20)))
		session(t, up, down, func(n int) (left [2]int, lose bool) {
			left = [2]int{-1, -1}
			if n < 30 {
				left[rand.IntN(2)] = 1 + rand.IntN(40)
			}
			return left, rand.IntN(2) == 0
		})
	}
}

// slowTeller is a carrier whose messages take a while.
type slowTeller struct {
	*linkSide
	telling, allow chan struct{}
}

func (s slowTeller) WriteMessage(m wire.Message) error {
	if _, ok := m.(wire.Ack); ok {
		close(s.telling)
		<-s.allow
	}
	return nil
}

// Whoever ends a stream says so after its last acknowledgement: the carrier's next stream must not meet it.
func TestJoinEndsAfterItsLastAck(t *testing.T) {
	e := NewEnd(wire.Window)
	f := slowTeller{telling: make(chan struct{}), allow: make(chan struct{})}
	if err := e.Attach(f, 1, 0); err != nil {
		t.Fatal(err)
	}
	near, far := tcpPair(t)
	joined := make(chan error, 1)
	go func() { joined <- e.Join(far) }()
	_ = near.(*net.TCPConn).CloseWrite()
	if err := e.Receive(f, []byte("last")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(near, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	handled := make(chan error, 1)
	go func() { handled <- e.Handle(f, wire.EOF{Stream: 1}) }()
	<-f.telling
	select {
	case <-joined:
		t.Fatal("the stream was over before its end was acknowledged")
	case <-time.After(50 * time.Millisecond):
	}
	close(f.allow)
	if err := errors.Join(<-handled, <-joined); err != nil {
		t.Fatal(err)
	}
}

// Many small frames that nobody reads cost little more than their bytes.
func TestSmallFramesCostTheirBytes(t *testing.T) {
	e := NewEnd(wire.Window)
	f := newLink(e, e, [2]int{-1, -1}, false).a
	if err := e.Attach(f, 1, 0); err != nil {
		t.Fatal(err)
	}
	const size = 256 << 10
	for range size {
		if err := e.Receive(f, []byte{1}); err != nil {
			t.Fatal(err)
		}
	}
	held := 0
	for _, p := range e.queue {
		held += cap(p)
	}
	if held += cap(e.queue) * 24; held > 2*size {
		t.Fatalf("%d bytes hold %d", held, size)
	}
}

// A stream that was closed with much to send waits for a slow peer, and not for one that takes nothing.
func TestCloseWaitsForSlowPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := NewEnd(wire.Window)
		f := newLink(e, e, [2]int{-1, -1}, false).a
		if err := e.Attach(f, 1, 0); err != nil {
			t.Fatal(err)
		}
		_, _ = e.Write(make([]byte, 1<<20))
		_ = e.Close()
		for n := range int64(8) {
			<-time.After(4 * time.Second)
			if err := e.Handle(f, wire.Ack{Stream: 1, Bytes: (n + 1) << 16}); err != nil || e.Err() != nil {
				t.Fatalf("after %d acknowledgements: %v, %v", n, err, e.Err())
			}
		}
		start := time.Now()
		<-e.Done()
		if took := time.Since(start); e.Err() == nil || took > 2*lingerFor {
			t.Fatalf("after %v: %v", took, e.Err())
		}
	})
}
