package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

// fail is the one place where an error becomes a reply: problem details (RFC 9457). Only the message of a domain error
// reaches the caller; what lies behind it goes to the log under the request's id.
func (a *api) fail(err error, c echo.Context) {
	e := domainError(err)
	who := callerOf(c.Request().Context())
	if e.Code == wire.Internal && c.Request().Context().Err() == nil {
		a.Log.Error("request failed", "request_id", who.requestID, "route", route(c), "cause", err)
	} else {
		a.Log.Debug("request refused", "request_id", who.requestID, "route", route(c), "cause", err)
	}
	if c.Response().Committed {
		return
	}
	p := problem(e, who.requestID)
	if status := putRefusal(err, c.Response().Header()); status != 0 {
		p.Status = status
	}
	switch {
	case store.IsFull(err):
		p.Status = http.StatusInsufficientStorage
	case errors.Is(err, messaging.ErrSilent):
		p.Status = http.StatusGatewayTimeout
	case wantsUpgrade(err):
		p.Status = http.StatusUpgradeRequired // by which the agent knows that a proxy has stripped the header
	}
	p.Title = http.StatusText(p.Status)
	a.writeProblem(c.Response(), p)
}

func (a *api) writeProblem(w http.ResponseWriter, p Problem) {
	h := w.Header()
	h.Set(echo.HeaderContentType, "application/problem+json")
	h.Set("Cache-Control", "no-store")
	h.Del("ETag")
	if p.Code == ProblemCode(wire.RateLimited) && h.Get("Retry-After") == "" {
		h.Set("Retry-After", "60")
	}
	w.WriteHeader(p.Status)
	if err := json.NewEncoder(w).Encode(p); err != nil {
		a.Log.LogAttrs(context.Background(), slog.LevelDebug, "problem not delivered", slog.Any("cause", err))
	}
}

func problem(e *wire.Error, requestID string) Problem {
	status := e.Code.HTTPStatus()
	p := Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Code: ProblemCode(e.Code),
		Detail: &e.Message, RequestID: &requestID}
	if len(e.Fields) > 0 {
		p.Fields = &e.Fields
	}
	return p
}

// wantsUpgrade reports whether a door said so that takes nothing but an upgrade; its message is for whoever looks in.
func wantsUpgrade(err error) bool {
	e, ok := errors.AsType[*echo.HTTPError](err)
	return ok && e.Code == http.StatusUpgradeRequired
}

// domainError finds the Error in err's chain, or says what the router or the server meant by theirs.
func domainError(err error) *wire.Error {
	if e, ok := errors.AsType[*wire.Error](err); ok {
		return e
	}
	if e, ok := errors.AsType[*echo.HTTPError](err); ok {
		switch e.Code {
		case http.StatusNotFound:
			return wire.Wrap(err, wire.NotFound, "There is nothing at this address.")
		case http.StatusMethodNotAllowed:
			return wire.Wrap(err, wire.NotFound, "There is nothing at this address for this method.")
		case http.StatusInternalServerError:
			return wire.Wrap(err, wire.Internal, "%s", wire.MessageOf(err))
		case http.StatusUpgradeRequired:
			return wire.Wrap(err, wire.Invalid, "%v", e.Message)
		}
		if e.Code < http.StatusInternalServerError {
			return wire.Wrap(err, wire.Invalid, "The request has a parameter that cannot be read.")
		}
	}
	if e, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return wire.Wrap(err, wire.TooLarge, "The body takes more than %d bytes.", e.Limit)
	}
	if store.IsFull(err) {
		return wire.Wrap(err, wire.Internal, "The hub's disk is full: nothing was changed. What runs goes on; "+
			"make room on it, then try again.")
	}
	return wire.Wrap(err, wire.Internal, "%s", wire.MessageOf(err))
}
