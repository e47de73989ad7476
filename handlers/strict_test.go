package handlers

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
)

// grantOf gives the operator of kitchen one grant in the place of what they have.
func (r *rig) grantOf(fields object) Grant {
	r.t.Helper()
	var list []Grant
	r.call("admin", "GET", v1("grants"), nil, 200, &list)
	grant := object{"user": "operator", "device": "kitchen", "logins": []string{"pi"}}
	for name, value := range fields {
		grant[name] = value
	}
	var made Grant
	r.call("admin", "POST", v1("grants"), grant, 201, &made)
	for _, g := range list {
		if g.UserEmail == "operator@example.com" {
			r.call("admin", "DELETE", v1("grants/%s", g.ID), nil, 204, nil)
		}
	}
	return made
}

// A strict grant gives shells of the hub, and nothing that leads past it to an SSH server.
func TestStrictGrants(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.connect("kitchen")
	const says = "through the hub only"
	if made := r.grantOf(object{"strict": true, "targets": []string{"*"}}); !made.Strict {
		t.Errorf("%+v", made)
	}
	for _, target := range []string{"ssh", "ssh&login=pi", "rescue&login=pi", "tcp:127.0.0.1:22", "tcp:localhost:22", "tcp:192.168.1.2:22"} {
		r.refusedConnect(target, says)
	}
	r.refused("operator", v1("devices/kitchen/ssh-certificate"), object{"public_key": sshKey(t), "login": "pi"}, says)
	var d Device
	r.call("operator", "GET", v1("devices/kitchen"), nil, 200, &d)
	if len(d.HeldLogins) != 1 || !d.GateEndsSSH {
		t.Errorf("the page is told %v, %v", d.HeldLogins, d.GateEndsSSH)
	}
	r.call("admin", "GET", v1("devices/kitchen"), nil, 200, &d)
	if len(d.HeldLogins) != 0 || d.GateEndsSSH {
		t.Errorf("an admin's page is told %v, %v", d.HeldLogins, d.GateEndsSSH)
	}
}

// The hub's own shells are for the logins of a strict grant; that they are asked for offline comes after that question.
func TestStrictGrantsGiveShells(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.grantOf(object{"strict": true})
	r.call("operator", "POST", v1("shells"), object{"device": "kitchen", "login": "pi", "cols": 80, "rows": 24}, 503, nil)
	r.call("operator", "POST", v1("shells"), object{"device": "kitchen", "login": "root", "cols": 80, "rows": 24}, 403, nil)
}

func (r *rig) refusedConnect(target, says string) {
	r.t.Helper()
	login := ""
	if before, after, ok := strings.Cut(target, "&login="); ok {
		target, login = before, after
	}
	conn, err := stream.DialDevice(r.t.Context(), r.url, r.tokens["operator"], "kitchen", wire.Target(target), stream.DeviceOptions{Login: login})
	if err == nil {
		_, err = conn.Read(make([]byte, 1))
		_ = conn.Close()
	}
	if wire.CodeOf(err) != wire.Forbidden || !strings.Contains(wire.MessageOf(err), says) {
		r.t.Errorf("%s: %v", target, err)
	}
}

// refused posts what must be refused with a sentence that holds says.
func (r *rig) refused(as, path string, body any, says string) {
	r.t.Helper()
	var p Problem
	r.call(as, "POST", path, body, http.StatusForbidden, &p)
	if !strings.Contains(value(p.Detail), says) {
		r.t.Errorf("%s: %q", path, value(p.Detail))
	}
}

// What cannot be meant is refused, rather than granted as something laxer.
func TestStrictGrantsThatMeanNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for name, fields := range map[string]object{
		"deny and strict":  {"deny": true, "strict": true},
		"of no SSH":        {"strict": true, "targets": []string{"mqtt"}},
		"without a login":  {"strict": true, "logins": []string{}, "targets": []string{"*"}},
		"of tcp by itself": {"strict": true, "targets": []string{"tcp:*"}},
	} {
		grant := object{"user": "operator", "device": "kitchen", "logins": []string{"pi"}}
		for k, v := range fields {
			grant[k] = v
		}
		t.Run(name, func(*testing.T) { r.call("admin", "POST", v1("grants"), grant, 400, nil) })
	}
}

// Rule 17: a stream past the hub ends when the grant that carried it is replaced by a strict one.
func TestStrictGrantEndsRawStreams(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.connect("kitchen")
	target, ended := echoTarget(t)
	r.grantOf(object{"targets": []string{"ssh", string(target)}})
	conn := r.open("operator", target)
	_, port, _ := strings.Cut(strings.TrimPrefix(string(target), "tcp:"), ":")
	r.must(r.Devices.Report(t.Context(), r.device["kitchen"].ID, []byte(`{"facts":{"ssh":{"server":"openssh","address":"127.0.0.1:`+port+`"}}}`)))
	began := time.Now()
	r.grantOf(object{"strict": true, "targets": []string{"*"}})
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("bytes came through it")
	}
	<-ended
	if took := time.Since(began); took > promptly {
		t.Errorf("it ended after %v", took)
	}
}
