package handlers

import (
	"io"
	"net"
	"strings"
	"testing"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/devices"
	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
	"github.com/aditdev/adit/tunnelhub"
)

// echoTarget is a target that says back what it hears; ended is told when a connection to it is over.
func echoTarget(t *testing.T) (target wire.Target, ended <-chan struct{}) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	over := make(chan struct{}, 10)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(conn, conn)
				_ = conn.Close()
				over <- struct{}{}
			}()
		}
	}()
	return wire.TCPTarget("127.0.0.1", l.Addr().(*net.TCPAddr).Port), over
}

// open opens a stream to kitchen and proves that it carries.
func (r *rig) open(as string, target wire.Target) net.Conn {
	r.t.Helper()
	conn, err := stream.DialDevice(r.t.Context(), r.url, r.tokens[as], "kitchen", target, stream.DeviceOptions{})
	r.must(err)
	r.t.Cleanup(func() { _ = conn.Close() })
	_, err = io.WriteString(conn, "hello")
	r.must(err)
	_, err = io.ReadFull(conn, make([]byte, 5))
	r.must(err)
	return conn
}

// Whoever manages sees and ends every stream, others their own, and viewers none.
func TestStreams(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.connect("kitchen")
	target, ended := echoTarget(t)
	for _, user := range []string{"operator", "viewer"} {
		_, err := r.Devices.AddGrant(t.Context(), "test", devices.Grant{User: r.users[user], Device: r.device["kitchen"].ID,
			Targets: []string{string(target)}})
		r.must(err)
	}
	theirs := r.open("operator", target)
	r.open("admin", target)
	ids := map[string]string{}
	for _, test := range []struct {
		as, query string
		want      string // handles
	}{
		{"admin", "", "operator admin"}, {"owner", "?device=kitchen", "operator admin"}, {"admin", "?device=shed", ""},
		{"admin", "?user=operator@example.com", "operator"}, {"admin", "?user=admin&device=kitchen", "admin"},
		{"operator", "", "operator"}, {"operator", "?user=operator", "operator"}, {"other", "", ""}, {"viewer", "", ""},
	} {
		var list []Stream
		r.call(test.as, "GET", v1("streams%s", test.query), nil, 200, &list)
		var handles []string
		for _, s := range list {
			handles = append(handles, s.UserHandle)
			ids[s.UserHandle] = s.ID
			if s.DeviceName != "kitchen" || s.DeviceID != r.device["kitchen"].ID || s.UserID != r.users[s.UserHandle].ID ||
				wire.Target(s.Target) != target || s.Via != tunnelhub.ViaCLI || value(s.Address) != "127.0.0.1" || s.OpenedAt.IsZero() ||
				s.BytesIn < 5 || s.BytesOut < 5 {
				t.Errorf("%+v", s)
			}
		}
		if got := strings.Join(handles, " "); got != test.want {
			t.Errorf("%s%s: %q, want %q", test.as, test.query, got, test.want)
		}
	}
	for _, path := range []string{"?user=admin", "?user=nobody", "?device=shed"} {
		r.call("operator", "GET", v1("streams%s", path), nil, 404, nil)
	}
	r.call("operator", "DELETE", v1("streams/%s", ids["admin"]), nil, 404, nil)
	r.call("viewer", "DELETE", v1("streams/%s", ids["operator"]), nil, 404, nil)
	r.call("admin", "DELETE", v1("streams/x"), nil, 404, nil)
	narrow, err := r.Accounts.CreateToken(t.Context(), r.users["admin"].ID, auth.TokenRequest{Name: "narrow", Scope: access.ScopeConnect})
	r.must(err)
	r.tokens["narrow"] = narrow.Secret
	r.call("narrow", "DELETE", v1("streams/%s", ids["operator"]), nil, 404, nil) // that is to manage
	r.call("admin", "DELETE", v1("streams/%s", ids["operator"]), nil, 204, nil)
	if _, err := theirs.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "ended by admin") {
		t.Errorf("whoever opened it reads %v", err)
	}
	<-ended
	r.call("admin", "DELETE", v1("streams/%s", ids["operator"]), nil, 404, nil)
	r.call("admin", "DELETE", v1("streams/%s", ids["admin"]), nil, 204, nil)
}
