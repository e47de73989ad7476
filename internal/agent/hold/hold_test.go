//go:build !windows

package hold_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/agent/hold"
	"github.com/aditdev/adit/internal/leaktest"
	"github.com/aditdev/adit/internal/wire"
)

// TestMain lets the test binary stand in for `adit`, since a bridge starts its own program as the holder.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "agent" && os.Args[2] == "hold" {
		if err := hold.Run(context.Background(), os.Args[3:], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	leaktest.Main(m)
}

const patience = time.Minute

// device is a login with a home of its own in which shells are held.
type device struct {
	t    *testing.T
	home string
	env  []string
}

func newDevice(t *testing.T) *device {
	t.Helper()
	home, err := os.MkdirTemp("", "hold")
	if err != nil {
		t.Fatal(err)
	}
	d := &device{t: t, home: home}
	t.Cleanup(d.remove)
	write(t, filepath.Join(home, ".bash_profile"), "PS1='$ '\n")
	write(t, filepath.Join(home, ".inputrc"), "set enable-bracketed-paste off\n")
	write(t, filepath.Join(home, ".hushlogin"), "")
	d.env = []string{"HOME=" + home, "SHELL=/bin/bash", "PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8", "SSH_CONNECTION=127.0.0.1 1 127.0.0.1 22", "ADIT_SECRET=x"}
	return d
}

// remove ends every shell that is still held, and waits for it.
func (d *device) remove() {
	sockets, _ := filepath.Glob(filepath.Join(d.home, ".cache/adit/shells/*.sock"))
	for _, path := range sockets {
		conn, err := net.Dial("unix", path)
		if err != nil {
			continue
		}
		_ = wire.WriteHoldJSON(conn, wire.HoldJoinFrame, wire.HoldJoin{As: "cleanup", From: math.MaxInt64})
		_ = wire.WriteHold(conn, wire.HoldHangupFrame, nil)
		_ = wire.WriteHold(conn, wire.HoldAckFrame, wire.AppendHoldNumber(nil, math.MaxInt64))
		_, _ = io.Copy(ackExit{conn}, conn)
		_ = conn.Close()
	}
	_ = os.RemoveAll(d.home)
}

// ackExit acknowledges everything again and again, so also the exit status once it is there.
type ackExit struct{ conn net.Conn }

func (a ackExit) Write(p []byte) (int, error) {
	return len(p), wire.WriteHold(a.conn, wire.HoldAckFrame, wire.AppendHoldNumber(nil, math.MaxInt64))
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

const anID = "shl_01JD0000000000000000000000"

// joiner is a running bridge and what came out of it.
type joiner struct {
	t      *testing.T
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    io.Reader
	next   int64 // number expected next
	text   bytes.Buffer
	exited *wire.HoldExited
	taken  int64
	quiet  bool // acknowledges nothing
}

// join starts a bridge and reads the holder's welcome.
func (d *device) join(id string, join wire.HoldJoin) (*joiner, wire.HoldJoined) {
	d.t.Helper()
	j := d.bridge(id, join)
	kind, payload := j.frame()
	if kind != wire.HoldJoinedFrame {
		d.t.Fatalf("join answered 0x%02x %q", kind, payload)
	}
	welcome := parse[wire.HoldJoined](d.t, payload)
	j.next = max(join.From, welcome.Oldest)
	return j, welcome
}

func (d *device) bridge(id string, join wire.HoldJoin) *joiner {
	d.t.Helper()
	cmd := exec.Command(os.Args[0], "agent", "hold", id)
	cmd.Env = d.env
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		d.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		d.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	j := &joiner{t: d.t, cmd: cmd, in: in, out: out}
	d.t.Cleanup(j.kill)
	if join.As == "" {
		join.As = "hub"
	}
	j.send(wire.HoldJoinFrame, join)
	greeting := make([]byte, len(wire.HoldGreeting))
	if _, err := io.ReadFull(out, greeting); err != nil || string(greeting) != wire.HoldGreeting {
		d.t.Fatalf("greeting: %q, %v", greeting, err)
	}
	return j
}

func (j *joiner) kill() {
	_ = syscall.Kill(-j.cmd.Process.Pid, syscall.SIGKILL)
	_ = j.cmd.Wait()
}

func (j *joiner) send(kind byte, v any) {
	j.t.Helper()
	var err error
	switch v := v.(type) {
	case []byte:
		err = wire.WriteHold(j.in, kind, v)
	case string:
		err = wire.WriteHold(j.in, kind, []byte(v))
	default:
		err = wire.WriteHoldJSON(j.in, kind, v)
	}
	if err != nil {
		j.t.Fatalf("send 0x%02x: %v", kind, err)
	}
}

func (j *joiner) typeIn(s string) { j.t.Helper(); j.send(wire.HoldInputFrame, s) }

func (j *joiner) frame() (byte, []byte) {
	j.t.Helper()
	watchdog := time.AfterFunc(patience, j.kill0)
	defer watchdog.Stop()
	kind, payload, err := wire.ReadHold(j.out)
	if err != nil {
		j.t.Fatalf("frame: %v after %d bytes ending %q", err, j.next, tail(j.text.String()))
	}
	return kind, payload
}

func (j *joiner) kill0() { _ = j.cmd.Process.Kill() }

func tail(s string) string { return s[max(0, len(s)-200):] }

// step takes one frame and checks its number.
func (j *joiner) step() {
	j.t.Helper()
	kind, payload := j.frame()
	switch kind {
	case wire.HoldOutputFrame:
		first, data, err := wire.ParseHoldNumber(payload)
		if err != nil || first != j.next {
			j.t.Fatalf("output starts at %d, want %d (%v)", first, j.next, err)
		}
		j.next += int64(len(data))
		j.text.Write(data)
		if !j.quiet {
			j.send(wire.HoldAckFrame, wire.AppendHoldNumber(nil, j.next))
		}
	case wire.HoldExitedFrame:
		exited := parse[wire.HoldExited](j.t, payload)
		j.exited = &exited
	case wire.HoldTakenFrame:
		j.taken, _, _ = wire.ParseHoldNumber(payload)
	default:
		j.t.Fatalf("frame 0x%02x %q", kind, payload)
	}
}

func (j *joiner) until(text string) {
	j.t.Helper()
	for !strings.Contains(j.text.String(), text) {
		j.step()
	}
}

func (j *joiner) untilExit() wire.HoldExited {
	j.t.Helper()
	for j.exited == nil {
		j.step()
	}
	return *j.exited
}

func parse[T any](t *testing.T, payload []byte) (v T) {
	t.Helper()
	if err := json.Unmarshal(payload, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// awaitGone waits until the holder has removed its socket.
func (d *device) awaitGone(id string) {
	d.t.Helper()
	path := filepath.Join(d.home, ".cache/adit/shells", id+".sock")
	await(d.t, "the socket to go", func() bool { _, err := os.Lstat(path); return errors.Is(err, fs.ErrNotExist) })
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(patience)
	for !done() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("waited too long for %s", what)
		}
	}
}

func TestShellIsALoginShell(t *testing.T) {
	t.Parallel()
	d := newDevice(t)
	j, welcome := d.join(anID, wire.HoldJoin{Create: true, Cols: 91, Rows: 27, Term: "xterm-256color"})
	if welcome.Cols != 91 || welcome.Rows != 27 || welcome.Oldest != 0 {
		t.Errorf("welcome = %+v", welcome)
	}
	j.typeIn(`echo "<$0|$PWD|$TERM|$SSH_CONNECTION|$ADIT_SECRET|$(stty size)|$(tty | cut -c1-9)>"; shopt -q login_shell; exit $?` + "\n")
	exited := j.untilExit()
	want := fmt.Sprintf("<-bash|%s|xterm-256color|127.0.0.1 1 127.0.0.1 22||27 91|/dev/pts/>", d.home)
	if !strings.Contains(j.text.String(), want) || exited.Status != 0 || exited.Next != j.next {
		t.Errorf("%+v %q, want %q", exited, j.text.String(), want)
	}
	j.send(wire.HoldAckFrame, wire.AppendHoldNumber(nil, exited.Next+1))
	d.awaitGone(anID)
}

func TestJoinerKilledAnywhereMissesNothing(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			d := newDevice(t)
			write(t, filepath.Join(d.home, "words"), script)
			if err := os.Chmod(filepath.Join(d.home, "words"), 0o700); err != nil {
				t.Fatal(err)
			}
			random := rand.New(rand.NewPCG(seed, 5))
			j, _ := d.join(anID, wire.HoldJoin{Create: true, Cols: 80, Rows: 24})
			j.typeIn("stty -echo -onlcr; PS1=; echo be''gin\n")
			j.until("begin\n")
			j.typeIn("exec ./words\n")
			text := j.text.Bytes()[:bytes.Index(j.text.Bytes(), []byte("begin\n"))+6]
			rest := bytes.Clone(j.text.Bytes()[len(text):])
			j.text.Reset()
			for cuts := 0; ; cuts++ {
				goal := j.next + random.Int64N(100_000)
				for j.exited == nil && j.next < goal {
					j.step()
				}
				rest = append(rest, j.text.Bytes()...)
				if j.exited != nil {
					t.Logf("%d cuts", cuts)
					break
				}
				from := j.next
				if random.IntN(2) == 0 {
					j.kill()
				} // else the new one takes the old one's place
				j, _ = d.join(anID, wire.HoldJoin{From: from})
			}
			if want := numbersAndWords(); string(rest) != want || j.exited.Status != 7 {
				t.Errorf("exit %d; %d bytes differ from the %d wanted", j.exited.Status, len(rest), len(want))
			}
		})
	}
}

const script = `#!/bin/bash
seq 1 100000
for ((i = 0; i < 2000; i++)); do echo "zażółć 漢字 👩‍🚀 $i"; done
exit 7
`

func numbersAndWords() string {
	var b strings.Builder
	for i := range 100_000 {
		fmt.Fprintln(&b, i+1)
	}
	for i := range 2000 {
		fmt.Fprintf(&b, "zażółć 漢字 👩‍🚀 %d\n", i)
	}
	return b.String()
}

func TestResizeReachesPrograms(t *testing.T) {
	t.Parallel()
	j, _ := newDevice(t).join(anID, wire.HoldJoin{Create: true, Cols: 80, Rows: 24})
	j.send(wire.HoldResizeFrame, wire.AppendHoldSize(nil, wire.ShellSize{Cols: 132, Rows: 43}))
	j.typeIn("echo \"<$(stty size)>\"\n")
	j.until("<43 132>")
}

func TestSlowJoinerIsBoundedAndLosesNothing(t *testing.T) {
	t.Parallel()
	const size = 3 << 20
	d := newDevice(t)
	j, _ := d.join(anID, wire.HoldJoin{Create: true, Cols: 80, Rows: 24})
	j.typeIn("stty -echo; PS1=; echo be''gin\n")
	j.until("begin\r\n")
	acked := j.next
	j.quiet = true
	j.typeIn(fmt.Sprintf("head -c %d /dev/zero | tr '\\0' x; exit 3\n", size))
	for j.next-acked < wire.HoldWindow {
		j.step()
	}
	if j.next-acked > wire.HoldWindow {
		t.Errorf("%d bytes were sent without an acknowledgement", j.next-acked)
	}
	// A joiner that vanished still counts: nothing has been pushed out of the ring meanwhile.
	j.kill()
	j, _ = d.join(anID, wire.HoldJoin{From: acked})
	exited := j.untilExit()
	if got := strings.Count(j.text.String(), "x"); got < size-int(acked) || exited.Status != 3 {
		t.Errorf("%d of %d bytes, exit %d", got, size, exited.Status)
	}
}

func TestPasteBiggerThanEveryBufferGoesThrough(t *testing.T) {
	t.Parallel()
	const size = 1 << 20
	j, _ := newDevice(t).join(anID, wire.HoldJoin{Create: true, Cols: 80, Rows: 24})
	j.typeIn("stty -echo -onlcr; PS1=; echo be''gin; tee /dev/stderr | wc -c\n")
	j.until("begin\n")
	sent, base := int64(0), j.taken
	line := strings.Repeat("y", 1023) + "\n"
	for sent < size {
		for j.taken-base < sent-wire.ShellInputWindow/2 {
			j.step()
		}
		j.typeIn(line)
		sent += int64(len(line))
	}
	j.typeIn("\x04")
	j.until(fmt.Sprintf("\n%d\n", size))
}

func TestExitStatusWaitsForSomebody(t *testing.T) {
	t.Parallel()
	d := newDevice(t)
	j, _ := d.join(anID, wire.HoldJoin{Create: true, Cols: 80, Rows: 24})
	gate := filepath.Join(d.home, "gate")
	j.typeIn("echo go''ing; until [ -e gate ]; do read -t 0.01 x; done; echo last words; kill -9 $$\n")
	j.until("going")
	from := j.next
	j.kill()
	write(t, gate, "")
	j, _ = d.join(anID, wire.HoldJoin{From: from})
	exited := j.untilExit()
	if exited.Status != 128+9 || !strings.Contains(j.text.String(), "last words") {
		t.Errorf("%+v %q", exited, j.text.String())
	}
	j.kill() // it has not acknowledged: the status is kept
	j, _ = d.join(anID, wire.HoldJoin{From: exited.Next})
	if again := j.untilExit(); again != exited {
		t.Errorf("second time %+v, first %+v", again, exited)
	}
	j.send(wire.HoldAckFrame, wire.AppendHoldNumber(nil, exited.Next+1))
	d.awaitGone(anID)

	late := d.bridge(anID, wire.HoldJoin{})
	kind, payload := late.frame()
	if kind != wire.HoldRefusedFrame || parse[wire.HoldRefused](t, payload).Code != wire.NotFound {
		t.Errorf("after the end: 0x%02x %q", kind, payload)
	}
}

func TestHangupEndsTheShell(t *testing.T) {
	t.Parallel()
	d := newDevice(t)
	j, _ := d.join(anID, wire.HoldJoin{Create: true, Cols: 80, Rows: 24})
	j.typeIn("sh -c 'echo run''ning; exec sleep 1000'\n")
	j.until("running")
	j.send(wire.HoldHangupFrame, []byte{})
	exited := j.untilExit()
	if exited.Status != 128+1 {
		t.Errorf("exit status %d, want that of SIGHUP", exited.Status)
	}
	j.send(wire.HoldAckFrame, wire.AppendHoldNumber(nil, exited.Next+1))
	d.awaitGone(anID)
}

func TestManyStartsMakeOneShell(t *testing.T) {
	t.Parallel()
	d := newDevice(t)
	var mu sync.Mutex
	pids := make(map[string]int)
	var all sync.WaitGroup
	for i := range 6 {
		all.Go(func() {
			j, _ := d.join(anID, wire.HoldJoin{Create: true, As: strconv.Itoa(i), Cols: 80, Rows: 24})
			j.typeIn("echo \"<$$>\"\n")
			j.until(">\r\n")
			mu.Lock()
			defer mu.Unlock()
			text := j.text.String()
			end := strings.Index(text, ">\r\n")
			pids[text[strings.LastIndex(text[:end], "<")+1:end]]++
		})
	}
	all.Wait()
	if len(pids) != 1 {
		t.Errorf("shells: %v", pids)
	}
}

func TestHolderSurvivesSignalsOfTheLine(t *testing.T) {
	t.Parallel()
	d := newDevice(t)
	j, _ := d.join(anID, wire.HoldJoin{Create: true, Cols: 80, Rows: 24})
	j.typeIn("echo \"<$PPID>\"\n")
	j.until(">\r\n")
	text := j.text.String()
	end := strings.Index(text, ">\r\n")
	holder, err := strconv.Atoi(text[strings.LastIndex(text[:end], "<")+1 : end])
	if err != nil {
		t.Fatal(err)
	}
	for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGPIPE} {
		if err := syscall.Kill(holder, sig); err != nil {
			t.Fatal(err)
		}
	}
	_ = syscall.Kill(-j.cmd.Process.Pid, syscall.SIGHUP) // sshd's end of a cut connection
	_ = j.in.Close()                                     // and the rest of it, for tests that run with hang-ups ignored
	_ = j.cmd.Wait()
	j, _ = d.join(anID, wire.HoldJoin{From: j.next})
	j.typeIn("echo still he''re; trap\n")
	j.until("still here")
	if err := syscall.Kill(holder, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	d.awaitGone(anID)
}

func TestFolderOfOthersIsRefused(t *testing.T) {
	t.Parallel()
	d := newDevice(t)
	dir := filepath.Join(d.home, ".cache/adit/shells")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o770); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "agent", "hold", anID)
	cmd.Env = d.env
	var in bytes.Buffer
	_ = wire.WriteHoldJSON(&in, wire.HoldJoinFrame, wire.HoldJoin{Create: true, As: "hub"})
	cmd.Stdin = &in
	out, _ := cmd.Output()
	kind, payload, err := wire.ReadHold(bytes.NewReader(bytes.TrimPrefix(out, []byte(wire.HoldGreeting))))
	if err != nil || kind != wire.HoldRefusedFrame || !strings.Contains(string(payload), "0700") {
		t.Errorf("0x%02x %q %v", kind, payload, err)
	}
}

func TestOnlyShellIDsNameAHolder(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{nil, {"x"}, {"../../etc"}, {"--holder", "shl_x"}, {"shl_01JD0000000000000000000000", "y"}} {
		if err := hold.Run(t.Context(), args, nil, nil); wire.CodeOf(err) != wire.Invalid {
			t.Errorf("%q: %v", args, err)
		}
	}
}
