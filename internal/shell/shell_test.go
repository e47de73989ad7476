package shell_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/wire"
)

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
	if wire.CodeOf(b.err) != wire.Forbidden || time.Since(began) > promptly {
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

// A shell that its user ends while the device does not answer ends at once.
func TestCloseWhileOpening(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deaf = true
	h := w.hub()
	w.open(h)
	b := w.attach(h, 0)
	b.untilState(wire.ShellOpening)
	must(t, h.Close(t.Context(), owner, shellID))
	b.untilEnd()
	if b.status.State != wire.ShellEnded || b.status.Message != "You ended this shell." { // and not that the device does not answer
		t.Errorf("%+v", b.status)
	}
}

func TestBrowsersAreCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.hub()
	w.open(h)
	for range 20 {
		w.attach(h, 0)
	}
	if _, err := h.Attach(t.Context(), owner, shellID, "x", 0); wire.CodeOf(err) != wire.RateLimited {
		t.Errorf("the 21st: %v", err)
	}
}

func TestShellWithoutBrowserExpires(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.life = 5 * time.Second
	h := w.hub()
	w.open(h)
	b := w.attach(h, 0) // until it is open, however long that takes
	b.untilState(wire.ShellOpen)
	awaitHolders(t, w, 1)
	b.a.Close()
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

// A device whose clock was set a moment ago refuses the certificate for the old one, and takes the next.
func TestClockSetBeforeTheShell(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.clock, w.settles = -3*time.Hour, true
	h := w.hub()
	w.open(h)
	b := w.attach(h, 0)
	b.until("$ ")
	b.untilState(wire.ShellOpen)
}
