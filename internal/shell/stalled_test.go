package shell_test

import (
	"bytes"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/shell"
	"github.com/aditdev/adit/internal/wire"
)

// A browser that stops reading while the terminal prints 100 MB costs the hub a ring, not what is printed; another
// shell goes on, and once the browser reads again everything is there. Not parallel: it looks at the heap.
func TestStalledBrowserCostsOneRing(t *testing.T) {
	const size, allowed = 100 << 20, 8 << 20
	w := newWorld(t)
	h := w.hub()
	w.open(h)
	b := w.attach(h, 0)
	b.typeIn("stty -echo; PS1=; echo be''gin\n")
	b.until("begin\r\n")
	before := heap()
	b.mute = true
	from := b.next
	b.typeIn(fmt.Sprintf("head -c %d /dev/zero | tr '\\0' x; exit\n", size))
	for b.next-from < wire.ShellWindow {
		b.step()
	}

	const another = "shl_01JD0000000000000000000001"
	_, err := h.Open(t.Context(), shell.Record{ID: another, User: owner, Device: deviceID, Login: w.sshd.Login, Cols: 80,
		Rows: 24, Created: time.Now()})
	must(t, err)
	a, err := h.Attach(t.Context(), owner, another, "owner@example.com", 0)
	must(t, err)
	t.Cleanup(a.Close)
	other := &browser{t: t, a: a}
	other.typeIn("echo go''es-on; exit\n")
	other.until("goes-on\r\n")
	other.untilEnd()
	if more := heap() - before; more > allowed {
		t.Errorf("the heap grew by %d bytes", more)
	}

	b.mute = false
	must(t, b.a.Take(t.Context(), wire.AppendShellAck(nil, b.next)))
	count := 0
	for more := true; more; more = b.step() { // step checks that each message starts where the last one ended
		count += bytes.Count(b.text.Bytes(), []byte("x"))
		b.text.Reset()
	}
	if count += bytes.Count(b.text.Bytes(), []byte("x")); count != size {
		t.Errorf("%d of %d bytes", count, size)
	}
}

// heap is what lives on the heap, in bytes.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
