//go:build unix

package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/coder/websocket"

	"github.com/aditdev/adit/internal/wire"
)

// tab is what a page does with a shell of the hub.
type tab struct {
	w      *world
	id     string
	ws     *websocket.Conn
	next   int64
	text   bytes.Buffer
	status wire.ShellStatus
}

func (w *world) openShell() *tab {
	w.t.Helper()
	var shell struct{ ID, State string }
	w.call("POST", "/api/v1/shells", map[string]any{"device": "kitchen", "cols": 80, "rows": 24}, &shell)
	t := &tab{w: w, id: shell.ID}
	w.t.Cleanup(t.close)
	t.attach()
	return t
}

// close ends the shell, and waits until the device no longer holds a terminal.
func (t *tab) close() {
	_ = t.ws.CloseNow()
	r, err := http.NewRequest(http.MethodDelete, t.w.url()+"/api/v1/shells/"+t.id, nil)
	must(t.w.t, err)
	r.Header = t.w.bearer()
	if reply, err := http.DefaultClient.Do(r); err == nil {
		_ = reply.Body.Close() // 404 where it has ended already
	}
	await(t.w.t, "the device to end the terminal", func() bool { return t.w.held() == 0 })
}

// held is how many terminals the device holds.
func (w *world) held() int {
	sockets, _ := filepath.Glob(filepath.Join(w.sshd.Home, ".cache/adit/shells/*.sock"))
	return len(sockets)
}

func (w *world) dialShell(id string, from int64, header http.Header, subprotocol string) (*websocket.Conn, *http.Response, error) {
	url := fmt.Sprintf("%s/api/v1/shells/%s/attach?from=%d", w.url(), id, from)
	return websocket.Dial(w.t.Context(), url, &websocket.DialOptions{HTTPHeader: header, Subprotocols: []string{subprotocol}})
}

func (w *world) bearer() http.Header { return http.Header{"Authorization": {"Bearer " + w.token}} }

// attach attaches where the tab was, as soon as there is a hub.
func (t *tab) attach() {
	t.w.t.Helper()
	await(t.w.t, "the shell to attach", func() bool {
		ws, _, err := t.w.dialShell(t.id, t.next, t.w.bearer(), wire.SubprotocolShell)
		t.ws = ws
		return err == nil
	})
	t.ws.SetReadLimit(1 << 20)
}

// step handles one message; false says that the socket is gone.
func (t *tab) step() bool {
	t.w.t.Helper()
	ctx, cancel := context.WithTimeout(t.w.t.Context(), patience)
	defer cancel()
	_, message, err := t.ws.Read(ctx)
	if ctx.Err() != nil {
		t.w.t.Fatalf("nothing came; %+v, after %q", t.status, tail(t.text.String()))
	}
	if err != nil {
		return false
	}
	switch message[0] {
	case wire.ShellState:
		t.status = wire.ShellStatus{}
		must(t.w.t, json.Unmarshal(message[1:], &t.status))
	case wire.ShellOutput:
		first, data, err := wire.ParseShellOutput(message)
		must(t.w.t, err)
		if first != t.next {
			t.w.t.Fatalf("output starts at %d, want %d", first, t.next)
		}
		t.next += int64(len(data))
		t.text.Write(data)
		_ = t.ws.Write(ctx, websocket.MessageBinary, wire.AppendShellAck(nil, t.next))
	}
	return true
}

func tail(s string) string { return s[max(0, len(s)-300):] }

// until reads on, over every loss of the socket, until the text is there.
func (t *tab) until(text string) {
	t.w.t.Helper()
	for !strings.Contains(t.text.String(), text) {
		if !t.step() {
			if t.status.State == wire.ShellEnded {
				t.w.t.Fatalf("the shell ended: %+v", t.status)
			}
			t.attach()
		}
	}
}

func (t *tab) typeIn(s string) {
	t.w.t.Helper()
	must(t.w.t, t.ws.Write(t.w.t.Context(), websocket.MessageBinary, append([]byte{wire.ShellInput}, s...)))
}

func TestBrowserShell(t *testing.T) {
	w := newWorld(t)
	must(t, os.WriteFile(filepath.Join(w.sshd.Home, ".inputrc"), []byte("set enable-bracketed-paste off\n"), 0o600))
	b := w.openShell()
	b.typeIn("PS1=; stty -echo; echo be''gin\n")
	b.until("begin\r\n")
	if !b.status.OutlivesHub {
		t.Errorf("the device does not hold the shell: %+v", b.status)
	}
	b.text.Reset()
	b.typeIn("seq 1 100000; echo do''ne\n")
	b.until("\n20000\r\n")
	_ = b.ws.CloseNow()
	b.attach()
	b.until("\n40000\r\n")
	w.restartHub(syscall.SIGTERM)
	b.until("\n60000\r\n")
	w.restartHub(syscall.SIGKILL)
	b.until("done\r\n")
	var want strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&want, "%d\r\n", i+1)
	}
	if b.text.String() != want.String()+"done\r\n" {
		t.Errorf("%d bytes differ from the %d wanted", b.text.Len(), want.Len()+6)
	}
	b.typeIn("exit 4\n")
	for b.step() {
	}
	if b.status.ExitStatus == nil || *b.status.ExitStatus != 4 {
		t.Errorf("end: %+v", b.status)
	}
}

func TestAttachIsGuarded(t *testing.T) {
	w := newWorld(t)
	b := w.openShell()
	with := func(h http.Header, name, value string) http.Header {
		h = h.Clone()
		h.Set(name, value)
		return h
	}
	for name, c := range map[string]struct {
		header      http.Header
		id, subject string
		status      int
		close       websocket.StatusCode
	}{
		"nobody":           {header: http.Header{}, id: b.id, status: 401},
		"another origin":   {header: with(w.bearer(), "Origin", "https://evil.example"), id: b.id, status: 403},
		"a wrong cookie":   {header: http.Header{"Cookie": {"__Host-adit=x"}, "Origin": {w.url()}}, id: b.id, status: 401},
		"no such shell":    {header: w.bearer(), id: "shl_01JD0000000000000000000000", close: 4404},
		"no subprotocol":   {header: w.bearer(), id: b.id, subject: "chat", close: 1008},
		"the hub's origin": {header: with(w.bearer(), "Origin", w.url()), id: b.id, close: -1},
	} {
		t.Run(name, func(t *testing.T) {
			subprotocol := c.subject
			if subprotocol == "" {
				subprotocol = wire.SubprotocolShell
			}
			ws, reply, err := w.dialShell(c.id, 0, c.header, subprotocol)
			if c.status != 0 {
				if err == nil || reply.StatusCode != c.status {
					t.Fatalf("reply %v, %v; want %d", reply, err, c.status)
				}
				return
			}
			must(t, err)
			defer func() { _ = ws.CloseNow() }()
			if _, _, err := ws.Read(t.Context()); websocket.CloseStatus(err) != c.close {
				t.Errorf("closed with %v, want %d", err, c.close)
			}
		})
	}
	must(t, b.ws.Write(t.Context(), websocket.MessageText, []byte("hello")))
	for {
		if _, _, err := b.ws.Read(t.Context()); err != nil {
			if websocket.CloseStatus(err) != 1008 {
				t.Errorf("after a text message: %v", err)
			}
			return
		}
	}
}
