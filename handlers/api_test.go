package handlers

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/aditdev/adit/internal/wire"
)

// TestRequests sends what is wrong in one way each, and checks that the answer says so. Long because it is a table.
func TestRequests(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	type req = object
	for name, test := range map[string]struct {
		as, method, path string
		body             any
		status           int
		code             wire.Code
		says             string // in detail or fields
	}{
		"empty body":                   {"admin", "POST", v1("install-codes"), "", 400, wire.Invalid, "empty"},
		"not JSON":                     {"admin", "POST", v1("install-codes"), "name=x", 400, wire.Invalid, "no JSON"},
		"something behind":             {"admin", "POST", v1("install-codes"), "{}{}", 400, wire.Invalid, "behind"},
		"garbage behind":               {"admin", "POST", v1("install-codes"), "{}garbage", 400, wire.Invalid, "behind"},
		"unknown member":               {"admin", "POST", v1("install-codes"), req{"nmae": "x"}, 400, wire.Invalid, "nmae"},
		"wrong kind":                   {"admin", "POST", v1("install-codes"), req{"uses": "many"}, 400, wire.Invalid, "uses"},
		"too large":                    {"admin", "POST", v1("install-codes"), `{"name":"` + strings.Repeat("x", maxBody) + `"}`, 413, wire.TooLarge, "bytes"},
		"no uses":                      {"admin", "POST", v1("install-codes"), req{"uses": 0}, 400, wire.Invalid, "at least once"},
		"negative life":                {"admin", "POST", v1("install-codes"), req{"expires_in": -5}, 400, wire.Invalid, "at least"},
		"a name with capitals":         {"admin", "POST", v1("install-codes"), req{"name": "Kitchen"}, 400, wire.Invalid, "a-z"},
		"a tag with a quote":           {"admin", "POST", v1("install-codes"), req{"tags": []string{`a"b`}}, 400, wire.Invalid, "tag"},
		"a neighbour without port":     {"admin", "POST", v1("install-codes"), req{"allow": []string{"10.0.0.1"}}, 400, wire.Invalid, "HOST:PORT"},
		"replacing nobody":             {"admin", "POST", v1("install-codes"), req{"replaces": "nobody"}, 404, wire.NotFound, "no device"},
		"a route that is not there":    {"admin", "GET", v1("nothing"), nil, 404, wire.NotFound, "nothing at this address"},
		"a method that is not there":   {"admin", "DELETE", v1("me"), nil, 404, wire.NotFound, "nothing at this address"},
		"rename to a taken name":       {"admin", "PATCH", v1("devices/kitchen"), req{"name": "shed"}, 409, wire.Conflict, "shed"},
		"rename to an option":          {"admin", "PATCH", v1("devices/kitchen"), req{"name": "-oProxyCommand"}, 400, wire.Invalid, "a-z"},
		"a default login with a slash": {"admin", "PATCH", v1("devices/kitchen"), req{"default_login": "a/b"}, 400, wire.Invalid, "account"},
		"a ping too often":             {"admin", "PATCH", v1("devices/kitchen"), req{"ping_seconds": 14}, 400, wire.Invalid, "15 to 600"},
		"a ping too seldom":            {"admin", "PATCH", v1("devices/kitchen"), req{"ping_seconds": 601}, 400, wire.Invalid, "ping_seconds"},
		"no such device":               {"admin", "GET", v1("devices/nobody"), nil, 404, wire.NotFound, "no device"},
		"no login and no default":      {"admin", "POST", v1("devices/kitchen/ssh-certificate"), req{"public_key": sshKey(t)}, 400, wire.Invalid, "login"},
		"a private key":                {"admin", "POST", v1("devices/kitchen/ssh-certificate"), req{"public_key": "-----BEGIN OPENSSH PRIVATE KEY-----", "login": "pi"}, 400, wire.Invalid, "public key"},
		"a login outside the grant":    {"operator", "POST", v1("devices/kitchen/ssh-certificate"), req{"public_key": sshKey(t), "login": "root"}, 403, wire.Forbidden, "root"},
		"a grant of nothing":           {"admin", "POST", v1("grants"), req{"user": "viewer"}, 400, wire.Invalid, "device"},
		"a grant of both":              {"admin", "POST", v1("grants"), req{"user": "viewer", "device": "*", "tag": "x"}, 400, wire.Invalid, "device"},
		"a grant without logins":       {"admin", "POST", v1("grants"), req{"user": "viewer", "device": "*"}, 400, wire.Invalid, "logins"},
		"a grant of a bad target":      {"admin", "POST", v1("grants"), req{"user": "viewer", "device": "*", "targets": []string{"tcp:*:x"}}, 400, wire.Invalid, "target"},
		"a grant for nobody":           {"admin", "POST", v1("grants"), req{"user": "nobody", "device": "*", "logins": []string{"*"}}, 404, wire.NotFound, "no user"},
		"an owner made by an admin":    {"admin", "POST", v1("users"), req{"email": "o@example.com", "role": "owner", "password": password}, 403, wire.Forbidden, "owner"},
		"an owner changed by an admin": {"admin", "PATCH", v1("users/owner"), req{"disabled": true}, 403, wire.Forbidden, "owner"},
		"the last owner removed":       {"owner", "DELETE", v1("users/owner"), nil, 409, wire.Conflict, "last owner"},
		"a taken e-mail":               {"admin", "POST", v1("users"), req{"email": "viewer@example.com", "role": "viewer", "password": password}, 409, wire.Conflict, "already"},
		"a role that is none":          {"admin", "POST", v1("users"), req{"email": "x@example.com", "role": "root", "password": password}, 400, wire.Invalid, "role"},
		"a token without a name":       {"viewer", "POST", v1("tokens"), req{"name": " "}, 400, wire.Invalid, "name"},
		"a token for ever":             {"viewer", "POST", v1("tokens"), req{"name": "x", "expires_in": 1 << 40}, 400, wire.Invalid, "five years"},
		"a token of no scope":          {"viewer", "POST", v1("tokens"), req{"name": "x", "scope": "write"}, 400, wire.Invalid, "all, connect or read"},
		"a negative token":             {"viewer", "POST", v1("tokens"), req{"name": "x", "expires_in": -1}, 400, wire.Invalid, "minute"},
		"events from nowhere":          {"viewer", "GET", v1("events?before=x"), nil, 400, wire.Invalid, "before"},
		"events of no time":            {"viewer", "GET", v1("events?since=yesterday"), nil, 400, wire.Invalid, "since"},
		"too many events":              {"viewer", "GET", v1("events?limit=501"), nil, 400, wire.Invalid, "limit"},
		"events of no device":          {"viewer", "GET", v1("events?device=shed"), nil, 404, wire.NotFound, "device"},
		"events of somebody else":      {"viewer", "GET", v1("events?user=owner"), nil, 404, wire.NotFound, "no user"},
		"events kept for no time": {"admin", "PUT", v1("retention"), req{"events_days": 0, "deliveries_days": 1, "dead_days": 1, "requests_days": 1,
			"max_bytes": 1 << 30, "max_messages": 1000}, 400, wire.Invalid, "events_days"},
		"a target that is none": {"operator", "GET", v1("devices/kitchen/connect?target=ftp"), nil, 400, wire.Invalid, ""},
	} {
		got := r.do(test.as, test.method, test.path, test.body)
		problem := got.problem(t)
		said := value(problem.Detail)
		for field, message := range value(problem.Fields) {
			said += " " + field + " " + message
		}
		if got.status != test.status || problem.Code != ProblemCode(test.code) || !strings.Contains(said, test.says) {
			t.Errorf("%s: %d %s %q", name, got.status, problem.Code, said)
		}
		if kind := got.header.Get("Content-Type"); kind != "application/problem+json" {
			t.Errorf("%s: %s", name, kind)
		}
		if problem.RequestID == nil || *problem.RequestID != got.header.Get("X-Request-Id") || problem.Status != got.status {
			t.Errorf("%s: %+v", name, problem)
		}
	}
}

func TestBodyMustBeJSON(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, kind := range []string{"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/xml"} {
		got := r.do("admin", "POST", v1("install-codes"), "{}", "Content-Type", kind)
		if got.status != http.StatusBadRequest {
			t.Errorf("%q: %d", kind, got.status)
		}
	}
	if got := r.do("admin", "POST", v1("install-codes"), "{}", "Content-Type", "application/json; charset=utf-8"); got.status != http.StatusCreated {
		t.Errorf("%d %s", got.status, got.body)
	}
}

// An install code's whole life as the page sees it.
func TestInstallCode(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var made NewInstallCode
	r.call("admin", "POST", v1("install-codes"), object{"name": "attic", "tags": []string{"home"}}, 201, &made)
	if len(made.Code) != 26 || made.Code != strings.ToLower(made.Code) || !made.ApprovalShort || made.Uses != 1 {
		t.Errorf("%+v", made)
	}
	for _, line := range []string{made.Command, made.CommandWget, made.CommandShort} {
		if !strings.Contains(line, made.Code) || !strings.Contains(line, r.url+"/i") {
			t.Errorf("%s", line)
		}
	}
	if !strings.Contains(made.Command, "ADIT_HUB_KEY=SHA256:") || strings.Contains(made.CommandCheck, made.Code) {
		t.Errorf("%s\n%s", made.Command, made.CommandCheck)
	}
	r.do("", "GET", "/i/"+made.Code, nil, "User-Agent", "curl/8.9")
	c := candidate(t, made.Code)
	enrol := object{"code": c.Code, "public_key": c.PublicKey, "hostname": "attic", "facts": object{"os": "Debian"}, "ssh_host_keys": c.SSHHostKeys}
	var result EnrollResult
	r.call("", "POST", v1("enroll"), enrol, 200, &result)
	if result.Name != "attic" || result.Status != "pending" { // its code stood in a URL
		t.Errorf("%+v", result)
	}
	var seen InstallCode
	r.call("admin", "GET", v1("install-codes/%s", made.ID), nil, 200, &seen)
	if len(seen.Steps) != 2 || seen.Steps[0].Step != "script_read" || value(seen.Steps[0].Program) != "curl/8.9" || seen.Steps[1].Step != "pending" {
		t.Errorf("%+v", seen.Steps)
	}
	var device Device
	r.call("admin", "POST", v1("devices/attic/approve"), nil, 200, &device)
	if device.Status != "active" || device.Tags[0] != "home" || device.Facts == nil || value(device.Facts.Os) != "Debian" {
		t.Errorf("%+v", device)
	}
	var again EnrollResult
	r.call("", "POST", v1("enroll"), enrol, 200, &again)
	if again.DeviceID != result.DeviceID || again.Status != "active" {
		t.Errorf("%+v", again)
	}
}

// A machine without our agent: its line, the hash of its script, and the answer that it can check.
func TestInstallByOpenSSH(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var made NewInstallCode
	r.call("admin", "POST", v1("install-codes"), object{"name": "attic"}, 201, &made)
	if !strings.HasPrefix(made.CommandOpenssh, "curl -fsSL '"+r.url+"/i?via=openssh' | ADIT_CODE="+made.Code+" ") || made.CommandOpenssl != "" { // the rig has no TLS
		t.Errorf("%q %q", made.CommandOpenssh, made.CommandOpenssl)
	}
	var me Me
	r.call("admin", "GET", v1("me"), nil, 200, &me)
	if script := r.do("", "GET", "/i?via=openssh", nil); sha256Hex(script.body) != me.Hub.ScriptOpensshSha256 || me.Hub.ScriptSha256 == me.Hub.ScriptOpensshSha256 {
		t.Errorf("%+v", me.Hub)
	}
	enrol := object{"code": made.Code, "public_key": sshKey(t), "hostname": "attic", "facts": object{}, "ssh_host_keys": []string{}, "via": "openssh"}
	var result EnrollResult
	r.call("", "POST", v1("enroll"), enrol, 200, &result)
	if result.Name != "attic" || !strings.HasPrefix(value(result.SSHGateKey), "ssh-ed25519 ") || value(result.SSHSignature) == "" {
		t.Errorf("%+v", result)
	}
	var device Device
	r.call("admin", "GET", v1("devices/attic"), nil, 200, &device)
	if device.Via != "openssh" {
		t.Errorf("%+v", device)
	}
}

// A narrow token is made, listed, and told what it may: no more than that.
func TestNarrowToken(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for scope, may := range map[string]struct{ manage, open bool }{"": {true, true}, "connect": {false, true}, "read": {false, false}} {
		body := object{"name": "narrow"}
		if scope != "" {
			body["scope"] = scope
		}
		var made NewToken
		r.call("admin", "POST", v1("tokens"), body, 201, &made)
		if want := cmp.Or(scope, "all"); string(made.Scope) != want {
			t.Errorf("%q was made as %s", scope, made.Scope)
		}
		var list []Token
		r.call("admin", "GET", v1("tokens"), nil, 200, &list)
		if !slices.ContainsFunc(list, func(l Token) bool { return l.ID == made.ID && l.Scope == made.Scope }) {
			t.Errorf("%+v", list)
		}
		r.tokens["narrow"] = made.Token
		var d Device
		r.call("narrow", "GET", v1("devices/kitchen"), nil, 200, &d)
		if d.MayManage != may.manage || (len(d.Logins) > 0) != may.open || (len(d.Targets) > 0) != may.open {
			t.Errorf("%q may manage: %v, open %v as %v", scope, d.MayManage, d.Targets, d.Logins)
		}
	}
}

// What a caller sees of a device is what the grants give.
func TestViews(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for as, want := range map[string]string{"owner": "kitchen shed", "admin": "kitchen shed", "operator": "kitchen", "viewer": "kitchen", "other": "shed"} {
		var list []Device
		r.call(as, "GET", v1("devices"), nil, 200, &list)
		var names []string
		for _, d := range list {
			names = append(names, d.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s sees %q", as, got)
		}
		known := r.do(as, "GET", v1("known-hosts"), nil)
		if lines := strings.Count(known.body, "\n"); lines != len(list) {
			t.Errorf("%s has %d known hosts: %s", as, lines, known.body)
		}
	}
	var d Device
	r.call("operator", "GET", v1("devices/kitchen"), nil, 200, &d)
	if strings.Join(d.Logins, " ") != "pi" || strings.Join(d.Targets, " ") != "ssh tcp:127.0.0.1:1883" || d.MayManage || d.Online {
		t.Errorf("%+v", d)
	}
	r.call("viewer", "GET", v1("devices/%s", r.device["kitchen"].ID), nil, 200, &d)
	if len(d.Logins)+len(d.Targets) != 0 {
		t.Errorf("a viewer may open %v as %v", d.Targets, d.Logins)
	}
	for query, want := range map[string]int{"?tag=none": 0, "?status=pending": 0, "?status=active": 2} {
		var list []Device
		r.call("admin", "GET", v1("devices%s", query), nil, 200, &list)
		if len(list) != want {
			t.Errorf("%s: %d", query, len(list))
		}
	}
}

// A door that names a login opens with a grant for it only; one that names none opens with any.
func TestConnectByLogin(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for query, want := range map[string]int{
		"target=ssh": 101, "target=ssh&login=pi": 101, "target=ssh&login=": 101, "target=ssh&login=root": 403,
		"target=ssh&login=a%2Fb": 400, "target=rescue&login=pi": 403, "target=tcp:127.0.0.1:1883": 101, "target=tcp:127.0.0.1:1883&login=pi": 400,
	} {
		got := r.do("operator", "GET", v1("devices/kitchen/connect?%s", query), nil, upgrade(101)...)
		if got.status != want {
			t.Errorf("%s: %d, want %d\n%s", query, got.status, want, got.body)
		}
	}
}

// A grant added through the API holds in the next request, and its removal too.
func TestGrantTakesEffectAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	certificate := object{"public_key": sshKey(t), "login": "root"}
	r.call("operator", "POST", v1("devices/kitchen/ssh-certificate"), certificate, 403, nil)
	var g Grant
	r.call("admin", "POST", v1("grants"), object{"user": "operator", "device": "kitchen", "logins": []string{"root"}}, 201, &g)
	r.call("operator", "POST", v1("devices/kitchen/ssh-certificate"), certificate, 200, nil)
	r.call("admin", "DELETE", v1("grants/%s", g.ID), nil, 204, nil)
	r.call("operator", "POST", v1("devices/kitchen/ssh-certificate"), certificate, 403, nil)
	r.call("admin", "POST", v1("grants"), object{"user": "operator", "device": "*", "deny": true, "targets": []string{"ssh"}}, 201, nil)
	certificate["login"] = "pi"
	r.call("operator", "POST", v1("devices/kitchen/ssh-certificate"), certificate, 403, nil)
}
