package handlers

import (
	"strconv"
	"strings"
	"testing"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/devices"
	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/webhook/incoming"
	"github.com/aditdev/adit/internal/webhook/outgoing"
)

// callers are the columns of the permission matrix. "device" shows its key as if it were a token; "other" is an operator
// of another device; "viewer" sees the device of the path.
var callers = []string{"", "device", "revoked", "viewer", "other", "operator", "admin"}

// line is a route of the matrix: the request, and the status that each caller gets, in their order.
type line struct {
	body any
	want [7]int
}

var (
	everybody = func(status int) [7]int { return [7]int{status, status, status, status, status, status, status} }
	persons   = func(status int) [7]int { return [7]int{401, 401, 401, status, status, status, status} }
	managers  = func(status int) [7]int { return [7]int{401, 401, 401, 403, 403, 403, status} }
	// ofDevice is for what a grant of the device decides: viewers see and open nothing, others do not learn of it.
	ofDevice = func(status int) [7]int { return [7]int{401, 401, 401, 403, 404, status, status} }
)

type object map[string]any

// matrix has a line for each route. A route without one fails the test. Long because it is a table.
func matrix(t *testing.T) map[string]line {
	return map[string]line{
		"GET /api/v1/setup":                  {nil, everybody(200)},
		"POST /api/v1/setup":                 {object{"secret": "wrong", "email": "me@example.com", "password": password}, everybody(401)},
		"POST /api/v1/login":                 {object{"email": "owner@example.com", "password": "wrong"}, everybody(401)},
		"POST /api/v1/login/link":            {object{"secret": "wrong"}, everybody(401)},
		"POST /api/v1/logout":                {nil, persons(400)}, // a token does not sign out
		"GET /api/v1/me":                     {nil, persons(200)},
		"PUT /api/v1/me/password":            {object{"current_password": "wrong", "new_password": password}, persons(403)},
		"POST /api/v1/cli-logins":            {object{"host": "laptop"}, everybody(201)},
		"POST /api/v1/cli-logins/poll":       {object{"secret": "wrong"}, everybody(200)},
		"GET /api/v1/cli-logins/:user_code":  {nil, persons(404)},
		"POST /api/v1/cli-logins/:user_code": {object{"approve": true}, persons(404)},
		"GET /api/v1/tokens":                 {nil, persons(200)},
		"POST /api/v1/tokens":                {object{"name": "x"}, persons(201)},
		"DELETE /api/v1/tokens/:token_id":    {nil, persons(404)}, // the owner's

		"GET /api/v1/users":               {nil, managers(200)},
		"POST /api/v1/users":              {object{"email": "new@example.com", "role": "viewer", "password": password}, managers(201)},
		"PATCH /api/v1/users/:user_id":    {object{"disabled": false}, managers(200)},
		"DELETE /api/v1/users/:user_id":   {nil, managers(204)},
		"GET /api/v1/grants":              {nil, managers(200)},
		"POST /api/v1/grants":             {object{"user": "viewer", "device": "shed", "logins": []string{"pi"}}, managers(201)},
		"DELETE /api/v1/grants/:grant_id": {nil, managers(204)},

		"GET /api/v1/devices":                               {nil, persons(200)},
		"GET /api/v1/devices/:device":                       {nil, [7]int{401, 401, 401, 200, 404, 200, 200}},
		"GET /api/v1/devices/:device/metrics":               {nil, [7]int{401, 401, 401, 503, 404, 503, 503}}, // nobody is online
		"POST /api/v1/devices/:device/update":               {nil, managers(503)},
		"POST /api/v1/devices/:device/root-password":        {nil, managers(503)},
		"POST /api/v1/devices/:device/root-password/reveal": {object{"reason": "test", "password": password}, managers(403)},
		"PATCH /api/v1/devices/:device":                     {object{"tags": []string{"x"}}, managers(200)},
		"DELETE /api/v1/devices/:device":                    {nil, managers(204)},
		"POST /api/v1/devices/:device/approve":              {nil, managers(200)},
		"POST /api/v1/devices/:device/ssh-host-keys/accept": {object{"fingerprints": []string{"SHA256:none"}}, managers(404)},
		"POST /api/v1/devices/:device/ssh-certificate":      {object{"public_key": sshKey(t), "login": "pi"}, ofDevice(200)},
		"GET /api/v1/devices/:device/connect":               {nil, ofDevice(101)},
		"GET /api/v1/known-hosts":                           {nil, persons(200)},

		"GET /api/v1/ssh-gate":            {nil, persons(200)},
		"POST /api/v1/ssh-certificate":    {object{"public_key": sshKey(t)}, persons(200)},
		"GET /api/v1/ssh-keys":            {nil, persons(200)},
		"POST /api/v1/ssh-keys":           {object{"key": sshKey(t), "signature": "none"}, persons(400)},
		"DELETE /api/v1/ssh-keys/:key_id": {nil, persons(404)}, // the owner's

		"GET /api/v1/streams":               {nil, persons(200)},
		"DELETE /api/v1/streams/:stream_id": {nil, persons(404)},
		"GET /api/v1/ports":                 {nil, persons(200)},
		"POST /api/v1/ports":                {object{"device": "kitchen", "target": "ssh"}, managers(201)},
		"DELETE /api/v1/ports/:port":        {nil, managers(204)},

		"GET /api/v1/install-codes":             {nil, managers(200)},
		"POST /api/v1/install-codes":            {object{}, managers(201)},
		"GET /api/v1/install-codes/:code_id":    {nil, managers(200)},
		"DELETE /api/v1/install-codes/:code_id": {nil, managers(204)},
		"POST /api/v1/enroll": {object{"code": "wrong", "public_key": strings.Repeat("A", 43), "hostname": "x",
			"facts": object{}, "ssh_host_keys": []string{}}, everybody(404)},

		"GET /api/v1/shells":                  {nil, persons(200)},
		"POST /api/v1/shells":                 {object{"device": "kitchen", "login": "pi", "cols": 80, "rows": 24}, ofDevice(503)},
		"DELETE /api/v1/shells/:shell_id":     {nil, persons(404)},
		"GET /api/v1/shells/:shell_id/attach": {nil, persons(101)}, // a page reads the refusal from the close code
		"GET /api/v1/events":                  {nil, persons(200)},

		"GET /api/v1/mqtt":                                 {nil, persons(200)},
		"GET /api/v1/mqtt/clients":                         {nil, persons(200)},
		"DELETE /api/v1/mqtt/clients/:mqtt_client":         {nil, managers(404)},
		"GET /api/v1/mqtt/tap":                             {nil, persons(200)},
		"POST /api/v1/hooks/try":                           {object{"transform": object{"kind": "jq", "text": ".a"}, "input": object{"a": 1}}, managers(200)},
		"POST /api/v1/mqtt/publish":                        {object{"topic": "cmds/kitchen/x"}, [7]int{401, 401, 401, 403, 403, 403, 200}},
		"GET /api/v1/mqtt/retained":                        {nil, persons(200)},
		"POST /api/v1/mqtt/retained/clear":                 {object{"filter": "none"}, persons(200)},
		"GET /api/v1/mqtt/templates":                       {nil, persons(200)},
		"POST /api/v1/mqtt/templates":                      {object{"name": "x", "message": object{"topic": "a"}}, persons(201)},
		"DELETE /api/v1/mqtt/templates/:mqtt_template":     {nil, persons(404)}, // the owner's
		"POST /api/v1/mqtt/tokens":                         {nil, persons(201)},
		"GET /api/v1/mqtt/credentials":                     {nil, persons(200)},
		"POST /api/v1/mqtt/credentials":                    {object{"kind": "user"}, persons(201)},
		"DELETE /api/v1/mqtt/credentials/:mqtt_credential": {nil, [7]int{401, 401, 401, 404, 404, 404, 204}}, // an application's
		"GET /api/v1/mqtt/rules":                           {nil, managers(200)},
		"POST /api/v1/mqtt/rules":                          {object{"subject": "everybody", "access": "see", "filter": "a"}, managers(400)},
		"DELETE /api/v1/mqtt/rules/:mqtt_rule":             {nil, managers(204)},
		"POST /api/v1/mqtt/import":                         {object{"acl_file": ""}, managers(200)},
		"GET /api/v1/devices/:device/mqtt":                 {nil, [7]int{401, 401, 401, 200, 404, 200, 200}},

		"GET /api/v1/hooks/sources":                        {nil, managers(200)},
		"POST /api/v1/hooks/sources":                       {object{"verify": object{"kind": "none"}, "action": object{"kind": "store"}}, managers(201)},
		"GET /api/v1/hooks/sources/:hook_source":           {nil, managers(200)},
		"PATCH /api/v1/hooks/sources/:hook_source":         {object{"name": "x"}, managers(200)},
		"DELETE /api/v1/hooks/sources/:hook_source":        {nil, managers(204)},
		"POST /api/v1/hooks/sources/:hook_source/rotate":   {object{}, managers(200)},
		"GET /api/v1/hooks/sources/:hook_source/listen":    {nil, managers(200)},
		"GET /api/v1/hooks/requests":                       {nil, managers(200)},
		"GET /api/v1/hooks/requests/:hook_request":         {nil, managers(404)},
		"POST /api/v1/hooks/requests/:hook_request/replay": {nil, managers(404)},
		"POST /api/v1/hooks/requests/:hook_request/answer": {object{"status": 200}, managers(404)},

		"GET /hook/:hook_source":                              {nil, everybody(405)},
		"HEAD /hook/:hook_source":                             {nil, everybody(405)},
		"POST /hook/:hook_source":                             {object{}, everybody(401)}, // what the source verifies is the permission
		"PUT /hook/:hook_source":                              {object{}, everybody(405)},
		"PATCH /hook/:hook_source":                            {object{}, everybody(405)},
		"DELETE /hook/:hook_source":                           {nil, everybody(405)},
		"OPTIONS /hook/:hook_source":                          {nil, everybody(200)},
		"GET /hook/:hook_source/*":                            {nil, everybody(405)},
		"HEAD /hook/:hook_source/*":                           {nil, everybody(405)},
		"POST /hook/:hook_source/*":                           {object{}, everybody(401)},
		"PUT /hook/:hook_source/*":                            {object{}, everybody(405)},
		"PATCH /hook/:hook_source/*":                          {object{}, everybody(405)},
		"DELETE /hook/:hook_source/*":                         {nil, everybody(405)},
		"OPTIONS /hook/:hook_source/*":                        {nil, everybody(200)},
		"GET /hook/requests/:hook_request":                    {nil, everybody(404)}, // the key is the permission
		"GET /api/v1/hooks/endpoints":                         {nil, managers(200)},
		"POST /api/v1/hooks/endpoints":                        {object{"url": "http://127.0.0.1:9/x"}, managers(201)},
		"GET /api/v1/hooks/endpoints/:hook_endpoint":          {nil, managers(200)},
		"PATCH /api/v1/hooks/endpoints/:hook_endpoint":        {object{"rate": 1}, managers(200)},
		"DELETE /api/v1/hooks/endpoints/:hook_endpoint":       {nil, managers(204)},
		"POST /api/v1/hooks/endpoints/:hook_endpoint/rotate":  {object{}, managers(200)},
		"POST /api/v1/hooks/endpoints/:hook_endpoint/test":    {nil, managers(201)},
		"GET /api/v1/hooks/deliveries":                        {nil, managers(200)},
		"POST /api/v1/hooks/deliveries/replay":                {object{"endpoint": "none"}, managers(404)},
		"GET /api/v1/hooks/deliveries/:hook_delivery":         {nil, managers(404)},
		"POST /api/v1/hooks/deliveries/:hook_delivery/replay": {nil, managers(404)},
		"POST /api/v1/hooks/deliveries/:hook_delivery/try":    {nil, managers(404)},
		"POST /api/v1/hooks/deliveries/:hook_delivery/cancel": {nil, managers(404)},
		"GET /api/v1/event-types":                             {nil, persons(200)},
		"GET /api/v1/retention":                               {nil, managers(200)},
		"PUT /api/v1/retention": {object{"events_days": 30, "deliveries_days": 7, "dead_days": 7, "requests_days": 7, "max_bytes": 1 << 30,
			"max_messages": 1000}, managers(200)},

		"GET /mqtt":   {nil, everybody(101)}, // a stranger gets no further than CONNECT
		"GET /tunnel": {nil, everybody(101)}, // a stranger gets no further than hello
		"GET /ssh":    {nil, everybody(101)}, // nor than SSH's own question for a key

		"GET /ssh/known_hosts": {nil, everybody(200)},
		"GET /i":               {nil, everybody(200)},
		"GET /i/:code":         {nil, everybody(200)},
		"GET /dl/:file":        {nil, everybody(404)},
		"HEAD /dl/:file":       {nil, everybody(404)},
		"GET /healthz":         {nil, everybody(200)},
		"GET /readyz":          {nil, everybody(200)},
		"GET /metrics":         {nil, managers(200)},
		"GET /*":               {nil, everybody(200)},
		"HEAD /*":              {nil, everybody(200)},
	}
}

// Rule 11: every route × every kind of caller.
func TestPermissionMatrix(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	lines := matrix(t)
	for _, route := range r.echo.Routes() {
		name := key(route.Method, route.Path)
		line, ok := lines[name]
		if !ok {
			t.Errorf("route %s has no line in the permission matrix", name)
			continue
		}
		delete(lines, name)
		for i, caller := range callers {
			got := r.do(caller, route.Method, r.fill(name, route.Path), line.body, upgrade(line.want[6])...)
			if got.status != line.want[i] {
				t.Errorf("%s as %q: %d, want %d\n%s", name, caller, got.status, line.want[i], got.body)
			}
		}
	}
	for name := range lines {
		t.Errorf("the matrix has a line for %s, which is no route", name)
	}
}

// narrow are the routes that a token of less than scope all passes, with the least scope that does.
var narrow = map[string]access.Scope{
	"GET /api/v1/me":              access.ScopeRead,
	"GET /api/v1/devices":         access.ScopeRead,
	"GET /api/v1/devices/:device": access.ScopeRead,
	"GET /api/v1/known-hosts":     access.ScopeRead,

	"GET /api/v1/devices/:device/metrics": access.ScopeRead,

	"GET /api/v1/events":      access.ScopeRead,
	"GET /api/v1/event-types": access.ScopeRead,
	"GET /api/v1/retention":   access.ScopeRead,

	"GET /metrics":         access.ScopeRead,
	"GET /api/v1/ssh-gate": access.ScopeRead,
	"GET /api/v1/ssh-keys": access.ScopeRead,
	"GET /api/v1/streams":  access.ScopeRead,
	"GET /api/v1/ports":    access.ScopeRead,

	"GET /api/v1/mqtt":                 access.ScopeRead,
	"GET /api/v1/mqtt/clients":         access.ScopeRead,
	"GET /api/v1/mqtt/tap":             access.ScopeRead,
	"GET /api/v1/mqtt/retained":        access.ScopeRead,
	"GET /api/v1/mqtt/templates":       access.ScopeRead,
	"GET /api/v1/mqtt/credentials":     access.ScopeRead,
	"GET /api/v1/mqtt/rules":           access.ScopeRead,
	"GET /api/v1/devices/:device/mqtt": access.ScopeRead,

	"GET /api/v1/hooks/sources":                     access.ScopeRead,
	"GET /api/v1/hooks/sources/:hook_source":        access.ScopeRead,
	"GET /api/v1/hooks/sources/:hook_source/listen": access.ScopeRead,
	"GET /api/v1/hooks/requests":                    access.ScopeRead,
	"GET /api/v1/hooks/requests/:hook_request":      access.ScopeRead,

	"GET /api/v1/hooks/endpoints":                 access.ScopeRead,
	"GET /api/v1/hooks/endpoints/:hook_endpoint":  access.ScopeRead,
	"GET /api/v1/hooks/deliveries":                access.ScopeRead,
	"GET /api/v1/hooks/deliveries/:hook_delivery": access.ScopeRead,

	"POST /api/v1/hooks/try":                       access.ScopeRead,
	"POST /api/v1/mqtt/publish":                    access.ScopeConnect,
	"POST /api/v1/mqtt/retained/clear":             access.ScopeConnect,
	"POST /api/v1/mqtt/templates":                  access.ScopeConnect,
	"DELETE /api/v1/mqtt/templates/:mqtt_template": access.ScopeConnect,
	"POST /api/v1/mqtt/tokens":                     access.ScopeConnect,

	"POST /api/v1/ssh-certificate":                 access.ScopeConnect,
	"DELETE /api/v1/streams/:stream_id":            access.ScopeConnect,
	"POST /api/v1/devices/:device/ssh-certificate": access.ScopeConnect,
	"GET /api/v1/devices/:device/connect":          access.ScopeConnect,
	"GET /api/v1/shells":                           access.ScopeConnect,
	"POST /api/v1/shells":                          access.ScopeConnect,
	"DELETE /api/v1/shells/:shell_id":              access.ScopeConnect,
	"GET /api/v1/shells/:shell_id/attach":          access.ScopeConnect,
}

// Every route × an admin's tokens of every narrower scope: what is not in the table above takes scope all.
func TestTokenScopes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	lines := matrix(t)
	for _, scope := range []access.Scope{access.ScopeRead, access.ScopeConnect} {
		token, err := r.Accounts.CreateToken(t.Context(), r.users["admin"].ID, auth.TokenRequest{Name: "narrow", Scope: scope})
		r.must(err)
		r.tokens[string(scope)] = token.Secret
		for _, route := range r.echo.Routes() {
			name := key(route.Method, route.Path)
			line := lines[name]
			want := line.want[6]
			if forEverybody := line.want[0] == want; !forEverybody && !scope.Holds(narrow[name]) {
				want = 403
			}
			got := r.do(string(scope), route.Method, r.fill(name, route.Path), line.body, upgrade(line.want[6])...)
			if got.status != want {
				t.Errorf("%s with scope %s: %d, want %d\n%s", name, scope, got.status, want, got.body)
			}
		}
	}
	for name := range narrow {
		if _, ok := lines[name]; !ok {
			t.Errorf("%s is no route", name)
		}
	}
}

// upgrade are the headers of a WebSocket handshake for routes that take one.
func upgrade(want int) []string {
	if want != 101 {
		return nil
	}
	return []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13",
		"Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol", "adit.tunnel.v1, adit.stream.v1, adit.shell.v1, ssh, mqtt"}
}

// fill puts something that exists in the place of each parameter; what the route removes is made for it.
func (r *rig) fill(name, pattern string) string {
	r.t.Helper()
	device := "kitchen"
	if name == "DELETE /api/v1/devices/:device" {
		device = r.enrol("spare").Name
	}
	p := strings.NewReplacer(":device", device, ":user_code", "WDJB-MJHT", ":code", strings.Repeat("a", 26),
		":file", "adit-none.gz", "*", "").Replace(strings.NewReplacer(":code_id", "{code}", ":user_code", "{user_code}").Replace(pattern))
	p = strings.ReplaceAll(p, "{user_code}", "WDJB-MJHT")
	if strings.HasSuffix(pattern, "/connect") {
		p += "?target=ssh"
	}
	return r.fillMade(p)
}

func (r *rig) fillMade(p string) string {
	r.t.Helper()
	ctx := r.t.Context()
	if strings.Contains(p, "{code}") {
		made, err := r.Devices.CreateCode(ctx, r.principal("owner"), devices.CodeRequest{})
		r.must(err)
		p = strings.ReplaceAll(p, "{code}", made.Row.ID)
	}
	if strings.Contains(p, ":user_id") {
		user, err := r.Accounts.CreateUser(ctx, auth.NewUser{Email: strings.ToLower(sshKey(r.t)[60:]) + "@example.com", Role: "viewer"})
		r.must(err)
		p = strings.ReplaceAll(p, ":user_id", user.ID)
	}
	if strings.Contains(p, ":grant_id") {
		grant, err := r.Devices.AddGrant(ctx, "test", devices.Grant{User: r.users["viewer"], Tag: "made", Logins: []string{"*"}})
		r.must(err)
		p = strings.ReplaceAll(p, ":grant_id", grant.ID)
	}
	if strings.Contains(p, ":token_id") {
		token, err := r.Accounts.CreateToken(ctx, r.users["owner"].ID, auth.TokenRequest{Name: "owner's"})
		r.must(err)
		p = strings.ReplaceAll(p, ":token_id", token.ID)
	}
	if strings.Contains(p, ":port") {
		row, err := r.reserve(r.enrol("spare"), "owner")
		r.must(err)
		p = strings.ReplaceAll(p, ":port", strconv.FormatInt(row.Port, 10))
	}
	if strings.Contains(p, ":mqtt_credential") {
		c, _, err := r.MQTT.Registry.CreateCredential(ctx, "test", messaging.CredentialRequest{Kind: messaging.KindApplication})
		r.must(err)
		p = strings.ReplaceAll(p, ":mqtt_credential", c.ID)
	}
	if strings.Contains(p, ":mqtt_rule") {
		rule, err := r.MQTT.Registry.AddRule(ctx, "test", "everybody", "deny", "made/"+store.NewID("x"))
		r.must(err)
		p = strings.ReplaceAll(p, ":mqtt_rule", rule.ID)
	}
	if strings.Contains(p, ":hook_source") {
		s, _, err := r.HooksIn.Create(ctx, r.users["owner"].ID, incoming.Change{Settings: func(s *incoming.Settings) {
			s.Verify.Kind, s.Action.Kind = incoming.VerifyGitHub, incoming.ActionStore
		}})
		r.must(err)
		p = strings.ReplaceAll(p, ":hook_source", s.Slug)
	}
	if strings.Contains(p, ":hook_endpoint") {
		address := "http://127.0.0.1:9/" + store.NewID("x")
		e, _, err := r.Outgoing.Create(ctx, r.principal("owner"), outgoing.Spec{URL: &address})
		r.must(err)
		p = strings.ReplaceAll(p, ":hook_endpoint", e.ID)
	}
	p = strings.NewReplacer(":hook_delivery", "del_none", ":hook_request", "req_none", ":mqtt_client", "none", ":mqtt_template", "mqm_none").Replace(p)
	return strings.NewReplacer(":shell_id", "shl_none", ":key_id", "key_none", ":stream_id", "1").Replace(p)
}
