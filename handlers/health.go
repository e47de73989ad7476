package handlers

import (
	"net/http"

	"github.com/labstack/echo/v4"
)

// healthz says that the process is alive.
func (a *api) healthz(c echo.Context) error { return c.String(http.StatusOK, "alive\n") }

// readyz says whether the hub can serve: its database answers and it is not stopping.
func (a *api) readyz(c echo.Context) error {
	if a.Stopping.Err() != nil {
		return c.String(http.StatusServiceUnavailable, "stopping\n")
	}
	if err := a.Store.Ready(c.Request().Context()); err != nil {
		a.Log.Error("not ready", "cause", err)
		return c.String(http.StatusServiceUnavailable, "the database does not answer\n")
	}
	return c.String(http.StatusOK, "ready\n")
}
