package shell

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/aditdev/adit/internal/ring"
	"github.com/aditdev/adit/internal/wire"
)

// Shell is one terminal session.
type Shell struct {
	o       Options
	closing context.Context // ends when its user ends the shell
	giveUp  context.CancelFunc
	refused bool // by the device's SSH server, once, while it was opening; only run uses it

	mu          sync.Mutex
	changed     chan struct{} // closed and replaced whenever something below changes
	record      Record        // its ID, User, Device and Login never change
	sized       bool          // a browser has told this hub the size
	state       string
	message     string // for a person; with a state of waiting or ended
	code        wire.Code
	exit        *int
	offline     bool       // the device is known to be away
	output      *ring.Ring // nil until the device said which byte comes first
	exists      int64      // bytes before this number exist, perhaps on the device alone
	status      int        // counts changes of what a ShellStatus says
	attachments map[*Attachment]struct{}
	departed    []departed
	emptyAt     time.Time // since when nobody is attached
	typed       []typed   // input that the device has not been sent, oldest first
	hangup      bool      // its user ended it
	revoked     error     // its user lost the right to it
	told        bool      // some browser knows how it ended
}

// departed is what remains for a while of a browser that vanished: the output that it may have missed.
type departed struct {
	acked int64
	until time.Time
}

// typed is input, who is to be told when it was taken, and when it was typed.
type typed struct {
	by *Attachment
	p  []byte
	at time.Time
}

func newShell(r Record, o Options) *Shell {
	closing, giveUp := context.WithCancel(context.Background())
	return &Shell{
		o: o, closing: closing, giveUp: giveUp, record: r, sized: true, state: wire.ShellOpening, changed: make(chan struct{}),
		attachments: make(map[*Attachment]struct{}), emptyAt: time.Now(),
	}
}

// restored is a shell that an earlier hub opened.
func restored(r Record, o Options) *Shell {
	sh := newShell(r, o)
	sh.sized, sh.state, sh.message = false, wire.ShellWaiting, "The hub was restarted. The shell goes on in a moment."
	return sh
}

// wake tells everyone who waits that something changed. The caller holds mu.
func (sh *Shell) wake() {
	close(sh.changed)
	sh.changed = make(chan struct{})
}

// news is wake for what browsers are told by a status. The caller holds mu.
func (sh *Shell) news() {
	sh.status++
	sh.wake()
}

// View is a shell as the API shows it.
type View struct {
	Record
	State      string
	ExitStatus *int
	Attached   []string
}

// View is the shell now.
func (sh *Shell) View() View {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	state := sh.shownState()
	if sh.hangup {
		state = wire.ShellEnded
	}
	return View{Record: sh.record, State: state, ExitStatus: sh.exit, Attached: sh.attached()}
}

// shownState is waiting too while the stream yet lives but its device is away. The caller holds mu.
func (sh *Shell) shownState() string {
	if sh.state == wire.ShellOpen && sh.offline {
		return wire.ShellWaiting
	}
	return sh.state
}

// statusNow is what browsers are told. The caller holds mu.
func (sh *Shell) statusNow() wire.ShellStatus {
	s := wire.ShellStatus{
		State: sh.shownState(), Message: sh.message, Code: sh.code, ExitStatus: sh.exit, Attached: sh.attached(),
		Cols: sh.record.Cols, Rows: sh.record.Rows, OutlivesHub: sh.record.OutlivesHub,
	}
	if s.State == wire.ShellWaiting && s.Message == "" {
		s.Message = "The device is offline. The shell goes on when it is back."
	}
	if sh.output != nil {
		s.Oldest, s.Next = sh.output.Oldest(), sh.output.Next()
	}
	return s
}

func (sh *Shell) setOnline(online bool) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.offline == online {
		sh.offline = !online
		sh.news()
	}
}

func (sh *Shell) setState(state, message string) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.state != state || sh.message != message {
		sh.state, sh.message = state, message
		sh.news()
	}
}

// scrollback is how much output before the byte that a browser asked for is fetched from the device after a restart of
// the hub, for another browser that asks for more.
const scrollback = 128 << 10

// wanted is the first output byte that the device should send, and the size that the terminal should have: 0 where no
// browser has said it to this hub.
func (sh *Shell) wanted() (first int64, cols, rows int) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.sized {
		cols, rows = sh.record.Cols, sh.record.Rows
	}
	if sh.output != nil {
		return sh.output.Next(), cols, rows
	}
	first = math.MaxInt64
	for a := range sh.attachments {
		first = min(first, a.sent)
	}
	if first == math.MaxInt64 {
		return 0, cols, rows
	}
	return max(first-scrollback, 0), cols, rows
}

// joined is the moment when the terminal is there.
func (sh *Shell) joined(from span, size wire.ShellSize, outlivesHub bool) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if size.Valid() && !sh.sized {
		sh.record.Cols, sh.record.Rows = size.Cols, size.Rows
	}
	if sh.output == nil || from.first > sh.output.Next() {
		sh.output = ring.New(wire.ShellRing, from.first)
	}
	sh.exists = max(from.next, sh.output.Next())
	for a := range sh.attachments {
		a.sent = min(a.sent, sh.exists)
		a.acked = min(a.acked, a.sent)
	}
	sh.record.OutlivesHub = outlivesHub
	sh.state, sh.message = wire.ShellOpen, ""
	sh.news()
}

// deliver takes output from the device whose first byte has the number first; what is known already is dropped. It
// waits while a browser is too far behind, and fails when the link's ctx ends.
func (sh *Shell) deliver(ctx context.Context, first int64, data []byte) error {
	for {
		sh.mu.Lock()
		full, again := sh.full(time.Now())
		if !full {
			sh.take(first, data)
			sh.mu.Unlock()
			return nil
		}
		changed := sh.changed
		sh.mu.Unlock()
		select {
		case <-changed:
		case <-again:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// take appends output. The caller holds mu.
func (sh *Shell) take(first int64, data []byte) {
	switch known := sh.output.Next() - first; {
	case known < 0: // the device's ring has overflowed: browsers see the number jump
		sh.output = ring.New(wire.ShellRing, first)
	case known >= int64(len(data)):
		return
	default:
		data = data[known:]
	}
	_, _ = sh.output.Write(data)
	sh.wake()
}

// full reports whether the slowest browser is a window behind; again, where not nil, says when the answer may change
// by itself. The caller holds mu.
func (sh *Shell) full(now time.Time) (full bool, again <-chan time.Time) {
	behind := sh.output.Next() - sh.floor(now)
	if behind < wire.ShellWindow {
		return false, nil
	}
	if len(sh.departed) > 0 {
		again = time.After(time.Until(sh.departed[0].until))
	}
	return true, again
}

// floor is the number before which no browser needs output any more: those that vanished count for wire.HoldGrace
// seconds, so that a short cut loses nothing however much the terminal prints. The caller holds mu.
func (sh *Shell) floor(now time.Time) int64 {
	for len(sh.departed) > 0 && !now.Before(sh.departed[0].until) {
		sh.departed = sh.departed[1:]
	}
	floor := sh.output.Next()
	for a := range sh.attachments {
		if !a.succeeded {
			floor = min(floor, a.acked)
		}
	}
	for _, d := range sh.departed {
		floor = min(floor, d.acked)
	}
	return max(floor, sh.output.Oldest())
}

// close ends the shell because its user wants that.
func (sh *Shell) close() {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.hangup = true
	sh.giveUp()
	sh.wake()
}

// ended is the last thing that happens to a shell.
func (sh *Shell) ended(e end) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.state, sh.exit, sh.typed, sh.code, sh.message = wire.ShellEnded, e.exit, nil, "", ""
	switch {
	case e.err == nil:
	case errors.Is(e.err, errStop):
		sh.message = "You ended this shell."
	case errors.Is(e.err, errExpired):
		sh.message = fmt.Sprintf("Nobody was attached for %v.", sh.o.Life)
	default:
		sh.code, sh.message = wire.CodeOf(e.err), wire.MessageOf(e.err)
	}
	sh.news()
}
