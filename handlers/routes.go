package handlers

import (
	"fmt"

	"github.com/labstack/echo/v4"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/wire"
)

// rule is who may pass a route. Which devices somebody sees and reaches is decided behind it, by access.
type rule int

const (
	closed  rule = iota // no rule was written: nobody
	open                // anybody
	person              // whoever is signed in
	manager             // owner and admin
)

func (r rule) admits(role access.Role) bool {
	return r == person || (r == manager && role.Manages())
}

// rules has a line for each route. One without a line keeps the hub from starting; the permission matrix in
// matrix_test.go has a line for each of these.
func rules() map[string]rule {
	return map[string]rule{
		"GET /api/v1/setup":                  open,
		"POST /api/v1/setup":                 open,
		"POST /api/v1/login":                 open,
		"POST /api/v1/login/link":            open,
		"POST /api/v1/logout":                person,
		"GET /api/v1/me":                     person,
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

		"GET /api/v1/devices":                               person,
		"GET /api/v1/devices/:device":                       person,
		"PATCH /api/v1/devices/:device":                     manager,
		"DELETE /api/v1/devices/:device":                    manager,
		"POST /api/v1/devices/:device/approve":              manager,
		"POST /api/v1/devices/:device/ssh-host-keys/accept": manager,
		"POST /api/v1/devices/:device/ssh-certificate":      person,
		"GET /api/v1/devices/:device/connect":               person,
		"GET /api/v1/known-hosts":                           person,

		"GET /api/v1/install-codes":             manager,
		"POST /api/v1/install-codes":            manager,
		"GET /api/v1/install-codes/:code_id":    manager,
		"DELETE /api/v1/install-codes/:code_id": manager,
		"POST /api/v1/enroll":                   open, // the install code is the permission

		"GET /api/v1/shells":                  person,
		"POST /api/v1/shells":                 person,
		"DELETE /api/v1/shells/:shell_id":     person,
		"GET /api/v1/shells/:shell_id/attach": person,
		"GET /api/v1/events":                  person,

		"GET /tunnel":    open, // the device's signature is the permission
		"GET /i":         open,
		"GET /i/:code":   open,
		"GET /dl/:file":  open,
		"HEAD /dl/:file": open,
		"GET /healthz":   open,
		"GET /readyz":    open,
		"GET /metrics":   manager,
		"GET /*":         open,
		"HEAD /*":        open,
	}
}

// register puts every door in its place and checks that each has a rule.
func (a *api) register(e *echo.Echo) error {
	RegisterHandlers(e, NewStrictHandler(a, nil))
	e.GET("/api/v1/events", a.streamEvents)
	e.GET("/api/v1/devices/:device/connect", a.connect)
	e.GET("/api/v1/shells/:shell_id/attach", a.attachShell)
	e.GET(wire.PathTunnel, a.carriers.Open)
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
