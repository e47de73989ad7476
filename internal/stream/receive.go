package stream

import (
	"io"
	"net"
	"os"
	"time"

	"github.com/aditdev/adit/internal/wire"
)

// Read is net.Conn's. It gives io.EOF when the peer's direction is complete.
func (e *End) Read(p []byte) (int, error) {
	e.mu.Lock()
	for len(e.queue) == 0 && !e.ended && !e.over && !e.closed && !e.readDeadline.passed() {
		e.changed.Wait()
	}
	n, err := e.takeLocked(p)
	ack, f := e.ackLocked(false), e.frames
	e.mu.Unlock()
	e.acknowledge(f, ack)
	return n, err
}

func (e *End) takeLocked(p []byte) (int, error) {
	switch {
	case e.closed:
		return 0, net.ErrClosed
	case len(e.queue) > 0:
		n := copy(p, e.queue[0])
		if e.queue[0] = e.queue[0][n:]; len(e.queue[0]) == 0 {
			e.queue[0] = nil
			e.queue = e.queue[1:]
		}
		e.passed += int64(n)
		return n, nil
	case e.ended:
		return 0, io.EOF
	case e.err != nil:
		return 0, e.err
	case e.over:
		return 0, io.EOF
	}
	return 0, os.ErrDeadlineExceeded
}

// Receive takes a data frame that came on f. It copies what it keeps. It fails where the peer broke the protocol.
func (e *End) Receive(f Frames, p []byte) error {
	e.receiving.Lock()
	defer e.receiving.Unlock()
	e.mu.Lock()
	if e.frames != f || e.over {
		e.mu.Unlock()
		return nil
	}
	e.received += int64(len(p))
	if e.ended || e.received-e.passed > wire.Window {
		e.mu.Unlock()
		return wire.Errorf(wire.Invalid, "The other side sent more than the stream's window, or after its end.")
	}
	e.lastByte = time.Now()
	sink := e.sink
	switch {
	case e.closed || e.broken:
		e.passed = e.received
	case sink == nil:
		e.queue = appendQueue(e.queue, p, 0)
		e.changed.Broadcast()
	}
	e.mu.Unlock()
	n := 0
	if sink != nil {
		var err error
		if n, err = sink.write(p); err != nil {
			e.breakSink()
		}
	}
	e.pass(n)
	return nil
}

// pass notes that the consumer took n more bytes, and acknowledges where it is time.
func (e *End) pass(n int) {
	e.mu.Lock()
	if !e.broken {
		e.passed += int64(n)
	}
	ack, f := e.ackLocked(false), e.frames
	if e.ended {
		e.changed.Broadcast()
	}
	e.mu.Unlock()
	e.acknowledge(f, ack)
}

// breakSink lets what still comes for a consumer that takes no more be dropped: it may have more to say itself.
func (e *End) breakSink() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.broken, e.passed = true, e.received
	e.changed.Broadcast()
}

// ackLocked is the acknowledgement that is due, or the zero Ack: at each quarter window, at the end, after a while,
// or when now says so. The caller hands it to acknowledge.
func (e *End) ackLocked(now bool) wire.Ack {
	news := e.passed - e.told
	switch {
	case e.frames == nil, !now && news == 0:
		return wire.Ack{}
	case now, news >= wire.AckEvery, e.ended && e.passed == e.received, time.Since(e.toldAt) > ackWithin:
		e.told, e.toldAt = e.passed, time.Now()
		e.telling++
		return wire.Ack{Stream: e.stream, Bytes: e.passed}
	}
	return wire.Ack{}
}

func (e *End) acknowledge(f Frames, ack wire.Ack) {
	if ack == (wire.Ack{}) {
		return
	}
	if f.WriteMessage(ack) != nil {
		f.Abort() // its reader will say so to everybody
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.telling--; e.telling == 0 {
		e.changed.Broadcast()
	}
}
