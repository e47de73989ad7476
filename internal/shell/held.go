package shell

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/sshlogin"
	"github.com/aditdev/adit/internal/wire"
)

// term is what xterm.js is.
const term = "xterm-256color"

// join finds or makes the terminal. A device that cannot hold one gives a plain shell, which ends with its connection.
func (sh *Shell) join(client *ssh.Client, r Record, device Device) (*link, error) {
	l := &link{sh: sh, client: client, size: wire.ShellSize{Cols: r.Cols, Rows: r.Rows}}
	sh.mu.Lock()
	opening := sh.state == wire.ShellOpening
	sh.mu.Unlock()
	err := l.joinHeld(r, device.AgentPath, opening)
	if err != nil && opening && !sshlogin.Lost(err) {
		sh.o.Log.Info("shell is not held by the device", "shell", r.ID, "device", r.Device, "cause", err)
		err = l.joinPlain(r)
	}
	if err != nil {
		return nil, err
	}
	if opening || !r.OutlivesHub {
		if _, held := l.line.(*heldLine); held {
			if err := sh.o.Store.SetShellState(context.Background(), r.ID, wire.ShellOpen, true); err != nil {
				return nil, fmt.Errorf("shell state: %w", err)
			}
		}
	}
	return l, nil
}

// heldLine is a terminal that a holder on the device keeps (wire.HoldGreeting).
type heldLine struct {
	l       *link
	session *ssh.Session
	out     *bufio.Reader

	mu    sync.Mutex // frames are written whole
	in    io.Writer
	taken int64
	end   int64 // number after the last output byte, once exited
}

// agentPath is what may stand, quoted, on a command line for any login shell. It is what the device says of itself and
// only ever runs there, but a path with quotes in it is nobody's path.
var agentPath = regexp.MustCompile(`^/[A-Za-z0-9/._ +@-]{1,200}$`)

func (l *link) joinHeld(r Record, path string, create bool) error {
	if !agentPath.MatchString(path) {
		return wire.Errorf(wire.Invalid, "The device has no agent that could hold a shell.")
	}
	session, err := l.client.NewSession()
	if err != nil {
		return wire.Wrap(err, wire.Offline, "The device's SSH server opened no channel.")
	}
	h := &heldLine{l: l, session: session}
	if err := h.start("'" + path + "' agent hold " + r.ID); err != nil {
		_ = session.Close()
		return err
	}
	join := wire.HoldJoin{Create: create, As: "hub", Term: term}
	join.From, join.Cols, join.Rows = l.sh.wanted()
	welcome, err := h.join(join)
	if err != nil {
		_ = session.Close()
		return err
	}
	from := span{first: min(max(join.From, welcome.Oldest), welcome.Next), next: welcome.Next}
	l.begin(h, from, wire.ShellSize{Cols: welcome.Cols, Rows: welcome.Rows}, true)
	return nil
}

// start runs command and waits for the greeting behind whatever the login's start-up files print.
func (h *heldLine) start(command string) error {
	in, err := h.session.StdinPipe()
	if err != nil {
		return fmt.Errorf("ssh stdin: %w", err)
	}
	out, err := h.session.StdoutPipe()
	if err != nil {
		return fmt.Errorf("ssh stdout: %w", err)
	}
	if err := h.session.Start(command); err != nil {
		return wire.Wrap(err, wire.Internal, "The device's SSH server runs no commands.")
	}
	h.in, h.out = in, bufio.NewReaderSize(out, wire.HoldFrameMax)
	for skipped := 0; skipped < maxNoise; {
		text, err := h.out.ReadSlice('\n')
		if strings.HasSuffix(string(text), wire.HoldGreeting) {
			return nil
		}
		if skipped += len(text); err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return h.neverGreeted(err)
		}
	}
	return wire.Errorf(wire.Internal, "The login's start-up files print more than %d bytes.", maxNoise)
}

// maxNoise bounds what is skipped before the greeting.
const maxNoise = 1 << 20

// neverGreeted tells a command that cannot run there from a connection that broke.
func (h *heldLine) neverGreeted(err error) error {
	if exit, ok := errors.AsType[*ssh.ExitError](h.session.Wait()); ok {
		return wire.Wrap(exit, wire.Internal, "The command that holds a shell ended with status %d.", exit.ExitStatus())
	}
	return wire.Wrap(err, wire.Offline, "The connection broke.")
}

func (h *heldLine) join(join wire.HoldJoin) (welcome wire.HoldJoined, err error) {
	if err := wire.WriteHoldJSON(h.in, wire.HoldJoinFrame, join); err != nil {
		return welcome, wire.Wrap(err, wire.Offline, "The connection broke.")
	}
	kind, payload, err := wire.ReadHold(h.out)
	if err != nil {
		return welcome, wire.Wrap(err, wire.Offline, "The connection broke.")
	}
	switch kind {
	case wire.HoldJoinedFrame:
		if json.Unmarshal(payload, &welcome) == nil && welcome.Oldest >= 0 {
			return welcome, nil
		}
	case wire.HoldRefusedFrame:
		var refused wire.HoldRefused
		if json.Unmarshal(payload, &refused) == nil {
			return welcome, sshlogin.OrFinal(wire.Errorf(refused.Code, "%s", wire.Printable(refused.Message, 300)), wire.NotFound)
		}
	}
	return welcome, wire.Errorf(wire.Internal, "The device answered a join with frame 0x%02x.", kind)
}

// receive implements line.
func (h *heldLine) receive(ctx context.Context) (exit int, err error) {
	for {
		kind, payload, err := wire.ReadHold(h.out)
		if err != nil {
			return 0, wire.Wrap(err, wire.Offline, "The connection broke.")
		}
		switch kind {
		case wire.HoldOutputFrame:
			err = h.output(ctx, payload)
		case wire.HoldTakenFrame:
			err = h.tookInput(payload)
		case wire.HoldExitedFrame:
			var exited wire.HoldExited
			if err = json.Unmarshal(payload, &exited); err == nil {
				h.end = exited.Next
				return exited.Status, nil
			}
		}
		if err != nil {
			return 0, err
		}
	}
}

func (h *heldLine) output(ctx context.Context, payload []byte) error {
	first, data, err := wire.ParseHoldNumber(payload)
	if err != nil {
		return err
	}
	return h.l.sh.deliver(ctx, first, data)
}

func (h *heldLine) tookInput(payload []byte) error {
	taken, _, err := wire.ParseHoldNumber(payload)
	if err != nil || taken < h.taken {
		return err
	}
	h.l.taken(taken - h.taken)
	h.taken = taken
	return nil
}

func (h *heldLine) frame(kind byte, payload []byte) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return wire.WriteHold(h.in, kind, payload)
}

func (h *heldLine) input(p []byte) error {
	for len(p) > 0 {
		n := min(len(p), wire.ShellChunk)
		if err := h.frame(wire.HoldInputFrame, p[:n]); err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

func (h *heldLine) resize(size wire.ShellSize) error {
	return h.frame(wire.HoldResizeFrame, wire.AppendHoldSize(nil, size))
}

func (h *heldLine) ack(next int64) error {
	return h.frame(wire.HoldAckFrame, wire.AppendHoldNumber(nil, next))
}

func (h *heldLine) hangup() error { return h.frame(wire.HoldHangupFrame, nil) }

// forget waits a moment for the holder's end, so that the connection is not closed under the acknowledgement.
func (h *heldLine) forget() {
	limit := time.AfterFunc(hangupGrace, func() { _ = h.l.client.Close() })
	defer limit.Stop()
	if h.ack(h.end+1) == nil {
		_, _ = io.Copy(io.Discard, h.out)
	}
}
