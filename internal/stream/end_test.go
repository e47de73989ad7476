package stream

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aditdev/adit/internal/wire"
)

// cable joins two Ends in memory: what one sends is delivered to the other, in order, until it is cut. drop may lose
// messages, which no WebSocket does, to see what depends on them.
type cable struct {
	drop func(m wire.Message) bool
	a, b side
	wg   sync.WaitGroup
}

// side is the Frames of one End.
type side struct {
	cable *cable
	end   *End // whose frames these are
	other *side
	queue chan any
	cut   chan struct{}
	once  sync.Once
}

func connect(a, b *End) *cable {
	c := &cable{}
	c.a = side{cable: c, end: a, other: &c.b, queue: make(chan any, 1<<16), cut: make(chan struct{})}
	c.b = side{cable: c, end: b, other: &c.a, queue: make(chan any, 1<<16), cut: make(chan struct{})}
	c.wg.Go(func() { c.b.deliver(c.a.queue) })
	c.wg.Go(func() { c.a.deliver(c.b.queue) })
	return c
}

func (s *side) WriteData(p []byte) error          { return s.put(bytes.Clone(p)) }
func (s *side) WriteMessage(m wire.Message) error { return s.put(m) }
func (s *side) Abort()                            { s.once.Do(func() { close(s.cut) }) }
func (c *cable) sever()                           { c.a.Abort(); c.b.Abort(); c.wg.Wait() }

func (s *side) put(v any) error {
	if m, ok := v.(wire.Message); ok && s.cable.drop != nil && s.cable.drop(m) {
		return nil
	}
	select {
	case <-s.cut:
		return net.ErrClosed
	case <-s.other.cut:
		return net.ErrClosed
	case s.queue <- v:
		return nil
	}
}

// deliver is the reader of a carrier.
func (s *side) deliver(from chan any) {
	defer s.end.Detach(s)
	for {
		var err error
		select {
		case <-s.cut:
			return
		case <-s.other.cut:
			return
		case v := <-from:
			switch v := v.(type) {
			case []byte:
				err = s.end.Receive(s, v)
			case wire.Message:
				err = s.end.Handle(s, v)
			}
		}
		if err != nil {
			s.end.Fail(err)
			s.Abort()
			return
		}
	}
}

func pair(t *testing.T) (a, b *End, c *cable) {
	t.Helper()
	a, b = NewEnd(wire.Window), NewEnd(wire.Window)
	c = connect(a, b)
	attach(t, a, b, c)
	t.Cleanup(c.sever)
	return a, b, c
}

func attach(t *testing.T, a, b *End, c *cable) {
	t.Helper()
	ra, rb := a.Received(), b.Received()
	if err := errors.Join(a.Attach(&c.a, 1, rb), b.Attach(&c.b, 1, ra)); err != nil {
		t.Fatal(err)
	}
	go a.Flush()
	go b.Flush()
}

func TestHalfCloseKeepsTheOtherDirection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _ := pair(t)
		_, _ = io.WriteString(a, "question")
		_ = a.CloseWrite()
		if got, err := io.ReadAll(b); err != nil || string(got) != "question" {
			t.Fatalf("%q, %v", got, err)
		}
		<-time.After(4 * time.Minute)
		_, _ = io.WriteString(b, "answer")
		_ = b.CloseWrite()
		if got, err := io.ReadAll(a); err != nil || string(got) != "answer" {
			t.Fatalf("%q, %v", got, err)
		}
		synctest.Wait()
		a.mu.Lock()
		defer a.mu.Unlock()
		if !a.flushedLocked() {
			t.Error("not flushed: an acknowledgement after eof was lost")
		}
	})
}

func TestHalfClosedAndSilentIsReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _ := pair(t)
		_ = a.CloseWrite()
		start := time.Now()
		_, err := b.Read(make([]byte, 1))
		if err != io.EOF {
			t.Fatal(err)
		}
		_, err = a.Read(make([]byte, 1))
		if took := time.Since(start); took != wire.HalfClosedFor || wire.CodeOf(err) != wire.Offline {
			t.Fatalf("after %v: %v", took, err)
		}
	})
}

func TestWindowHoldsTheSender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _ := pair(t)
		_ = a.SetWriteDeadline(time.Now().Add(time.Second))
		n, err := a.Write(make([]byte, wire.Window+1))
		if n != wire.Window || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("wrote %d: %v", n, err)
		}
		_ = a.SetWriteDeadline(time.Time{})
		if _, err := io.CopyN(io.Discard, b, wire.AckEvery-1); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := a.free(); got != 0 {
			t.Fatalf("%d bytes of the window before a quarter was read", got)
		}
		_, _ = b.Read(make([]byte, 1))
		synctest.Wait()
		if got := a.free(); got != wire.AckEvery {
			t.Fatalf("%d bytes of the window after a quarter was read", got)
		}
		a.Fail(net.ErrClosed)
		b.Fail(net.ErrClosed)
	})
}

func (e *End) free() int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.window - (e.out.end - e.acked)
}

// Acknowledgements that a dying carrier lost are said anew on the next, and bytes neither lost nor doubled.
func TestResumeAfterLostAcks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, c := pair(t)
		c.drop = func(m wire.Message) bool { _, ack := m.(wire.Ack); return ack }
		sent := make([]byte, 3*wire.Window)
		_, _ = rand.Read(sent)
		var writing sync.WaitGroup
		writing.Go(func() {
			_, err := a.Write(sent)
			if err = errors.Join(err, a.CloseWrite()); err != nil {
				t.Error(err)
			}
		})
		got := make([]byte, wire.Window)
		if _, err := io.ReadFull(b, got); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // the sender is stuck: nothing tells it to go on
		c.sever()
		c = connect(a, b)
		t.Cleanup(c.sever)
		attach(t, a, b, c)
		rest, err := io.ReadAll(b)
		if err != nil || !bytes.Equal(append(got, rest...), sent) {
			t.Fatalf("%d bytes: %v", len(got)+len(rest), err)
		}
		writing.Wait()
		_ = b.CloseWrite()
		synctest.Wait()
		a.Settle()
		b.Settle()
	})
}

func TestCloseDeliversWhatWasWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _ := pair(t)
		_, _ = io.WriteString(a, "last words")
		_ = a.Close()
		if got, err := io.ReadAll(b); err != nil || string(got) != "last words" {
			t.Fatalf("%q, %v", got, err)
		}
		_, err := b.Write(make([]byte, 3*wire.Window)) // nobody listens, and nobody waits
		<-b.Done()
		if took := b.Err(); took == nil {
			t.Fatalf("ended well (%v)", err)
		}
	})
}

func TestPeerThatBreaksTheRules(t *testing.T) {
	for name, do := range map[string]func(e *End, f Frames) error{
		"more than a window": func(e *End, f Frames) error {
			var err error
			for range wire.Window/wire.MaxFrame + 1 {
				err = errors.Join(err, e.Receive(f, make([]byte, wire.MaxFrame)))
			}
			return err
		},
		"bytes after eof": func(e *End, f Frames) error {
			return errors.Join(e.Handle(f, wire.EOF{Stream: 1}), e.Receive(f, []byte{1}))
		},
		"ack of bytes never sent": func(e *End, f Frames) error { return e.Handle(f, wire.Ack{Stream: 1, Bytes: 1}) },
		"resume beyond the end":   func(e *End, f Frames) error { return e.Attach(f, 2, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			e := NewEnd(wire.Window)
			f := &side{cable: &cable{}, end: e, other: &side{cut: make(chan struct{})}, queue: make(chan any, 8), cut: make(chan struct{})}
			if err := e.Attach(f, 1, 0); err != nil {
				t.Fatal(err)
			}
			if err := do(e, f); wire.CodeOf(err) != wire.Invalid {
				t.Fatalf("got %v", err)
			}
			e.Fail(net.ErrClosed)
		})
	}
}

func TestReadDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _ := pair(t)
		_ = a.SetReadDeadline(time.Now().Add(time.Second))
		start := time.Now()
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Second {
			t.Fatalf("after %v: %v", time.Since(start), err)
		}
		a.Fail(net.ErrClosed)
		b.Fail(net.ErrClosed)
	})
}

// Whatever sizes are written, acknowledged and cut at, the bytes come through once and in order.
func FuzzRetained(f *testing.F) {
	f.Add([]byte{1, 200, 3, 90, 255, 255, 0, 17})
	f.Fuzz(func(t *testing.T, script []byte) {
		var r retained
		var all []byte
		acked := int64(0)
		for i, op := range script {
			if op%3 == 2 {
				acked += int64(op) * (r.end - acked) / 255
				r.release(acked)
				continue
			}
			space := r.space()
			n := min(len(space), 1+int(op)*97)
			for j := range n {
				space[j] = byte(i + j)
			}
			all = append(all, space[:n]...)
			r.commit(n)
		}
		for at := acked; at < r.end; {
			p := r.from(at)
			if len(p) == 0 || !bytes.Equal(p, all[at:at+int64(len(p))]) {
				t.Fatalf("at %d of %d: %d bytes, not those written", at, r.end, len(p))
			}
			at += int64(len(p))
		}
	})
}
