package stream

import (
	"net"
	"sync"
	"time"

	"github.com/aditdev/adit/internal/wire"
)

const (
	lingerFor = 5 * time.Second // that a closed end waits for the peer to take more or to finish, before it resets
	resetFor  = 2 * time.Second // that the peer has to close the carrier after a reset
	ackWithin = 2 * time.Second // between acknowledgements while bytes come, for links where a quarter window takes long
)

// Frames is what an End needs of the carrier below it; a FrameConn is one.
type Frames interface {
	WriteData(p []byte) error          // may block while the network does
	WriteMessage(m wire.Message) error // does not
	Abort()                            // drops the connection; the reader of it then fails
}

// End is one end of an acknowledged stream, and a net.Conn. It belongs to no carrier: Attach gives it one, Detach takes
// it away, and what the peer has not acknowledged is kept and sent anew on the next.
//
// Whoever reads the carrier hands data frames to Receive and messages to Handle; neither blocks for longer than
// straightFor, whatever the consumer does. The consumer either calls Read and Write, or gives its own conn to Join.
type End struct {
	mu      sync.Mutex
	changed sync.Cond // of anything below that a blocked call waits for

	frames Frames // nil while detached
	stream uint64
	done   chan struct{} // closed when settled or failed
	err    error         // why it failed; nil when settled
	over   bool          // done is closed
	closed bool          // by Close: what still arrives is dropped

	// Bytes to the peer.
	out      retained
	acked    int64
	next     int64 // first byte not yet given to frames
	pinned   int64 // first byte of the frame being written, else next: retained whatever is acknowledged
	window   int64
	finished bool // no more will come
	eofDue   bool // and frames has not been told

	// Bytes from the peer.
	received int64
	passed   int64
	told     int64 // of passed
	toldAt   time.Time
	telling  int      // acknowledgements that frames is being given
	queue    [][]byte // received, not passed on, in Read's mode
	sink     *Spill   // in Join's mode; broken says that it takes no more
	broken   bool
	ended    bool // the peer's direction is complete

	lastByte      time.Time
	halfClosed    *time.Timer
	linger        *time.Timer
	readDeadline  deadline
	writeDeadline deadline

	writing   sync.Mutex // taken before mu: one Write fills retained at a time
	sending   sync.Mutex // taken before mu: one goroutine gives data to frames
	receiving sync.Mutex // taken before mu: one carrier's reader at a time, in the order of attachment
}

// NewEnd makes an End that has yet to be attached. Before Opened it sends at most window bytes.
func NewEnd(window int) *End {
	now := time.Now()
	e := &End{window: int64(window), done: make(chan struct{}), lastByte: now, toldAt: now}
	e.changed.L = &e.mu
	e.readDeadline.changed, e.writeDeadline.changed = &e.changed, &e.changed
	return e
}

// Attach lets the End send on f, as the stream of this number, from the byte that the peer has yet to receive. It fails
// with Invalid where the peer cannot have received that many. An earlier carrier is dropped. Attach does not block;
// the caller then calls Flush, never from the goroutine that reads f.
func (e *End) Attach(f Frames, stream uint64, peerReceived int64) error {
	e.mu.Lock()
	if peerReceived < e.acked || peerReceived > e.out.end {
		e.mu.Unlock()
		return wire.Errorf(wire.Invalid, "The other side says it received %d bytes, of %d sent and %d acknowledged.",
			peerReceived, e.out.end, e.acked)
	}
	old := e.frames
	e.frames, e.stream, e.next, e.eofDue = f, stream, peerReceived, e.finished
	ack := e.ackLocked(e.passed > 0)
	e.mu.Unlock()
	if old != nil && old != f {
		old.Abort()
	}
	e.acknowledge(f, ack)
	return nil
}

// Open attaches the End to f for the first time, or anew from the first byte, by sending open. What the peer answers
// finds the End attached, and no byte goes out before open.
func (e *End) Open(f Frames, open wire.Open) error {
	e.sending.Lock()
	defer e.sending.Unlock()
	if err := e.Attach(f, open.Stream, 0); err != nil {
		return err
	}
	return f.WriteMessage(open)
}

// Detach takes the carrier away if it is f, and reports whether it was. The End keeps what it has.
func (e *End) Detach(f Frames) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.frames != f {
		return false
	}
	e.frames = nil
	e.changed.Broadcast()
	return true
}

// Opened lifts the limit on unacknowledged bytes to the whole window: the peer has accepted the stream.
func (e *End) Opened() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.window = wire.Window
	e.changed.Broadcast()
}

// Received is how many bytes of the peer's direction have arrived, for a resume.
func (e *End) Received() int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.received
}

// Bytes counts what came from the peer and what was sent to it.
func (e *End) Bytes() (in, out int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.received, e.out.end
}

// Done is closed when the stream is over; Err then says how.
func (e *End) Done() <-chan struct{} { return e.done }

// Err is why the stream failed; nil while it runs and when it ended well.
func (e *End) Err() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err
}

// Fail ends the stream here without a word to the peer.
func (e *End) Fail(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.endLocked(err)
}

// Reset ends the stream here and at the peer, which closes the carrier.
func (e *End) Reset(err error) {
	e.mu.Lock()
	f, stream, was := e.frames, e.stream, e.over
	e.endLocked(err)
	e.mu.Unlock()
	if f == nil || was {
		return
	}
	if f.WriteMessage(wire.Reset{Stream: stream, Message: wire.MessageOf(err)}) != nil {
		f.Abort()
		return
	}
	time.AfterFunc(resetFor, f.Abort)
}

// Settle ends the stream well: the agent parked its carrier, or everything is flushed.
func (e *End) Settle() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.endLocked(nil)
}

func (e *End) endLocked(err error) {
	if e.over {
		return
	}
	e.over, e.err = true, err
	if err != nil && e.sink != nil {
		_ = e.sink.Close()
	}
	for _, t := range []*time.Timer{e.halfClosed, e.linger} {
		if t != nil {
			t.Stop()
		}
	}
	close(e.done)
	e.changed.Broadcast()
}

// flushedLocked reports whether both directions are complete and acknowledged, and frames has been told all.
func (e *End) flushedLocked() bool {
	return e.finished && !e.eofDue && e.acked == e.out.end && e.ended && e.passed == e.received && e.telling == 0
}

// watchHalfClosedLocked resets the stream after wire.HalfClosedFor without a byte, once one direction ended.
func (e *End) watchHalfClosedLocked() {
	if e.halfClosed != nil || e.over {
		return
	}
	check := func() {
		e.mu.Lock()
		left := time.Until(e.lastByte.Add(wire.HalfClosedFor))
		if left > 0 && !e.over {
			e.halfClosed.Reset(left)
		}
		e.mu.Unlock()
		if left <= 0 {
			e.Reset(wire.Errorf(wire.Offline, "The stream was half closed and silent for %v.", wire.HalfClosedFor))
		}
	}
	e.lastByte = time.Now()
	e.halfClosed = time.AfterFunc(wire.HalfClosedFor, check)
}

// Handle takes a message about this stream that came on f: ack, eof, reset or parked. It fails where the peer broke
// the protocol; the caller then ends the carrier.
func (e *End) Handle(f Frames, m wire.Message) error {
	var ack wire.Ack
	defer func() { e.acknowledge(f, ack) }()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.frames != f || e.over {
		return nil
	}
	switch m := m.(type) {
	case wire.Ack:
		return e.ackedLocked(m.Bytes)
	case wire.EOF:
		e.endedLocked()
		ack = e.ackLocked(false)
	case wire.Parked:
		e.endLocked(nil)
	case wire.Reset:
		e.endLocked(wire.Errorf(wire.Offline, "The other side ended the stream: %s", wire.Printable(m.Message, 200)))
	}
	return nil
}

func (e *End) ackedLocked(bytes int64) error {
	if bytes > e.next {
		return wire.Errorf(wire.Invalid, "The other side acknowledged %d bytes, of %d sent.", bytes, e.next)
	}
	if bytes > e.acked {
		e.acked = bytes
		e.out.release(min(e.acked, e.pinned))
		e.changed.Broadcast()
	}
	return nil
}

func (e *End) endedLocked() {
	if e.ended {
		return // said anew after a resume
	}
	e.ended = true
	if e.sink != nil {
		_ = e.sink.CloseWrite()
	}
	e.watchHalfClosedLocked()
	e.changed.Broadcast()
}

var (
	_ net.Conn = (*End)(nil)
	_ Frames   = (*FrameConn)(nil)

	errClosed = wire.Wrap(net.ErrClosed, wire.Offline, "The stream is closed.")
)
