package handlers

import (
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/wire"
	"github.com/aditdev/adit/tunnelhub"
)

// A dedicated port's whole life as the page sees it.
func TestPorts(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.connect("kitchen")
	target, ended := echoTarget(t)
	var me Me
	r.call("viewer", "GET", v1("me"), nil, 200, &me)
	if want := r.Config.TCPPorts.String(); value(me.Hub.TCPPorts) != want {
		t.Errorf("the hub says %q, want %q", value(me.Hub.TCPPorts), want)
	}
	var made Port
	r.call("admin", "POST", v1("ports"), object{"device": "kitchen", "target": target}, 201, &made)
	number := r.Config.TCPPorts.First
	if made.Port != number || made.Address != net.JoinHostPort("127.0.0.1", strconv.Itoa(number)) || !made.Listening || made.Cause != nil ||
		made.DeviceName != "kitchen" || string(made.Target) != string(target) || made.UserHandle != "admin" {
		t.Errorf("%+v", made)
	}
	r.portsAreRefused(target, number)
	for as, want := range map[string]int{"admin": 1, "operator": 1, "viewer": 1, "other": 0} {
		var list []Port
		if r.call(as, "GET", v1("ports"), nil, 200, &list); len(list) != want {
			t.Errorf("%s sees %+v", as, list)
		}
	}
	r.call("operator", "GET", v1("ports?device=shed"), nil, 404, nil)

	conn := r.throughPort(made.Address)
	defer conn.Close()
	began := time.Now()
	r.call("admin", "DELETE", v1("ports/%d", number), nil, 204, nil)
	if n, err := conn.Read(make([]byte, 1)); err == nil {
		t.Errorf("%d bytes came through a port that was given back", n)
	}
	<-ended
	if took := time.Since(began); took > promptly {
		t.Errorf("it ended after %v", took)
	}
	if conn, err := net.Dial("tcp", made.Address); err == nil {
		_ = conn.Close()
		t.Error("a port that was given back takes connections")
	}
	r.call("admin", "DELETE", v1("ports/%d", number), nil, 404, nil)
	lines := r.listen("admin", "0")
	for _, event := range []string{"event: port.reserved", "event: port.released"} {
		r.await(lines, event)
	}
}

// portsAreRefused asks for ports that cannot be given, while the only one is target's.
func (r *rig) portsAreRefused(target wire.Target, number int) {
	r.t.Helper()
	for name, test := range map[string]struct {
		body   object
		status int
		says   string
	}{
		"no port left":      {object{"device": "shed", "target": "ssh"}, 409, "1 of the 1 in ADIT_TCP_PORTS"},
		"reserved":          {object{"device": "shed", "target": "ssh", "port": number}, 409, "is reserved for " + string(target) + " of kitchen"},
		"outside":           {object{"device": "shed", "target": "ssh", "port": number + 1}, 409, "outside of ADIT_TCP_PORTS (127.0.0.1:"},
		"the same again":    {object{"device": "kitchen", "target": target}, 409, "has port " + strconv.Itoa(number) + " already"},
		"no target":         {object{"device": "kitchen", "target": "ftp"}, 400, "no target"},
		"the rescue server": {object{"device": "kitchen", "target": "rescue"}, 400, "adit shell"},
		"no device":         {object{"device": "nobody", "target": "ssh"}, 404, "no device"},
	} {
		got := r.do("admin", "POST", v1("ports"), test.body)
		if got.status != test.status || !strings.Contains(value(got.problem(r.t).Detail), test.says) {
			r.t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
}

// throughPort connects to a port of an echo's, and looks how the stream is listed.
func (r *rig) throughPort(address string) net.Conn {
	r.t.Helper()
	conn, err := net.Dial("tcp", address)
	r.must(err)
	_, err = io.WriteString(conn, "hello")
	r.must(err)
	_, err = io.ReadFull(conn, make([]byte, 5))
	r.must(err)
	var streams []Stream
	r.call("admin", "GET", v1("streams"), nil, 200, &streams)
	if len(streams) != 1 || streams[0].Via != tunnelhub.ViaPort || value(streams[0].Address) != "127.0.0.1" || streams[0].UserHandle != "admin" {
		r.t.Errorf("%+v", streams)
	}
	return conn
}
