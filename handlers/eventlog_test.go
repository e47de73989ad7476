package handlers

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/events"
)

// What people do to get in and what they open is in the log, without a secret.
func TestWhatIsLogged(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.connect("kitchen")
	target, ended := echoTarget(t)
	conn := r.open("admin", target)
	r.must(conn.Close())
	<-ended
	r.do("viewer", "GET", v1("devices/kitchen/connect?target=ssh"), nil, upgrade(101)...)
	cookie := r.session("operator")
	r.do("", "POST", v1("logout"), nil, "Cookie", cookie, "Origin", r.url)
	token, err := r.Accounts.CreateTokenBy(t.Context(), &auth.Principal{User: r.users["operator"], Scope: access.ScopeAll}, auth.TokenRequest{Name: "x"})
	r.must(err)
	r.call("operator", "DELETE", v1("tokens/%s", token.ID), nil, 204, nil)
	var made struct{ ID, Code string }
	r.call("admin", "POST", v1("install-codes"), object{}, 201, &made)
	r.call("admin", "DELETE", v1("install-codes/%s", made.ID), nil, 204, nil)
	for _, kind := range []string{events.StreamOpened, events.StreamClosed, events.StreamRefused, events.LoginEnded, events.TokenRevoked,
		events.CodeCreated, events.CodeRevoked} {
		r.becomes(func() bool {
			all, _ := r.pages("admin", "type="+kind)
			for _, e := range all {
				if strings.Contains(fmt.Sprint(e.Data), made.Code) {
					t.Errorf("%s holds the code", kind)
				}
			}
			return len(all) > 0
		})
	}
	all, _ := r.pages("admin", "type=stream.opened&type=stream.closed")
	if len(all) != 2 || all[0].Data["bytes_in"] != 5.0 || all[0].Data["bytes_out"] != 5.0 || all[0].Data["target"] != string(target) ||
		all[0].Data["cause"] != nil {
		t.Errorf("%+v", all)
	}
}

// What people do with deliveries, requests and sign-ins of adit is in the log under their name; what was only counted is not.
func TestWhatPeopleDecideIsLogged(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	to := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "3600") // nothing is tried again but by hand
		w.WriteHeader(http.StatusInternalServerError)
	}))
	t.Cleanup(to.Close)
	var made NewHookEndpoint
	r.call("admin", "POST", v1("hooks/endpoints"), object{"name": "here", "url": to.URL}, 201, &made)
	var d HookDelivery
	r.call("admin", "POST", v1("hooks/endpoints/here/test"), nil, 201, &d)
	failed := func(times int) {
		r.becomes(func() bool {
			var seen HookDeliveryDetail
			r.call("admin", "GET", v1("hooks/deliveries/%s", d.ID), nil, 200, &seen)
			return seen.Delivery.State == "waiting" && seen.Delivery.Attempts == times
		})
	}
	failed(1)
	r.call("admin", "POST", v1("hooks/deliveries/%s/try", d.ID), nil, 200, nil)
	failed(2)
	r.call("admin", "POST", v1("hooks/deliveries/%s/cancel", d.ID), nil, 200, nil)
	r.call("admin", "POST", v1("hooks/deliveries/%s/replay", d.ID), nil, 201, &d)
	failed(1)
	r.call("admin", "POST", v1("hooks/deliveries/%s/cancel", d.ID), nil, 200, nil)
	for _, dry := range []bool{true, false} {
		r.call("admin", "POST", v1("hooks/deliveries/replay"), object{"endpoint": "here", "state": "cancelled", "dry_run": dry}, 200, nil)
	}

	path, source := r.openSource(object{"kind": "publish", "topic": "a/b"})
	request := r.accepted(r.do("", "POST", path, "{}"))
	r.hookState(request.ID, "done")
	r.call("admin", "POST", v1("hooks/requests/%s/replay", request.ID), nil, 200, nil)

	started, err := r.Accounts.StartCLILogin(t.Context(), "laptop", "192.0.2.1")
	r.must(err)
	r.call("admin", "POST", v1("cli-logins/%s", started.UserCode), object{"approve": false}, 204, nil)

	endpoint := map[string]any{"endpoint": made.Endpoint.ID}
	for kind, want := range map[string][]map[string]any{
		events.HookDeliveryTried:     {endpoint},
		events.HookDeliveryCancelled: {endpoint, endpoint},
		events.HookReplayed:          {{"endpoint": made.Endpoint.ID, "state": "cancelled", "count": 1.0}, {"endpoint": made.Endpoint.ID, "delivery_id": d.ID}},
		events.HookRequestReplayed:   {{"source": source.Source.ID, "request_id": request.ID}},
		events.LoginDenied:           {{"address": "192.0.2.1", "host": "laptop"}},
	} {
		r.logged(kind, want)
	}
}

// logged expects the events of a kind to be these, by their members, the newest first, and of admin.
func (r *rig) logged(kind string, want []map[string]any) {
	r.t.Helper()
	all, _ := r.pages("admin", "type="+kind)
	if len(all) != len(want) {
		r.t.Errorf("%s: %+v", kind, all)
		return
	}
	for i, members := range want {
		for name, member := range members {
			if all[i].Data[name] != member || value(all[i].UserHandle) != r.users["admin"].Handle ||
				(members["endpoint"] != nil && value(all[i].HookName) != "here") {
				r.t.Errorf("%s: %+v, want %s %v", kind, all[i], name, member)
			}
		}
	}
}
