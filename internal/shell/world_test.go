package shell_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
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

	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/agent/hold"
	"github.com/aditdev/adit/internal/leaktest"
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
	leaktest.Main(m)
}

const (
	deviceID = "dev_01JD0000000000000000000000"
	owner    = "usr_01JD0000000000000000000000"
	shellID  = "shl_01JD0000000000000000000000"
)

// patience is how long a test waits for what must come: only what never comes is a fault here, on a machine that does other
// things too.
const patience = time.Minute

// promptly is for what must come within two seconds (rule 17), counted likewise: nothing that ends by itself ends as soon.
const promptly = 30 * time.Second

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
	deaf    bool          // the device is there and says nothing
	clock   time.Duration // the device's clock minus ours, as the hub believes
	settles bool          // after one certificate the hub believes what is so
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

func (w *world) dial(_ context.Context, r shell.Record) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.away || r.Device != deviceID || r.Target() != wire.TargetSSH {
		return nil, wire.Errorf(wire.Offline, "The device is away.")
	}
	if w.deaf {
		conn, _ := net.Pipe()
		return conn, nil
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

func (w *world) believed() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	offset := w.clock
	if w.settles {
		w.clock = 0
	}
	return offset
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
			return w.ca.Sign(sshca.Request{Key: key, User: user, Device: device, Login: login, Clock: time.Now().Add(w.believed())})
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
