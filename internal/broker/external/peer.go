package external

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/mqtt"
)

// peer is one connection and the one to the broker that is its other half. The goroutine of Serve carries what the broker
// says, another what the peer says.
type peer struct {
	b      *Broker
	conn   net.Conn
	reader *bufio.Reader // of conn
	broker net.Conn      // nil until the peer is admitted
	back   *bufio.Reader // of broker
	door   messaging.Door

	// From CONNECT; they do not change.
	version       mqtt.Version // in which it understands a refusal; 0 for none
	said          mqtt.Version // as it said it
	principal     messaging.Principal
	username      string // as the broker knows it
	clientID      string // as the peer knows it
	assigned      bool   // clientID is from us
	since         time.Time
	keepAlive     time.Duration
	clean, bridge bool

	mu       sync.Mutex
	cutting  bool
	farewell mqtt.ReasonCode // why
}

// errCut is the end of what the hub cut.
var errCut = errors.New("sent away by the hub")

// cut sends the peer away. From now on nothing that it says is passed. It does not wait.
func (p *peer) cut(code mqtt.ReasonCode) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cutting {
		return
	}
	p.cutting, p.farewell = true, code
	now := time.Now()
	_ = p.broker.SetReadDeadline(now) // wakes the one that speaks to the peer
	_ = p.broker.SetWriteDeadline(now)
	_ = p.conn.SetWriteDeadline(now.Add(closeWithin))
}

// allow sets how long something may take, unless the peer is cut: then less is left already.
func (p *peer) allow(set func(time.Time) error, d time.Duration) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cutting {
		return errCut
	}
	return set(time.Now().Add(d))
}

// pass carries bytes both ways until both have ended. The end of one direction half-closes the other side and leaves the
// other direction a moment; what fails ends both.
func (p *peer) pass() error {
	var up sync.WaitGroup
	var upErr error
	up.Go(func() {
		if upErr = p.up(); upErr != nil && !errors.Is(upErr, errCut) {
			_ = p.broker.Close() // without DISCONNECT: the broker sends the Will
		}
	})
	err := p.down()
	if err != nil {
		_, _ = p.broker.Close(), p.conn.Close()
	}
	up.Wait()
	_, _ = p.broker.Close(), p.conn.Close()
	if upErr != nil && errors.Is(err, net.ErrClosed) {
		return upErr
	}
	return err
}

// next waits for bytes and gives those that are there, until the reader is read again.
func next(r *bufio.Reader) ([]byte, error) {
	if _, err := r.Peek(1); err != nil {
		return nil, err
	}
	piece, _ := r.Peek(r.Buffered())
	_, err := r.Discard(len(piece))
	return piece, err
}

// up carries what the peer says.
func (p *peer) up() error {
	for {
		piece, err := next(p.reader)
		if errors.Is(err, io.EOF) {
			return errors.Join(p.allow(p.broker.SetReadDeadline, lingerWithin), closeWrite(p.broker))
		}
		if err == nil {
			err = p.allow(p.broker.SetWriteDeadline, writeWithin)
		}
		if err == nil {
			_, err = p.broker.Write(piece)
		}
		if err != nil {
			return p.why(err)
		}
	}
}

// why is err, unless the hub itself brought it about.
func (p *peer) why(err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cutting {
		return errCut
	}
	return err
}

// down carries what the broker says. It alone writes to the peer, and where it is to stop says DISCONNECT, if what the
// broker has said is whole.
func (p *peer) down() error {
	var at position
	for {
		piece, err := next(p.back)
		switch {
		case err == nil:
			if err := p.write(piece, &at); err != nil {
				return err
			}
		case errors.Is(err, io.EOF):
			return errors.Join(p.allow(p.conn.SetReadDeadline, lingerWithin), closeWrite(p.conn))
		case errors.Is(err, os.ErrDeadlineExceeded):
			return p.sayGoodbye(at)
		default:
			return err
		}
	}
}

func (p *peer) write(piece []byte, at *position) error {
	if err := p.allow(p.conn.SetWriteDeadline, writeWithin); err != nil && !errors.Is(err, errCut) {
		return err
	}
	at.pass(piece)
	_, err := p.conn.Write(piece)
	return err
}

func (p *peer) sayGoodbye(at position) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.cutting {
		return os.ErrDeadlineExceeded // the broker took too long to close
	}
	if p.said != mqtt.V5 || !at.between() {
		return errCut
	}
	frame, err := mqtt.Encode(&mqtt.Disconnect{Code: p.farewell}, mqtt.V5)
	if err == nil {
		_, err = p.conn.Write(frame)
	}
	return errors.Join(errCut, err)
}

// closeWrite ends the writing side; a connection that has no sides is closed.
func closeWrite(c net.Conn) error {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}

// position is where in a stream of packets one is: in a Remaining Length, in what it counts, or between packets.
type position struct {
	length bool // in a Remaining Length
	shift  int
	rest   int // bytes of the packet that are still to come
}

func (p *position) between() bool { return !p.length && p.rest == 0 }

// pass moves over bytes.
func (p *position) pass(b []byte) {
	for len(b) > 0 {
		switch {
		case p.length:
			p.rest |= int(b[0]&0x7f) << p.shift
			p.shift += 7
			p.length = b[0] >= 0x80
			b = b[1:]
		case p.rest > 0:
			n := min(p.rest, len(b))
			p.rest -= n
			b = b[n:]
		default:
			p.length, p.shift = true, 0
			b = b[1:]
		}
	}
}
