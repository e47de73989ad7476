package handlers

import (
	"database/sql"
	"fmt"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"

	"github.com/aditdev/adit/internal/auth"
)

// Rule 13: no header takes the bound off a body. One that says it upgrades made the hub keep as much as was sent.
func TestBodyIsBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	long := `{"email":"` + strings.Repeat("a", maxBody) + `","password":"x"}`
	for name, headers := range map[string][]string{
		"plain":     nil,
		"upgrading": {"Connection", "upgrade"},
		"a socket":  {"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13"},
	} {
		if got := r.do("", "POST", v1("login"), long, headers...); got.status != http.StatusRequestEntityTooLarge {
			t.Errorf("%s: %d\n%s", name, got.status, got.body)
		}
	}
}

// Rule 13: 32 sockets of one network may wait to say who they are, and no more.
func TestWaitingSocketsAreBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(o *Options) { o.Config.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	open := func(from string) int {
		return r.do("", "GET", "/tunnel", nil, append(upgrade(101), "X-Forwarded-For", from)...).status
	}
	network := auth.Network("2001:db8::1")
	for range waitingPerAddress { // by hand: a socket that says nothing is sent away before long
		if !r.carriers.enter(network) {
			t.Fatal("kept out")
		}
	}
	if status := open("2001:db8::ffff"); status != http.StatusTooManyRequests {
		t.Errorf("one more from that network: %d", status)
	}
	r.carriers.leave(network)
	if status := open("2001:db8::ffff"); status != http.StatusSwitchingProtocols {
		t.Errorf("when one has left: %d", status)
	}
	if status := open("2001:db8:0:1::1"); status != http.StatusSwitchingProtocols {
		t.Errorf("from another network: %d", status)
	}
}

// Rule 10: limits on tries go by the address that a trusted proxy names, and by no other.
func TestTriesGoByTheTrustedAddress(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		trusted []netip.Prefix
		same    int // status for another address, after one has used up its tries
	}{
		"behind a trusted proxy": {[]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, http.StatusUnauthorized},
		"a header from anybody":  {nil, http.StatusTooManyRequests},
	} {
		r := newRig(t, func(o *Options) { o.Config.TrustedProxies = test.trusted })
		try := func(email, from string) int {
			return r.do("", "POST", v1("login/link"), object{"secret": email}, "X-Forwarded-For", "6.6.6.6, "+from).status
		}
		for n := 0; try("x", "198.51.100.1") != http.StatusTooManyRequests; n++ {
			if n > 40 {
				t.Fatalf("%s: nobody counts", name)
			}
		}
		if got := try("x", "198.51.100.2"); got != test.same {
			t.Errorf("%s: %d from another address, want %d", name, got, test.same)
		}
	}
}

// Rule 17: a role that was taken is gone in the next request, whatever the token was made with.
func TestRolesAreReadAnew(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cookie := r.session("admin")
	r.call("admin", "GET", v1("users"), nil, 200, nil)
	r.call("owner", "PATCH", v1("users/%s", r.users["admin"].ID), object{"role": "viewer"}, 200, nil)
	r.call("admin", "GET", v1("users"), nil, 403, nil)
	if got := r.do("", "GET", v1("users"), nil, "Cookie", cookie).status; got != 403 {
		t.Errorf("by cookie: %d", got)
	}
	r.call("owner", "PATCH", v1("users/%s", r.users["admin"].ID), object{"disabled": true}, 200, nil)
	r.call("admin", "GET", v1("me"), nil, 401, nil)
}

// An admin makes nobody an owner, and touches none.
func TestAdminIsNoOwner(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	owner, admin := r.users["owner"].ID, r.users["admin"].ID
	for _, c := range []struct {
		method, path string
		body         object
	}{
		{"PATCH", v1("users/%s", admin), object{"role": "owner"}},
		{"PATCH", v1("users/%s", owner), object{"role": "viewer"}},
		{"PATCH", v1("users/%s", owner), object{"disabled": true}},
		{"PATCH", v1("users/%s", owner), object{"handle": "nobody"}},
		{"DELETE", v1("users/%s", owner), nil},
		{"POST", v1("users"), object{"email": "n@example.com", "role": "owner", "password": password}},
	} {
		var body any
		if c.body != nil {
			body = c.body
		}
		if got := r.do("admin", c.method, c.path, body); got.status != 403 {
			t.Errorf("%s %s %v: %d\n%s", c.method, c.path, c.body, got.status, got.body)
		}
	}
}

// A fault of ours is answered like any other, and tells nothing.
func TestPanicIsAnswered(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.echo.GET("/panics", func(echo.Context) error { panic("of the test") })
	got := r.do("", "GET", "/panics", nil)
	problem := got.problem(t)
	if got.status != http.StatusInternalServerError || problem.Code != ProblemCode("internal") || strings.Contains(got.body, "test") {
		t.Errorf("%d %s", got.status, got.body)
	}
	if log := r.log.String(); !strings.Contains(log, "panic: of the test") || !strings.Contains(log, "middleware_test.go") || !strings.Contains(log, *problem.RequestID) {
		t.Errorf("%s", log)
	}
}

// Rule 31: whoever asks for a change on a full disk learns why it was not made.
func TestFullDiskIsSaid(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.echo.GET("/full", func(echo.Context) error { return fmt.Errorf("write: %w", fullDisk(t)) })
	got := r.do("", "GET", "/full", nil)
	problem := got.problem(t)
	if got.status != http.StatusInsufficientStorage || problem.Status != got.status || !strings.Contains(value(problem.Detail), "disk is full") {
		t.Errorf("%d %s", got.status, got.body)
	}
	if log := r.log.String(); !strings.Contains(log, "level=ERROR") || !strings.Contains(log, "full") {
		t.Error("the log does not say so")
	}
}

// fullDisk is SQLite's own error, from a database that may not grow.
func fullDisk(t *testing.T) error {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(t.TempDir(), "small.db")+"?_pragma=max_page_count(2)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for range 100 {
		if _, err := db.ExecContext(t.Context(), "CREATE TABLE IF NOT EXISTS t (x TEXT); INSERT INTO t VALUES (hex(zeroblob(4000)))"); err != nil {
			return err
		}
	}
	t.Fatal("the disk never filled")
	return nil
}

// Rule 12: no WebSocket is compressed, whatever the peer offers: its lengths would tell of secrets beside chosen text.
func TestSocketsAreNotCompressed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	offer := append(upgrade(101), "Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits")
	for _, path := range []string{"/tunnel", v1("devices/kitchen/connect?target=ssh"), v1("shells/shl_none/attach")} {
		got := r.do("admin", "GET", path, nil, offer...)
		if extensions := got.header.Get("Sec-WebSocket-Extensions"); got.status != http.StatusSwitchingProtocols || extensions != "" {
			t.Errorf("%s: %d, %q", path, got.status, extensions)
		}
	}
}
