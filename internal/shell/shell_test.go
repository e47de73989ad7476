package shell_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/agent/hold"
	"github.com/aditdev/adit/internal/shell"
	"github.com/aditdev/adit/internal/sshca"
	"github.com/aditdev/adit/internal/sshdtest"
	"github.com/aditdev/adit/internal/wire"
)

// TestMain lets the test binary stand in for the `adit` on the device.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "agent" && os.Args[2] == "hold" {
		if err := hold.Run(context.Background(), os.Args[3:], os.Stdin, os.Stdout); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

const (
	deviceID = "dev_01JD0000000000000000000000"
	owner    = "usr_01JD0000000000000000000000"
	shellID  = "shl_01JD0000000000000000000000"
	patience = 20 * time.Second
)

// world is a device with a real sshd, and what of a hub outlives its process.
type world struct {
	t    *testing.T
	ca   *sshca.CA
	sshd *sshdtest.Server

	mu      sync.Mutex
	records map[string]shell.Record
	ended   map[string]*int
	conns   map[net.Conn]struct{}
	away    bool
	clock   time.Duration // the device's clock minus ours
	keys    []ssh.PublicKey
	agent   string
	revoke  map[string]context.CancelCauseFunc
	life    time.Duration
}

func newWorld(t *testing.T, sshd ...string) *world {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	ca, err := sshca.New(private)
	must(t, err)
	key, err := sshca.ParseKey(strings.TrimSuffix(ca.AuthorizedKey(), " adit-user-ca"))
	must(t, err)
	w := &world{
		t: t, ca: ca, sshd: sshdtest.Start(t, sshdtest.Options{CA: key, Device: deviceID, Extra: sshd}), agent: os.Args[0],
		records: map[string]shell.Record{}, ended: map[string]*int{}, conns: map[net.Conn]struct{}{},
		revoke: map[string]context.CancelCauseFunc{},
	}
	w.keys = []ssh.PublicKey{w.sshd.HostKey}
	must(t, os.WriteFile(filepath.Join(w.sshd.Home, ".bash_profile"), []byte("PS1='$ '\n"), 0o600))
	must(t, os.WriteFile(filepath.Join(w.sshd.Home, ".inputrc"), []byte("set enable-bracketed-paste off\n"), 0o600))
	t.Cleanup(w.endHolders)
	return w
}

// endHolders ends what devices still hold, by another joiner's hang-up.
func (w *world) endHolders() {
	sockets, _ := filepath.Glob(filepath.Join(w.sshd.Home, ".cache/adit/shells/*.sock"))
	for _, path := range sockets {
		conn, err := net.Dial("unix", path)
		if err != nil {
			continue
		}
		_ = wire.WriteHoldJSON(conn, wire.HoldJoinFrame, wire.HoldJoin{As: "cleanup"})
		_ = wire.WriteHold(conn, wire.HoldHangupFrame, nil)
		for {
			kind, payload, err := wire.ReadHold(conn)
			if err != nil {
				break
			}
			if kind == wire.HoldExitedFrame {
				var exited wire.HoldExited
				_ = json.Unmarshal(payload, &exited)
				_ = wire.WriteHold(conn, wire.HoldAckFrame, wire.AppendHoldNumber(nil, exited.Next+1))
			}
		}
		_ = conn.Close()
	}
}

func (w *world) CreateShell(_ context.Context, r shell.Record) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.records[r.ID] = r
	return nil
}

func (w *world) SetShellState(_ context.Context, id, _ string, outlivesHub bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.records[id]
	r.OutlivesHub = outlivesHub
	w.records[id] = r
	return nil
}

func (w *world) EndShell(_ context.Context, id string, exit *int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.records, id)
	w.ended[id] = exit
	return nil
}

func (w *world) LiveShells(context.Context) ([]shell.Record, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Collect(maps.Values(w.records)), nil
}

func (w *world) dial(_ context.Context, device string, target wire.Target, _ string) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.away || device != deviceID || target != wire.TargetSSH {
		return nil, wire.Errorf(wire.Offline, "The device is away.")
	}
	conn, err := net.Dial("tcp", w.sshd.Address)
	if err != nil {
		return nil, err
	}
	w.conns[conn] = struct{}{}
	return conn, nil
}

// cut breaks every connection to the device, and keeps new ones from coming while away.
func (w *world) cut(away bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.away = away
	for conn := range w.conns {
		_ = conn.Close()
		delete(w.conns, conn)
	}
}

func (w *world) hold(ctx context.Context, r shell.Record) (context.Context, context.CancelFunc, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.revoke[r.ID] = cancel
	return ctx, func() { cancel(nil) }, nil
}

// hub is one process's worth of Shells.
type hub struct {
	*shell.Shells
	stop func()
}

func (w *world) hub() *hub {
	w.t.Helper()
	s := shell.New(shell.Options{
		Log: slog.New(slog.DiscardHandler), Store: w, Dial: w.dial, Hold: w.hold, Life: w.life,
		Device: func(context.Context, string) (shell.Device, error) {
			return shell.Device{Name: "kitchen", HostKeys: w.keys, AgentPath: w.agent}, nil
		},
		Certify: func(_ context.Context, user, device, login string, key ssh.PublicKey) (*ssh.Certificate, error) {
			return w.ca.Sign(sshca.Request{Key: key, User: user, Device: device, Login: login, Clock: time.Now().Add(w.clock)})
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("Run: %v", err)
		}
	})
	w.t.Cleanup(stop)
	return &hub{s, stop}
}

func (w *world) open(h *hub) {
	w.t.Helper()
	_, err := h.Open(w.t.Context(), shell.Record{ID: shellID, User: owner, Device: deviceID, Login: w.sshd.Login, Cols: 80,
		Rows: 24, Created: time.Now()})
	must(w.t, err)
}

// browser is what a page does with an Attachment.
type browser struct {
	t      *testing.T
	a      *shell.Attachment
	next   int64
	text   bytes.Buffer
	status wire.ShellStatus
	taken  int64
	err    error
	mute   bool // acknowledges nothing
}

func (w *world) attach(h *hub, from int64) *browser {
	w.t.Helper()
	a, err := h.Attach(w.t.Context(), owner, shellID, "owner@example.com", from)
	must(w.t, err)
	w.t.Cleanup(a.Close)
	return &browser{t: w.t, a: a, next: from}
}

// step handles one message; false says that there will be no more.
func (b *browser) step() bool {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	message, err := b.a.Next(ctx, nil)
	if err != nil {
		b.err = err
		if errors.Is(err, context.DeadlineExceeded) {
			b.t.Fatalf("nothing came at %d, status %+v, after %q", b.next, b.status, tail(b.text.String()))
		}
		return false
	}
	switch message[0] {
	case wire.ShellState:
		b.status = wire.ShellStatus{}
		must(b.t, json.Unmarshal(message[1:], &b.status))
	case wire.ShellTaken:
		b.taken, err = wire.ParseShellAck(append([]byte{wire.ShellAck}, message[1:]...))
		must(b.t, err)
	case wire.ShellOutput:
		first, data, err := wire.ParseShellOutput(message)
		must(b.t, err)
		if first != b.next {
			b.t.Fatalf("output starts at %d, want %d", first, b.next)
		}
		b.next += int64(len(data))
		b.text.Write(data)
		if !b.mute {
			must(b.t, b.a.Take(ctx, wire.AppendShellAck(nil, b.next)))
		}
	}
	return true
}

func tail(s string) string { return s[max(0, len(s)-300):] }

func (b *browser) until(text string) {
	b.t.Helper()
	for !strings.Contains(b.text.String(), text) {
		if !b.step() {
			b.t.Fatalf("ended with %v, %+v before %q; had %q", b.err, b.status, text, tail(b.text.String()))
		}
	}
}

func (b *browser) untilState(state string) {
	b.t.Helper()
	for b.status.State != state {
		if !b.step() {
			b.t.Fatalf("ended with %v before %s: %+v", b.err, state, b.status)
		}
	}
}

func (b *browser) untilEnd() {
	b.t.Helper()
	for b.step() {
	}
}

func (b *browser) typeIn(s string) {
	b.t.Helper()
	must(b.t, b.a.Take(b.t.Context(), append([]byte{wire.ShellInput}, s...)))
}

func (b *browser) resize(cols, rows int) {
	b.t.Helper()
	control, _ := json.Marshal(wire.ShellControl{Resize: &wire.ShellSize{Cols: cols, Rows: rows}})
	must(b.t, b.a.Take(b.t.Context(), append([]byte{wire.ShellSteer}, control...)))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestShellFromOpenToExit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.hub()
	w.open(h)
	b := w.attach(h, 0)
	b.untilState(wire.ShellOpen)
	if !b.status.OutlivesHub || b.status.Cols != 80 || !slices.Equal(b.status.Attached, []string{"owner@example.com"}) {
		t.Errorf("status %+v", b.status)
	}
	b.resize(132, 43)
	b.typeIn("echo \"<$0 $(stty size)>\"\n")
	b.until("<-bash 43 132>")
	b.typeIn("exit 5\n")
	b.untilEnd()
	if b.err != io.EOF || b.status.State != wire.ShellEnded || b.status.ExitStatus == nil || *b.status.ExitStatus != 5 {
		t.Errorf("end: %v %+v", b.err, b.status)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if exit := w.ended[shellID]; exit == nil || *exit != 5 {
		t.Errorf("the store has exit status %v", exit)
	}
}

func numbers() string {
	var b strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&b, "%d\r\n", i+1)
	}
	return b.String()
}

// The browser loses its socket, the device its link and the hub its life, all in the middle of output.
func TestNothingIsLostOrDoubled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.hub()
	w.open(h)
	b := w.attach(h, 0)
	b.typeIn("stty -echo; PS1=; echo be''gin\n")
	b.until("begin\r\n")
	b.typeIn("seq 1 100000; echo do''ne\n")
	got := bytes.Clone(b.text.Bytes())
	b.text.Reset()
	for i := 0; !bytes.Contains(got, []byte("done\r\n")); i++ {
		for goal := b.next + 70_000; b.next < goal && !bytes.Contains(b.text.Bytes(), []byte("done\r\n")); {
			if !b.step() {
				t.Fatalf("ended: %v %+v", b.err, b.status)
			}
		}
		got = append(got, b.text.Bytes()...)
		b.a.Close()
		switch i % 3 {
		case 0:
			w.cut(false)
		case 1:
			h.stop()
			h = w.hub()
		}
		b = w.attach(h, b.next)
	}
	_, after, _ := strings.Cut(string(got), "begin\r\n")
	if want := numbers() + "done\r\n"; after != want {
		t.Errorf("%d bytes differ from the %d wanted", len(after), len(want))
	}
}

func TestDeviceAwayForAWhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.hub()
	w.open(h)
	b := w.attach(h, 0)
	b.typeIn("echo he''re\n")
	b.until("here")
	w.cut(true)
	b.untilState(wire.ShellWaiting)
	w.cut(false)
	b.untilState(wire.ShellOpen)
	b.typeIn("echo aga''in\n")
	b.until("again")
}

func TestSlowBrowserIsBounded(t *testing.T) {
	t.Parallel()
	const size = 4 << 20
	w := newWorld(t)
	h := w.hub()
	w.open(h)
	b := w.attach(h, 0)
	b.typeIn("stty -echo; PS1=; echo be''gin\n")
	b.until("begin\r\n")
	b.mute = true
	from := b.next
	b.typeIn(fmt.Sprintf("head -c %d /dev/zero | tr '\\0' x; exit\n", size))
	for b.next-from < wire.ShellWindow {
		b.step()
	}
	if b.next-from >= wire.ShellWindow+wire.ShellChunk {
		t.Errorf("%d bytes were sent without an acknowledgement", b.next-from)
	}
	b.a.Close()
	b = w.attach(h, from)
	b.untilEnd()
	if n := strings.Count(b.text.String(), "x"); n != size {
		t.Errorf("%d of %d bytes", n, size)
	}
}

// A socket that died in silence still has a full window when its browser is back on a new one, and its end, whenever
// that is noticed, must not hold the shell up either.
func TestOldSocketHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	const size = 4 << 20
	w := newWorld(t)
	h := w.hub()
	w.open(h)
	b := w.attach(h, 0)
	b.typeIn("stty -echo; PS1=; echo be''gin\n")
	b.until("begin\r\n")
	b.mute = true
	from := b.next
	b.typeIn(fmt.Sprintf("head -c %d /dev/zero | tr '\\0' x; exit\n", size))
	for b.next-from < wire.ShellWindow {
		b.step()
	}
	start := b.next - wire.ShellChunk
	again := w.attach(h, start)
	for again.next < from+size/2 {
		again.step()
	}
	b.a.Close()
	again.untilEnd()
	if n := int64(strings.Count(again.text.String(), "x")); n != from+size-start {
		t.Errorf("%d of %d bytes", n, from+size-start)
	}
}

func TestTwoBrowsersSeeTheSame(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.hub()
	w.open(h)
	one := w.attach(h, 0)
	one.typeIn("echo fi''rst\n")
	one.until("first\r\n")
	two := w.attach(h, 0)
	two.until("first\r\n")
	two.typeIn("echo sec''ond\n")
	one.until("second\r\n")
	two.until("second\r\n")
	two.a.Close()
	one.typeIn("exit\n")
	one.untilEnd()
}

func TestIDIsNoCapability(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.hub()
	w.open(h)
	const other = "usr_01JD0000000000000000000001"
	if _, err := h.Attach(t.Context(), other, shellID, "x", 0); wire.CodeOf(err) != wire.NotFound {
		t.Errorf("attach by another user: %v", err)
	}
	if err := h.Close(t.Context(), other, shellID); wire.CodeOf(err) != wire.NotFound {
		t.Errorf("close by another user: %v", err)
	}
	if list, err := h.List(t.Context(), other); err != nil || len(list) != 0 {
		t.Errorf("list of another user: %v %v", list, err)
	}
	if list, err := h.List(t.Context(), owner); err != nil || len(list) != 1 {
		t.Errorf("own list: %v %v", list, err)
	}
}

func TestRevocationEndsTheShellAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.hub()
	w.open(h)
	b := w.attach(h, 0)
	b.typeIn("echo he''re\n")
	b.until("here")
	w.mu.Lock()
	revoke := w.revoke[shellID]
	w.mu.Unlock()
	began := time.Now()
	revoke(wire.Errorf(wire.Forbidden, "The grant is gone."))
	b.untilEnd()
	if wire.CodeOf(b.err) != wire.Forbidden || time.Since(began) > 2*time.Second {
		t.Errorf("after %v: %v", time.Since(began), b.err)
	}
	awaitHolders(t, w, 0)
}

func TestCloseHangsUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.hub()
	w.open(h)
	b := w.attach(h, 0)
	b.typeIn("echo he''re\n")
	b.until("here")
	must(t, h.Close(t.Context(), owner, shellID))
	b.untilEnd()
	if b.err != io.EOF || b.status.State != wire.ShellEnded {
		t.Errorf("end: %v %+v", b.err, b.status)
	}
	awaitHolders(t, w, 0)
}

func TestShellWithoutBrowserExpires(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.life = 300 * time.Millisecond
	h := w.hub()
	w.open(h)
	awaitHolders(t, w, 1)
	awaitHolders(t, w, 0)
	if list, err := h.List(t.Context(), owner); err != nil || len(list) != 0 {
		t.Errorf("list: %v %v", list, err)
	}
}

// awaitHolders waits until the device holds n terminals.
func awaitHolders(t *testing.T, w *world, n int) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(patience); ; {
		sockets, _ := filepath.Glob(filepath.Join(w.sshd.Home, ".cache/adit/shells/*.sock"))
		if len(sockets) == n {
			return
		}
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("the device holds %d terminals, not %d", len(sockets), n)
		}
	}
}

func TestDeviceWithoutAgentGetsAPlainShell(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"", "/nowhere/adit", "/bin/false", "/bin/'; touch x"} {
		w := newWorld(t)
		w.agent = path
		h := w.hub()
		w.open(h)
		b := w.attach(h, 0)
		b.resize(100, 40)
		b.typeIn("stty size; echo he''re\n")
		b.until("here")
		if b.status.OutlivesHub || !strings.Contains(b.text.String(), "40 100") {
			t.Errorf("%q: %+v %q", path, b.status, b.text.String())
		}
		b.typeIn("exit 3\n")
		b.untilEnd()
		if b.status.ExitStatus == nil || *b.status.ExitStatus != 3 {
			t.Errorf("%q: %+v", path, b.status)
		}
	}
}

func TestNoisyStartUpFiles(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	noise := "echo 'welcome to the machine'; printf 'no newline'\n"
	must(t, os.WriteFile(filepath.Join(w.sshd.Home, ".bashrc"), []byte(noise), 0o600))
	h := w.hub()
	w.open(h)
	b := w.attach(h, 0)
	b.untilState(wire.ShellOpen)
	if !b.status.OutlivesHub {
		t.Errorf("%+v", b.status)
	}
}

func TestImpostorGetsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	public, _, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	other, err := ssh.NewPublicKey(public)
	must(t, err)
	w.keys = []ssh.PublicKey{other}
	h := w.hub()
	w.open(h)
	b := w.attach(h, 0)
	b.untilEnd()
	if b.status.Code != wire.Conflict || !strings.Contains(b.status.Message, ssh.FingerprintSHA256(w.sshd.HostKey)) {
		t.Errorf("%+v", b.status)
	}
}

func TestRefusedLoginSaysSo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.clock = 3 * time.Hour // a certificate that is not valid yet
	h := w.hub()
	w.open(h)
	b := w.attach(h, 0)
	b.untilEnd()
	if b.status.Code != wire.Unauthenticated || !strings.Contains(b.status.Message, w.sshd.Login) {
		t.Errorf("%+v", b.status)
	}
}
