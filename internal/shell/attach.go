package shell

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/aditdev/adit/internal/wire"
)

// Attachment is one browser on a shell. Next and Take each belong to one goroutine. The shell's mu protects its fields.
type Attachment struct {
	shell  *Shell
	who    string
	sent   int64 // number of the next output byte to send
	acked  int64 // everything before it has been shown
	typed  int64 // input bytes received, in all
	taken  int64 // how many of them the device has taken
	told   int64 // the same as the browser was told
	status int   // the last status that the browser was told
	over   bool  // the browser knows that the shell ended
	closed bool
	// succeeded: the browser seems to have attached again before this socket's end was noticed, so nobody waits for
	// what this one has not acknowledged. An acknowledgement proves that wrong.
	succeeded bool
}

func (sh *Shell) attach(who string, from int64) (*Attachment, error) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.revoked != nil {
		return nil, sh.revoked
	}
	if len(sh.attachments) >= maxAttached {
		return nil, wire.Errorf(wire.RateLimited, "%d browsers are attached to this shell. Close one first.", maxAttached)
	}
	a := &Attachment{shell: sh, who: who, sent: max(from, 0), status: -1}
	if sh.output != nil {
		a.sent = min(a.sent, max(sh.exists, sh.output.Next()))
	}
	a.acked = a.sent
	if !sh.succeed(a, from) && len(sh.departed) > 0 { // most likely it is the one that vanished last
		sh.departed = sh.departed[:len(sh.departed)-1]
	}
	sh.attachments[a] = struct{}{}
	sh.news()
	return a, nil
}

// succeed finds the attachment that a, which goes on at from, takes over from: the same person's, with from among the
// bytes that it was sent and has not acknowledged. The caller holds mu.
func (sh *Shell) succeed(a *Attachment, from int64) bool {
	for old := range sh.attachments {
		if from > 0 && old.who == a.who && !old.succeeded && old.acked <= from && from <= old.sent && old.acked < old.sent {
			old.succeeded = true
			return true
		}
	}
	return false
}

// maxAttached bounds the browsers on one shell, and with them the input that waits.
const maxAttached = 20

// attached lists who looks on. The caller holds mu.
func (sh *Shell) attached() []string {
	who := []string{}
	for a := range sh.attachments {
		who = append(who, a.who)
	}
	slices.Sort(who)
	return slices.Compact(who)
}

// Close ends the attachment; the shell lives on.
func (a *Attachment) Close() {
	sh := a.shell
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if a.closed {
		return
	}
	a.closed = true
	delete(sh.attachments, a)
	if !a.over && !a.succeeded && len(sh.departed) < maxDeparted {
		sh.departed = append(sh.departed, departed{acked: a.acked, until: time.Now().Add(wire.HoldGrace * time.Second)})
	}
	if len(sh.attachments) == 0 {
		sh.emptyAt = time.Now()
	}
	sh.news()
}

// maxDeparted bounds what is remembered of browsers that come and go quickly.
const maxDeparted = 16

// Next waits for something that the browser has to be told and appends it to buf[:0] as a message of the shell
// protocol. It returns io.EOF after the end of the shell, and an Error when the user lost the right to it.
func (a *Attachment) Next(ctx context.Context, buf []byte) ([]byte, error) {
	sh := a.shell
	for {
		sh.mu.Lock()
		message, ok, err := a.next(buf[:0])
		changed := sh.changed
		sh.mu.Unlock()
		if ok || err != nil {
			return message, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// next is Next without waiting. Output comes before the news that there will be no more. The caller holds mu.
func (a *Attachment) next(buf []byte) (message []byte, ok bool, err error) {
	sh := a.shell
	ended := sh.state == wire.ShellEnded
	switch {
	case sh.revoked != nil:
		return nil, false, sh.revoked
	case a.over || a.closed:
		return nil, false, io.EOF
	case a.status != sh.status && !ended:
		message, err = a.appendStatus(buf)
		return message, true, err
	case a.told != a.taken:
		a.told = a.taken
		return wire.AppendShellTaken(buf, a.taken), true, nil
	}
	if message = a.appendOutput(buf); len(message) > 0 {
		return message, true, nil
	}
	if ended {
		a.over, sh.told = true, true
		message, err = a.appendStatus(buf)
		return message, true, err
	}
	return nil, false, nil
}

func (a *Attachment) appendStatus(buf []byte) ([]byte, error) {
	a.status = a.shell.status
	text, err := json.Marshal(a.shell.statusNow())
	if err != nil {
		return nil, fmt.Errorf("shell status: %w", err)
	}
	return append(append(buf, wire.ShellState), text...), nil
}

// appendOutput gives buf unchanged where there is nothing to send.
func (a *Attachment) appendOutput(buf []byte) []byte {
	out := a.shell.output
	if out == nil || a.sent-a.acked >= wire.ShellWindow {
		return buf
	}
	first := max(a.sent, out.Oldest())
	if first != a.sent { // bytes between are lost, and nobody will acknowledge them
		a.sent, a.acked = first, first
	}
	n := int(min(out.Next()-first, wire.ShellChunk))
	if n <= 0 {
		return buf
	}
	message := wire.AppendShellOutput(buf, first, nil)
	header := len(message)
	message = slices.Grow(message, n)[:header+n]
	out.Read(message[header:], first)
	a.sent = first + int64(n)
	return message
}

// Take does what a message from the browser asks for. It waits where the browser has sent more input than it may, and
// fails with an Error of code Invalid where it breaks the protocol.
func (a *Attachment) Take(ctx context.Context, message []byte) error {
	if len(message) == 0 {
		return wire.Errorf(wire.Invalid, "A message has at least its type.")
	}
	switch message[0] {
	case wire.ShellInput:
		return a.input(ctx, message[1:])
	case wire.ShellSteer:
		return a.steer(message[1:])
	case wire.ShellAck:
		next, err := wire.ParseShellAck(message)
		if err == nil {
			a.ack(next)
		}
		return err
	}
	return nil
}

func (a *Attachment) ack(next int64) {
	sh := a.shell
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if next = min(next, a.sent); next > a.acked {
		a.acked, a.succeeded = next, false
		sh.wake()
	}
}

func (a *Attachment) steer(payload []byte) error {
	var control wire.ShellControl
	if err := json.Unmarshal(payload, &control); err != nil {
		return wire.Wrap(err, wire.Invalid, "A control message holds one JSON object.")
	}
	if control.Resize == nil {
		return nil
	}
	if !control.Resize.Valid() {
		return wire.Errorf(wire.Invalid, "A terminal has 1 to 1000 columns and rows.")
	}
	sh := a.shell
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.sized = true
	if sh.record.Cols != control.Resize.Cols || sh.record.Rows != control.Resize.Rows {
		sh.record.Cols, sh.record.Rows = control.Resize.Cols, control.Resize.Rows
		sh.news()
	}
	return nil
}

// input queues bytes for the device.
func (a *Attachment) input(ctx context.Context, p []byte) error {
	sh := a.shell
	if len(p) > wire.ShellMessageMax {
		return wire.Errorf(wire.TooLarge, "One message carries at most %d bytes of input.", wire.ShellChunk)
	}
	for {
		sh.mu.Lock()
		over := sh.state == wire.ShellEnded || sh.revoked != nil || a.closed
		room := a.typed-a.taken < wire.ShellInputWindow
		if room && !over && len(p) > 0 {
			a.typed += int64(len(p))
			sh.queue(a, p)
		}
		changed := sh.changed
		sh.mu.Unlock()
		if room || over {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// queue adds input behind what waits already; keys of one browser share an entry. The caller holds mu.
func (sh *Shell) queue(a *Attachment, p []byte) {
	if n := len(sh.typed); n > 0 && sh.typed[n-1].by == a && len(sh.typed[n-1].p)+len(p) <= wire.ShellChunk {
		sh.typed[n-1].p = append(sh.typed[n-1].p, p...)
	} else {
		sh.typed = append(sh.typed, typed{by: a, p: slices.Clone(p), at: time.Now()})
	}
	sh.wake()
}
