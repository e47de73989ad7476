package handlers

import (
	"errors"
	"math"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/aditdev/adit/internal/webhook/incoming"
)

// hookPrefix is where machines of others send to. Cookies, origins and other rules for browsers are nothing to them: what lies
// below is opened by what a source verifies, and by nothing that a browser sends along by itself.
const hookPrefix = "/hook/"

func isHook(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, hookPrefix) }

// hookMethods are those that the door answers itself, with 405 where a source does not take them.
var hookMethods = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions}

// hook is /hook/{hook_source} and what lies below.
func (a *api) hook(c echo.Context) error {
	r := c.Request()
	rest := strings.TrimPrefix(r.URL.Path, hookPrefix+c.Param("hook_source"))
	answer, err := a.HooksIn.Receive(r.Context(), incoming.Request{Slug: c.Param("hook_source"), Method: r.Method, Host: r.Host, Address: c.RealIP(),
		URL: r.URL, Rest: rest, Header: r.Header, Body: r.Body, Length: r.ContentLength})
	if err != nil {
		return err
	}
	return a.writeHookAnswer(c, answer)
}

// hookAnswer is GET /hook/requests/{hook_request}?key=….
func (a *api) hookAnswer(c echo.Context) error {
	answer, err := a.HooksIn.Answered(c.Request().Context(), c.Param("hook_request"), c.QueryParam("key"))
	if err != nil {
		return err
	}
	return a.writeHookAnswer(c, answer)
}

// writeHookAnswer writes what may be a device's: no page of this origin, and no script for one.
func (a *api) writeHookAnswer(c echo.Context, answer incoming.Answer) error {
	h := c.Response().Header()
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox; frame-ancestors 'none'")
	h.Set("Cache-Control", "no-store")
	for name, value := range answer.Header {
		h.Set(name, value)
	}
	c.Response().Header().Set(echo.HeaderContentLength, strconv.Itoa(len(answer.Body)))
	if len(answer.Body) > 0 || answer.ContentType != "" {
		h.Set(echo.HeaderContentType, harmlessType(answer.ContentType))
	}
	if answer.Status == http.StatusNoContent || answer.Status == http.StatusNotModified || answer.Status == http.StatusResetContent {
		h.Del(echo.HeaderContentLength)
		c.Response().WriteHeader(answer.Status)
		return nil
	}
	c.Response().WriteHeader(answer.Status)
	_, err := c.Response().Write(answer.Body)
	return err
}

// harmlessType is a content type that no page loads as script or style.
func harmlessType(text string) string {
	kind, _, err := mime.ParseMediaType(text)
	switch {
	case text == "":
		return "application/octet-stream"
	case err != nil, strings.Contains(kind, "script"), strings.HasSuffix(kind, "/css"), strings.Contains(kind, "wasm"):
		return "text/plain; charset=utf-8"
	}
	return text
}

// putRefusal puts into the head what a door of hooks says beside its error; status is 0 where it is the code's.
func putRefusal(err error, h http.Header) (status int) {
	r, ok := errors.AsType[*incoming.Refusal](err)
	if !ok {
		return 0
	}
	for name, value := range r.Header {
		h.Set(name, value)
	}
	if r.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(float64(r.RetryAfter)/float64(time.Second)))))
	}
	return r.Status
}
