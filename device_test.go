package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/agent"
	"github.com/aditdev/adit/internal/porttest"
	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
)

// site is a hub with a real agent on a machine that serves an echo.
type site struct {
	*running
	environ []string
	owner   string
	echo    wire.Target
}

func newSite(t *testing.T, environ ...string) *site {
	t.Helper()
	s := &site{environ: append([]string{"ADIT_DATA=" + filepath.Join(t.TempDir(), "data")}, environ...)}
	s.running = serve(t, s.environ, "--dev")
	s.owner = token(t, s.environ, "owner")
	echo, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = echo.Close() })
	go func() {
		for {
			conn, err := echo.Accept()
			if err != nil {
				return
			}
			go func() { defer conn.Close(); _, _ = io.Copy(conn, conn) }()
		}
	}()
	s.echo = wire.TCPTarget("127.0.0.1", echo.Addr().(*net.TCPAddr).Port)
	return s
}

// localhost is the hub's URL as --dev knows it: the tunnel's handshake is bound to it.
func (s *site) localhost() string {
	u, err := url.Parse(s.url)
	if err != nil {
		s.t.Fatal(err)
	}
	return "http://localhost:" + u.Port()
}

// device enrols a machine by a code made with these members, and runs its agent until the test ends.
func (s *site) device(code map[string]any) agent.Paths {
	s.t.Helper()
	paths, _ := s.machine(code)
	return paths
}

// machine is device, with what stops its agent earlier.
func (s *site) machine(code map[string]any) (paths agent.Paths, stop func()) {
	s.t.Helper()
	made := s.code(code)
	paths = s.enroll(made.code, made.fingerprint)
	return paths, s.runAgent(paths)
}

// runAgent runs an agent until the test ends or it is stopped.
func (s *site) runAgent(paths agent.Paths) (stop func()) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- agent.Run(ctx, paths, io.Discard) }()
	stop = sync.OnceFunc(func() { cancel(); <-ended })
	s.t.Cleanup(stop)
	return stop
}

// patience is how long a test waits for what must come: only what never comes is a fault here, on a machine that does other
// things too.
const patience = time.Minute

// promptly is for what must come within two seconds (rule 17), counted likewise. That it does is shown by TestStrict in e2e, which
// knows for how long the machine did other things.
const promptly = 30 * time.Second

// within waits for what must become so.
func within(t *testing.T, d time.Duration, what string, is func() bool) {
	t.Helper()
	deadline := time.After(d)
	for tick := time.NewTicker(20 * time.Millisecond); !is(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not within %v", what, d)
		}
	}
}

func (s *site) online(name string) bool {
	var d struct{ Online bool }
	return s.call(s.owner, "GET", "/api/v1/devices/"+name, nil, &d) == 200 && d.Online
}

// open dials the echo, and proves that it answers.
func (s *site) open(token string) net.Conn {
	s.t.Helper()
	conn, err := stream.DialDevice(s.t.Context(), s.localhost(), token, "kitchen", s.echo, stream.DeviceOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = conn.Close() })
	s.echoes(conn)
	return conn
}

func (s *site) echoes(conn net.Conn) {
	s.t.Helper()
	if err := echoes(conn); err != nil {
		s.t.Fatal(err)
	}
}

func echoes(conn net.Conn) error {
	if _, err := io.WriteString(conn, "hello"); err != nil {
		return err
	}
	back := make([]byte, 5)
	_, err := io.ReadFull(conn, back)
	if err == nil && string(back) != "hello" {
		err = fmt.Errorf("got %q", back)
	}
	return err
}

// A stream outlives the hub that carried it: the next one on the same data and port takes it up.
func TestStreamOutlivesTheHub(t *testing.T) {
	t.Parallel()
	s := newSite(t, fmt.Sprintf("PORT=%d", porttest.Free(t))) // nobody else gets it while there is no hub
	s.device(map[string]any{"name": "kitchen"})
	within(t, patience, "online", func() bool { return s.online("kitchen") })
	conn := s.open(s.owner)
	if status := s.stop(); status != 0 {
		t.Fatal(s.stderr)
	}
	s.running = serve(t, s.environ, "--dev")
	s.echoes(conn)
	within(t, patience, "online again", func() bool { return s.online("kitchen") })
}

// Rule 17 through every part: hub, door, tunnel, agent.
func TestRevocationEndsStreams(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.device(map[string]any{"name": "kitchen"})
	must(t, s.environ, "", "user", "create", "--email", "op@example.com", "--role", "operator")
	within(t, patience, "online", func() bool { return s.online("kitchen") })
	grant := func() string {
		t.Helper()
		var g struct{ ID string }
		out := must(t, s.environ, "", "grant", "add", "--user", "op", "--device", "kitchen", "--target", string(s.echo), "--json")
		if err := json.Unmarshal([]byte(out), &g); err != nil {
			t.Fatal(err)
		}
		return g.ID
	}
	for name, revoke := range map[string]func(token, grant string){
		"grant, by a command":  func(_, grant string) { must(t, s.environ, "", "grant", "remove", grant) },
		"grant, by the API":    func(_, grant string) { s.call(s.owner, "DELETE", "/api/v1/grants/"+grant, nil, nil) },
		"the user is disabled": func(string, string) { s.setDisabled("op", true) },
		"the token is revoked": func(token, _ string) { s.revokeOwn(token) },
	} {
		id, op := grant(), token(t, s.environ, "op")
		conn := s.open(op)
		began := time.Now()
		revoke(op, id)
		if _, err := io.ReadFull(conn, make([]byte, 1)); err == nil {
			t.Errorf("%s: the stream gave a byte", name)
		}
		if took := time.Since(began); took > promptly {
			t.Errorf("%s: ended after %v", name, took)
		}
		s.setDisabled("op", false)
		s.call(s.owner, "DELETE", "/api/v1/grants/"+id, nil, nil)
	}
	_, err := stream.DialDevice(t.Context(), s.localhost(), token(t, s.environ, "op"), "kitchen", s.echo, stream.DeviceOptions{})
	if e, ok := errors.AsType[*wire.Error](err); !ok || e.Code != wire.NotFound {
		t.Errorf("without a grant: %v", err)
	}
}

// A stream of SSH that names its login ends with that login's grant, whatever other logins are granted.
func TestGrantOfOneLoginEndsItsStreams(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.device(map[string]any{"name": "kitchen"})
	must(t, s.environ, "", "user", "create", "--email", "op@example.com", "--role", "operator")
	grants := map[string]string{}
	for _, login := range []string{"pi", "root"} {
		var g struct{ ID string }
		out := must(t, s.environ, "", "grant", "add", "--user", "op", "--device", "kitchen", "--login", login, "--json")
		if err := json.Unmarshal([]byte(out), &g); err != nil {
			t.Fatal(err)
		}
		grants[login] = g.ID
	}
	within(t, patience, "online", func() bool { return s.online("kitchen") })
	op := token(t, s.environ, "op")
	dial := func(login string) (net.Conn, error) {
		return stream.DialDevice(t.Context(), s.localhost(), op, "kitchen", wire.TargetSSH, stream.DeviceOptions{Login: login})
	}
	open := func(login string) net.Conn {
		t.Helper()
		conn, err := dial(login)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if _, err := io.ReadFull(conn, make([]byte, len("SSH-2.0-"))); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	pi, root, unnamed := open("pi"), open("root"), open("")
	if _, err := dial("nobody"); wire.CodeOf(err) != wire.Forbidden {
		t.Errorf("a login that is not granted: %v", err)
	}

	began := time.Now()
	s.call(s.owner, "DELETE", "/api/v1/grants/"+grants["root"], nil, nil)
	if _, err := io.Copy(io.Discard, root); err == nil {
		t.Error("root's stream ended in good order")
	}
	if took := time.Since(began); took > promptly {
		t.Errorf("root's stream ended after %v", took)
	}
	for name, conn := range map[string]net.Conn{"pi": pi, "no login": unnamed} { // the server answers a client's first line
		if _, err := io.WriteString(conn, "SSH-2.0-test\r\n"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := io.ReadFull(conn, make([]byte, 100)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func (s *site) setDisabled(user string, disabled bool) {
	s.t.Helper()
	if status := s.call(s.owner, "PATCH", "/api/v1/users/"+user, map[string]any{"disabled": disabled}, nil); status != 200 {
		s.t.Fatal(status)
	}
}

// revokeOwn revokes every token of a token's user, with it.
func (s *site) revokeOwn(token string) {
	s.t.Helper()
	var list []struct{ ID string }
	s.call(token, "GET", "/api/v1/tokens", nil, &list)
	for _, t := range list {
		s.call(token, "DELETE", "/api/v1/tokens/"+t.ID, nil, nil)
	}
}

// A device that asks for approval gets in by one click; one that is removed is out at once, and stays out.
func TestApprovalAndRemoval(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.device(map[string]any{"name": "kitchen", "approval": true})
	var d struct{ Status, Cause string }
	if s.call(s.owner, "GET", "/api/v1/devices/kitchen", nil, &d); d.Status != "pending" || d.Cause != "pending" || s.online("kitchen") {
		t.Errorf("%+v", d)
	}
	if status := s.call(s.owner, "POST", "/api/v1/devices/kitchen/approve", nil, nil); status != 200 {
		t.Fatal(status)
	}
	within(t, patience, "online after approval", func() bool { return s.online("kitchen") })
	conn := s.open(s.owner)
	if status := s.call(s.owner, "DELETE", "/api/v1/devices/kitchen", nil, nil); status != 204 {
		t.Fatal(status)
	}
	began := time.Now()
	if _, err := io.ReadFull(conn, make([]byte, 1)); err == nil || time.Since(began) > promptly {
		t.Errorf("the stream of a removed device ended with %v after %v", err, time.Since(began))
	}
	if status := s.call(s.owner, "GET", "/api/v1/devices/kitchen", nil, nil); status != 404 {
		t.Errorf("%d", status)
	}
}
