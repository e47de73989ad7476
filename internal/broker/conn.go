package broker

import (
	"bufio"
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"time"

	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/mqtt"
)

// conn is one peer's connection. Its reader is the goroutine of Serve, its writer one of its own.
type conn struct {
	b        *Broker
	net      net.Conn
	door     messaging.Door
	r        *bufio.Reader
	wakes    chan struct{}     // for the writer
	finished chan struct{}     // closed when the writer has ended
	aliases  map[uint16]string // of the peer; the reader's
	given    map[string]uint16 // to the peer; the writer's, as is aliasesLeft

	aliasesLeft uint16 // how many more aliases the peer takes

	// From CONNECT; they do not change.
	version     mqtt.Version
	principal   messaging.Principal
	session     *session
	keepAlive   time.Duration // longest silence; 0: any
	limit       int           // bytes of a packet that the peer takes
	window      int           // messages of QoS 1 and 2 that may be under way to the peer
	quietErrors bool          // Request Problem Information is 0
	assigned    bool          // its ClientID is from us

	// Guarded by the broker's lock.
	will     *mqtt.Publish
	control  []mqtt.Packet // sent first
	answers  []answer      // sent in order, each when its commit is done
	underWay int           // QoS 1 and 2 messages of the peer that are not answered
	room     *sync.Cond    // signalled when underWay, control or answers may have become less
	// unreleased are those of QoS 2 among them: it is the peer who ends them, by PUBREL.
	unreleased int
	closing    bool
	farewell   mqtt.ReasonCode // why we close; Success where the peer did
	stopping   bool            // because the hub does
	silence    *time.Timer     // nil where the peer may be silent for ever
	cleanly    bool            // the peer said DISCONNECT without its Will
}

// answer is an acknowledgement. It leaves when what it acknowledges is on disk.
type answer struct {
	packet  mqtt.Packet
	barrier uint64
	frees   bool // it ends a message of the peer's: one more may come
}

func newConn(b *Broker, n net.Conn, door messaging.Door) *conn {
	return &conn{b: b, net: n, door: door, r: bufio.NewReaderSize(n, 1024), wakes: make(chan struct{}, 1), finished: make(chan struct{}),
		room: sync.NewCond(&b.mu)}
}

func (c *conn) wakeUp() {
	select {
	case c.wakes <- struct{}{}:
	default:
	}
}

// send queues a packet that waits for nothing. The lock is held, as in what follows.
func (c *conn) send(p mqtt.Packet) {
	c.control = append(c.control, p)
	c.wakeUp()
}

// answer queues an acknowledgement behind a commit.
func (c *conn) answer(p mqtt.Packet, barrier uint64, frees bool) {
	c.answers = append(c.answers, answer{p, barrier, frees})
	if barrier > c.b.journal.committed {
		c.b.waiting[c] = struct{}{}
		return
	}
	c.wakeUp()
}

// close has the writer say why, where MQTT has a word for it, and close.
func (c *conn) close(code mqtt.ReasonCode) {
	if c.closing {
		return
	}
	c.closing, c.farewell = true, code
	_ = c.net.SetWriteDeadline(time.Now().Add(closeWithin)) // also for a writer that is stuck; the reader ends with the connection
	c.room.Broadcast()
	c.wakeUp()
}

// serve speaks with a peer that was let in until one of both ends it.
func (c *conn) serve() error {
	go c.write()
	err := c.read()
	c.b.mu.Lock()
	code := mqtt.Success
	if e, ok := errors.AsType[*mqtt.Error](err); ok {
		code = e.Code
	}
	c.close(code)
	c.endSilence()
	c.ended()
	c.b.mu.Unlock()
	_, _ = io.Copy(io.Discard, c.net) // until the peer has our DISCONNECT, or the writer has closed
	<-c.finished
	_ = c.net.Close()
	if errors.Is(err, errGoodbye) || c.farewell == mqtt.ServerShuttingDown {
		return nil
	}
	return err
}

// errGoodbye is the end that the peer asked for.
var errGoodbye = errors.New("the peer said DISCONNECT")

// aPause is how long somebody who publishes is silent for what comes next not to be of the same stream.
const aPause = time.Millisecond

func (c *conn) read() error {
	var last mqtt.Type
	for {
		if err := c.expect(); err != nil {
			return err
		}
		waits, began := c.r.Buffered() == 0, time.Now()
		frame, err := mqtt.ReadFrame(c.r, maxPacket)
		if err != nil {
			return c.readError(err)
		}
		before := last
		last = mqtt.Type(frame[0] >> 4)
		if waits && last == mqtt.PUBLISH && (before != mqtt.PUBLISH || time.Since(began) >= aPause) {
			// Of connections that become readable at once the runtime wakes the last first. Who sends SUBSCRIBE on one and then
			// PUBLISH on another, as tools do that ask and answer, would often miss the message: let those that came earlier pass.
			// Within a stream of messages that would halve its speed, for nothing.
			runtime.Gosched()
		}
		p, err := mqtt.Decode(frame, c.version)
		if err != nil {
			return err
		}
		if err := c.handle(p); err != nil {
			return err
		}
	}
}

// expect begins to wait for the next packet, when the peer has taken most of what it was answered.
func (c *conn) expect() error {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	for len(c.control)+len(c.answers) >= maxAnswers && !c.closing {
		c.room.Wait()
	}
	if c.closing {
		return io.ErrClosedPipe
	}
	c.limitSilence()
	return nil
}

// ended sees to what a connection leaves behind: its Will and its MQTT session.
func (c *conn) ended() {
	b, s := c.b, c.session
	delete(b.conns, c)
	delete(b.waiting, c)
	if s.conn != c { // somebody took the session over, and saw to it
		return
	}
	now := b.now()
	s.detach(now)
	b.leaveWill(s, c, now)
	switch {
	case s.persistent():
		var left *mqtt.Publish
		if s.will != nil {
			left = s.will.publish
		} else if c.stopping {
			left = c.will
		}
		b.journal.session(s, left)
	case c.stopping && c.will != nil:
		// the row stays as it is: the next hub finds a Will
	default:
		b.end(s)
	}
}
