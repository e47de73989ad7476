//go:build !windows

package hold

import (
	"encoding/json"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/aditdev/adit/internal/wire"
)

// joinTimeout bounds how long a connection may take to say what it wants.
const joinTimeout = 10 * time.Second

// joiner is one connection that watches a terminal and types in it. The terminal's mu protects its fields.
type joiner struct {
	name  string
	conn  net.Conn
	sent  int64 // number of the next byte to send
	acked int64 // everything before it need not be sent again
	typed int64 // input bytes received, in all
	taken int64 // how many of them programs have read
	told  int64 // the same as the joiner was told
	gone  bool
}

// serveJoiner lets conn take part in t for as long as it stays. The caller closes conn.
func serveJoiner(conn net.Conn, t *terminal) error {
	_ = conn.SetReadDeadline(time.Now().Add(joinTimeout))
	join, err := readJoin(conn)
	if err == nil {
		err = admit(t, join)
	}
	if err != nil {
		refusal := wire.HoldRefused{Code: wire.CodeOf(err), Message: wire.MessageOf(err)}
		return errors.Join(err, wire.WriteHoldJSON(conn, wire.HoldRefusedFrame, refusal))
	}
	_ = conn.SetReadDeadline(time.Time{})

	j, welcome := t.join(join, conn)
	var sending sync.WaitGroup
	defer sending.Wait()
	defer t.leave(j)
	defer conn.Close()
	sending.Go(func() {
		defer conn.Close() // so that the reader ends too
		if wire.WriteHoldJSON(conn, wire.HoldJoinedFrame, welcome) == nil {
			_ = t.send(j)
		}
	})
	return t.receive(j)
}

// admit starts the terminal where the joiner may do that.
func admit(t *terminal, join wire.HoldJoin) error {
	t.mu.Lock()
	started := t.shell != nil
	t.mu.Unlock()
	if !started && !join.Create {
		return wire.Errorf(wire.NotFound, "This shell is gone: it ended, or the device was restarted.")
	}
	if !started {
		return t.start(join)
	}
	if join.Cols > 0 {
		t.resize(sizeOf(join))
	}
	return nil
}

// join adds a joiner in the place of any other of its name.
func (t *terminal) join(join wire.HoldJoin, conn net.Conn) (*joiner, wire.HoldJoined) {
	t.mu.Lock()
	defer t.mu.Unlock()
	oldest, next := t.output.Oldest(), t.output.Next()
	from := min(max(join.From, oldest), next)
	j := &joiner{name: join.As, conn: conn, sent: from, acked: from}
	if old := t.joiners[j.name]; old != nil {
		old.gone = true
		_ = old.conn.Close()
	}
	delete(t.departed, j.name)
	t.joiners[j.name] = j
	t.joined = true
	t.wake()
	return j, wire.HoldJoined{Oldest: oldest, Next: next, Cols: t.size.Cols, Rows: t.size.Rows}
}

// leave remembers for a while what j may have missed.
func (t *terminal) leave(j *joiner) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.joiners[j.name] != j {
		return // another has its place
	}
	j.gone = true
	delete(t.joiners, j.name)
	t.departed[j.name] = departed{acked: j.acked, until: time.Now().Add(wire.HoldGrace * time.Second)}
	if len(t.joiners) == 0 {
		t.emptyAt = time.Now()
	}
	t.wake()
}

// send writes output to j as it comes, how much of its input was taken, and the exit status after everything.
func (t *terminal) send(j *joiner) error {
	buf := make([]byte, wire.ShellChunk)
	for {
		news := t.next(j, buf)
		var err error
		switch {
		case news.gone:
			return nil
		case news.taken > 0:
			err = wire.WriteHold(j.conn, wire.HoldTakenFrame, wire.AppendHoldNumber(nil, news.taken))
		case news.output > 0:
			err = wire.WriteHoldOutput(j.conn, news.first, buf[:news.output])
		default:
			return errors.Join(wire.WriteHoldJSON(j.conn, wire.HoldExitedFrame, news.exited), t.awaitRead(j))
		}
		if err != nil {
			return err
		}
	}
}

// news is one thing that a joiner has not been told; the first that is set of gone, taken, output and exited.
type news struct {
	gone   bool
	taken  int64
	first  int64 // number of the first of output bytes
	output int
	exited *wire.HoldExited
}

// next waits for something to tell j, and copies output to buf.
func (t *terminal) next(j *joiner, buf []byte) news {
	for {
		t.mu.Lock()
		found, ok := t.newsFor(j, buf)
		changed := t.changed
		t.mu.Unlock()
		if ok {
			return found
		}
		<-changed
	}
}

// newsFor reports what is to be told now. The caller holds mu.
func (t *terminal) newsFor(j *joiner, buf []byte) (found news, ok bool) {
	if j.gone {
		return news{gone: true}, true
	}
	if j.told != j.taken {
		j.told = j.taken
		return news{taken: j.taken}, true
	}
	first := max(j.sent, t.output.Oldest())
	if n := t.output.Read(buf, first); n > 0 {
		j.sent = first + int64(n)
		return news{first: first, output: n}, true
	}
	return news{exited: t.exited}, t.exited != nil
}

// awaitRead keeps the connection open until j acknowledged the exit status or left.
func (t *terminal) awaitRead(j *joiner) error {
	for {
		t.mu.Lock()
		changed, done := t.changed, j.gone || t.read
		t.mu.Unlock()
		if done {
			return nil
		}
		<-changed
	}
}

// queue takes input from j. It waits where j sends more than it may.
func (t *terminal) queue(j *joiner, p []byte) {
	for {
		t.mu.Lock()
		changed, over := t.changed, t.exited != nil || j.gone
		room := j.typed-j.taken < wire.ShellInputWindow && t.waiting < maxWaiting
		if room && !over {
			j.typed += int64(len(p))
			t.waiting += len(p)
			t.typed = append(t.typed, typed{j, p})
			t.wake()
		}
		t.mu.Unlock()
		if room || over {
			return
		}
		<-changed
	}
}

// receive does what j asks for until its connection ends.
func (t *terminal) receive(j *joiner) error {
	for {
		kind, payload, err := wire.ReadHold(j.conn)
		if err == nil {
			err = t.obey(j, kind, payload)
		}
		if err != nil {
			t.mu.Lock()
			j.gone = true
			t.wake()
			t.mu.Unlock()
			return err
		}
	}
}

func (t *terminal) obey(j *joiner, kind byte, payload []byte) error {
	switch kind {
	case wire.HoldInputFrame:
		t.queue(j, payload)
	case wire.HoldResizeFrame:
		size, err := wire.ParseHoldSize(payload)
		if err == nil {
			t.resize(size)
		}
		return err
	case wire.HoldAckFrame:
		next, _, err := wire.ParseHoldNumber(payload)
		if err == nil {
			t.ack(j, next)
		}
		return err
	case wire.HoldHangupFrame:
		t.hangup()
	}
	return nil
}

func (t *terminal) ack(j *joiner, next int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	j.acked = min(max(j.acked, next), j.sent)
	if t.exited != nil && next > t.exited.Next {
		t.read = true
	}
	t.wake()
}

func unmarshal(payload []byte, v any) error {
	if err := json.Unmarshal(payload, v); err != nil {
		return wire.Wrap(err, wire.Invalid, "A frame that should hold JSON does not.")
	}
	return nil
}
