package handlers

import (
	"fmt"

	"github.com/labstack/echo/v4"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/wire"
)

// rule is who may pass a route, and by a token of which scope at least. Which devices somebody sees and reaches is decided
// behind it, by access.
type rule struct {
	who   who
	least access.Scope
}

type who int

const (
	nobody who = iota
	anybody
	signedIn
	managing // owner and admin
)

// The rules. A route whose rule says nothing of tokens takes one of scope all.
var (
	closed  = rule{} // no rule was written
	open    = rule{who: anybody}
	person  = rule{who: signedIn, least: access.ScopeAll}
	manager = rule{who: managing, least: access.ScopeAll}
)

// by is the rule for narrower tokens too.
func (r rule) by(least access.Scope) rule { return rule{who: r.who, least: least} }

// refusal says why somebody who is signed in may not pass, or nil.
func (r rule) refusal(p *auth.Principal) error {
	switch {
	case r.who != signedIn && (r.who != managing || !p.Role().Manages()):
		return wire.Errorf(wire.Forbidden, "This takes the role admin or owner; yours is %s.", p.Role())
	case !p.Scope.Holds(r.least):
		return wire.Errorf(wire.Forbidden, "This takes a token of scope %s; the scope of this one is %s.", r.least, p.Scope)
	}
	return nil
}

// rules has a line for each route. One without a line keeps the hub from starting; the permission matrix in
// matrix_test.go has a line for each of these. Long because it is a table.
func rules() map[string]rule {
	sees, opens := person.by(access.ScopeRead), person.by(access.ScopeConnect)
	return map[string]rule{
		"GET /api/v1/setup":                  open,
		"POST /api/v1/setup":                 open,
		"POST /api/v1/login":                 open,
		"POST /api/v1/login/link":            open,
		"POST /api/v1/logout":                person,
		"GET /api/v1/me":                     sees,
		"PUT /api/v1/me/password":            person,
		"POST /api/v1/cli-logins":            open,
		"POST /api/v1/cli-logins/poll":       open,
		"GET /api/v1/cli-logins/:user_code":  person,
		"POST /api/v1/cli-logins/:user_code": person,
		"GET /api/v1/tokens":                 person,
		"POST /api/v1/tokens":                person,
		"DELETE /api/v1/tokens/:token_id":    person,

		"GET /api/v1/users":               manager,
		"POST /api/v1/users":              manager,
		"PATCH /api/v1/users/:user_id":    manager,
		"DELETE /api/v1/users/:user_id":   manager,
		"GET /api/v1/grants":              manager,
		"POST /api/v1/grants":             manager,
		"DELETE /api/v1/grants/:grant_id": manager,

		"GET /api/v1/devices":                               sees,
		"GET /api/v1/devices/:device":                       sees,
		"GET /api/v1/devices/:device/metrics":               sees,
		"POST /api/v1/devices/:device/update":               manager,
		"POST /api/v1/devices/:device/root-password":        manager,
		"POST /api/v1/devices/:device/root-password/reveal": manager,
		"PATCH /api/v1/devices/:device":                     manager,
		"DELETE /api/v1/devices/:device":                    manager,
		"POST /api/v1/devices/:device/approve":              manager,
		"POST /api/v1/devices/:device/ssh-host-keys/accept": manager,
		"POST /api/v1/devices/:device/ssh-certificate":      opens,
		"GET /api/v1/devices/:device/connect":               opens,
		"GET /api/v1/known-hosts":                           sees,

		"GET /api/v1/streams":               sees, // their own; managers all
		"DELETE /api/v1/streams/:stream_id": opens,
		"GET /api/v1/ports":                 sees,
		"POST /api/v1/ports":                manager,
		"DELETE /api/v1/ports/:port":        manager,

		"GET /api/v1/ssh-gate":            sees,
		"POST /api/v1/ssh-certificate":    opens,
		"GET /api/v1/ssh-keys":            sees,
		"POST /api/v1/ssh-keys":           person,
		"DELETE /api/v1/ssh-keys/:key_id": person,

		"GET /api/v1/install-codes":             manager,
		"POST /api/v1/install-codes":            manager,
		"GET /api/v1/install-codes/:code_id":    manager,
		"DELETE /api/v1/install-codes/:code_id": manager,
		"POST /api/v1/enroll":                   open, // the install code is the permission

		"GET /api/v1/shells":                  opens,
		"POST /api/v1/shells":                 opens,
		"DELETE /api/v1/shells/:shell_id":     opens,
		"GET /api/v1/shells/:shell_id/attach": opens,
		"GET /api/v1/events":                  sees,

		"GET /api/v1/mqtt":                                 sees,
		"GET /api/v1/mqtt/clients":                         sees, // their own and their devices'; managers all
		"DELETE /api/v1/mqtt/clients/:mqtt_client":         manager,
		"GET /api/v1/mqtt/tap":                             sees, // a device's own broker takes connect, as below
		"POST /api/v1/mqtt/publish":                        opens,
		"GET /api/v1/mqtt/retained":                        sees,
		"POST /api/v1/mqtt/retained/clear":                 opens,
		"GET /api/v1/mqtt/templates":                       sees,
		"POST /api/v1/mqtt/templates":                      opens,
		"DELETE /api/v1/mqtt/templates/:mqtt_template":     opens,
		"POST /api/v1/mqtt/tokens":                         opens,
		"GET /api/v1/mqtt/credentials":                     sees,
		"POST /api/v1/mqtt/credentials":                    person,
		"DELETE /api/v1/mqtt/credentials/:mqtt_credential": person,
		"GET /api/v1/mqtt/rules":                           manager.by(access.ScopeRead),
		"POST /api/v1/mqtt/rules":                          manager,
		"DELETE /api/v1/mqtt/rules/:mqtt_rule":             manager,
		"POST /api/v1/mqtt/import":                         manager,
		"GET /api/v1/devices/:device/mqtt":                 sees,

		"GET /api/v1/event-types": sees,
		"GET /api/v1/retention":   manager.by(access.ScopeRead),
		"PUT /api/v1/retention":   manager,

		"GET /api/v1/hooks/endpoints":                         manager.by(access.ScopeRead),
		"POST /api/v1/hooks/endpoints":                        manager,
		"GET /api/v1/hooks/endpoints/:hook_endpoint":          manager.by(access.ScopeRead),
		"PATCH /api/v1/hooks/endpoints/:hook_endpoint":        manager,
		"DELETE /api/v1/hooks/endpoints/:hook_endpoint":       manager,
		"POST /api/v1/hooks/endpoints/:hook_endpoint/rotate":  manager,
		"POST /api/v1/hooks/endpoints/:hook_endpoint/test":    manager,
		"GET /api/v1/hooks/deliveries":                        manager.by(access.ScopeRead),
		"POST /api/v1/hooks/deliveries/replay":                manager,
		"GET /api/v1/hooks/deliveries/:hook_delivery":         manager.by(access.ScopeRead),
		"POST /api/v1/hooks/deliveries/:hook_delivery/replay": manager,
		"POST /api/v1/hooks/deliveries/:hook_delivery/try":    manager,
		"POST /api/v1/hooks/deliveries/:hook_delivery/cancel": manager,
		"GET /api/v1/hooks/sources":                           manager.by(access.ScopeRead),
		"POST /api/v1/hooks/sources":                          manager,
		"GET /api/v1/hooks/sources/:hook_source":              manager.by(access.ScopeRead),
		"PATCH /api/v1/hooks/sources/:hook_source":            manager,
		"DELETE /api/v1/hooks/sources/:hook_source":           manager,
		"POST /api/v1/hooks/sources/:hook_source/rotate":      manager,
		"GET /api/v1/hooks/requests":                          manager.by(access.ScopeRead),
		"GET /api/v1/hooks/requests/:hook_request":            manager.by(access.ScopeRead),
		"POST /api/v1/hooks/requests/:hook_request/replay":    manager,
		"POST /api/v1/hooks/requests/:hook_request/answer":    manager,
		"GET /api/v1/hooks/sources/:hook_source/listen":       manager.by(access.ScopeRead),
		"POST /api/v1/hooks/try":                              manager.by(access.ScopeRead),

		"GET /hook/:hook_source":           open, // what the source verifies is the permission
		"HEAD /hook/:hook_source":          open,
		"POST /hook/:hook_source":          open,
		"PUT /hook/:hook_source":           open,
		"PATCH /hook/:hook_source":         open,
		"DELETE /hook/:hook_source":        open,
		"OPTIONS /hook/:hook_source":       open,
		"GET /hook/:hook_source/*":         open,
		"HEAD /hook/:hook_source/*":        open,
		"POST /hook/:hook_source/*":        open,
		"PUT /hook/:hook_source/*":         open,
		"PATCH /hook/:hook_source/*":       open,
		"DELETE /hook/:hook_source/*":      open,
		"OPTIONS /hook/:hook_source/*":     open,
		"GET /hook/requests/:hook_request": open, // the key is the permission

		"GET /mqtt":            open, // username and password of CONNECT are the permission
		"GET /tunnel":          open, // the device's signature is the permission
		"GET /ssh":             open, // the key that SSH asks for is the permission
		"GET /ssh/known_hosts": open,
		"GET /i":               open,
		"GET /i/:code":         open,
		"GET /dl/:file":        open,
		"HEAD /dl/:file":       open,
		"GET /healthz":         open,
		"GET /readyz":          open,
		"GET /metrics":         manager.by(access.ScopeRead),
		"GET /*":               open,
		"HEAD /*":              open,
	}
}

// register puts every door in its place and checks that each has a rule.
func (a *api) register(e *echo.Echo) error {
	RegisterHandlers(e, NewStrictHandler(a, nil))
	e.GET("/api/v1/events", a.listEvents)
	e.GET("/api/v1/mqtt/tap", a.tapMQTT)
	e.GET("/api/v1/hooks/sources/:hook_source/listen", a.listenHook)
	for _, method := range hookMethods {
		e.Add(method, "/hook/:hook_source", a.hook)
		e.Add(method, "/hook/:hook_source/*", a.hook)
	}
	e.GET("/hook/requests/:hook_request", a.hookAnswer)
	e.GET("/api/v1/devices/:device/connect", a.connect)
	e.GET("/api/v1/shells/:shell_id/attach", a.attachShell)
	e.GET(wire.PathTunnel, a.carriers.Open)
	e.GET("/mqtt", a.mqtt)
	e.GET("/ssh", a.ssh)
	e.GET("/ssh/known_hosts", a.sshKnownHosts)
	e.GET("/i", a.Install.Script)
	e.GET("/i/:code", a.Install.ScriptWithCode)
	e.GET("/dl/:file", a.Install.Download)
	e.HEAD("/dl/:file", a.Install.Download)
	e.GET("/healthz", a.healthz)
	e.GET("/readyz", a.readyz)
	e.GET("/metrics", a.metrics)
	e.GET("/*", a.serveSite)
	e.HEAD("/*", a.serveSite)
	for _, route := range e.Routes() {
		if rules()[key(route.Method, route.Path)] == closed {
			return fmt.Errorf("route %s %s has no rule in routes.go", route.Method, route.Path)
		}
	}
	return nil
}

func key(method, path string) string { return method + " " + path }
