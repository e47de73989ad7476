//go:build unix

package cli_test

import (
	"bytes"
	"encoding/json"
	"io"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/aditdev/adit/internal/wire"
)

// untilClosed reads on until the socket ends, and gives its close code and how long that took.
func untilClosed(t *testing.T, ws *websocket.Conn) (websocket.StatusCode, time.Duration) {
	t.Helper()
	began := time.Now()
	for {
		if _, _, err := ws.Read(t.Context()); err != nil {
			return websocket.CloseStatus(err), time.Since(began)
		}
	}
}

func TestRevokedTokenDetachesAtOnce(t *testing.T) {
	w := newWorld(t)
	var token struct{ ID, Token string }
	w.call("POST", "/api/v1/tokens", map[string]any{"name": "laptop"}, &token)
	b := w.openShell()
	header := w.bearer()
	header.Set("Authorization", "Bearer "+token.Token)
	ws, _, err := w.dialShell(b.id, 0, header, wire.SubprotocolShell)
	must(t, err)
	defer func() { _ = ws.CloseNow() }()
	_, _, err = ws.Read(t.Context())
	must(t, err)
	w.call("DELETE", "/api/v1/tokens/"+token.ID, nil, nil)
	if code, took := untilClosed(t, ws); code != 4401 || took > promptly {
		t.Errorf("closed with %d after %v", code, took)
	}
	b.typeIn("echo still he''re\n") // the shell itself is its owner's, not the token's
	b.until("still here")
}

// A grant that goes takes its shells with it, on the device too, and what adit had open.
func TestRemovedGrantEndsShellsAtOnce(t *testing.T) {
	w := newWorld(t)
	const email = "ada@example.com"
	w.call("POST", "/api/v1/users", map[string]any{"email": email, "role": "operator", "password": "correct horse battery"}, nil)
	var grant struct{ ID string }
	w.call("POST", "/api/v1/grants", map[string]any{"user": email, "device": "kitchen", "logins": []string{w.sshd.Login}}, &grant)
	owner := w.token
	out, err := w.command("adit-hub", "token", "create", "--user", email, "--json").Output()
	must(t, err)
	var token struct{ Token string }
	must(t, json.Unmarshal(out, &token))

	w.token = token.Token
	b := w.openShell()
	b.typeIn("echo he''re\n")
	b.until("here")
	w.token = owner
	w.call("DELETE", "/api/v1/grants/"+grant.ID, nil, nil)
	if code, took := untilClosed(t, b.ws); (code != 4403 && code != 4404) || took > promptly {
		t.Errorf("closed with %d after %v", code, took)
	}
	await(t, "the device to end the terminal", func() bool { return w.held() == 0 })
}

// A grant for one login ends what `adit ssh` has open as that login, though another login is granted still.
func TestRemovedLoginEndsItsSSH(t *testing.T) {
	w := newWorld(t)
	const email = "ada@example.com"
	w.call("POST", "/api/v1/users", map[string]any{"email": email, "role": "operator", "password": "correct horse battery"}, nil)
	var grant struct{ ID string }
	for _, login := range []string{"somebody-else", w.sshd.Login} {
		w.call("POST", "/api/v1/grants", map[string]any{"user": email, "device": "kitchen", "logins": []string{login}}, &grant)
	}
	out, err := w.command("adit-hub", "token", "create", "--user", email, "--scope", "connect").Output()
	must(t, err)
	login := w.command("adit", "login", w.url(), "--token-stdin")
	login.Stdin = bytes.NewReader(out)
	must(t, login.Run())
	ssh := w.command("adit", "ssh", "kitchen", "echo here; cat")
	stdin, err := ssh.StdinPipe()
	must(t, err)
	defer stdin.Close()
	stdout, err := ssh.StdoutPipe()
	must(t, err)
	must(t, ssh.Start())
	defer time.AfterFunc(patience, func() { _ = ssh.Process.Kill() }).Stop()
	_, err = io.ReadFull(stdout, make([]byte, len("here\n")))
	must(t, err)
	w.call("DELETE", "/api/v1/grants/"+grant.ID, nil, nil)
	began := time.Now()
	_, _ = io.Copy(io.Discard, stdout) // until ssh ends
	if took := time.Since(began); took > promptly {
		t.Errorf("ended after %v", took)
	}
	if err := ssh.Wait(); err == nil || ssh.ProcessState.ExitCode() != 255 {
		t.Errorf("ended with %v", err)
	}
}

// A shell outlives its connections, so whoever ends its stream ends the shell: it would be back at once.
func TestClosedStreamEndsItsShell(t *testing.T) {
	w := newWorld(t)
	b := w.openShell()
	b.typeIn("echo he''re\n")
	b.until("here")
	var streams []struct{ ID, Via string }
	w.call("GET", "/api/v1/streams?device=kitchen", nil, &streams)
	if len(streams) != 1 || streams[0].Via != "shell" {
		t.Fatalf("%+v", streams)
	}
	w.call("DELETE", "/api/v1/streams/"+streams[0].ID, nil, nil)
	await(t, "the device to end the terminal", func() bool { return w.held() == 0 })
	await(t, "the stream's end", func() bool {
		w.call("GET", "/api/v1/streams", nil, &streams)
		return len(streams) == 0
	})
	var shells []struct{ ID string }
	if w.call("GET", "/api/v1/shells", nil, &shells); len(shells) != 0 {
		t.Errorf("%+v", shells)
	}
}
