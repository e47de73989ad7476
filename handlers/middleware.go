package handlers

import (
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/wire"
)

// policy is the Content-Security-Policy of every reply. `svelte-trusted-html` is the Trusted Types policy that Svelte
// makes for its own templates.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; " +
	"font-src 'self'; manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; " +
	"require-trusted-types-for 'script'; trusted-types svelte-trusted-html"

const (
	// bodyTime is how long a request's body may take to arrive.
	bodyTime = 30 * time.Second
	// replyTime is how long a reply may take to leave; the longest is the agent's binary over a modem.
	replyTime = 15 * time.Minute
)

// outermost is what every request passes before a router looks at it.
func (a *api) outermost(next http.Handler) http.Handler {
	csrf := http.NewCrossOriginProtection()
	for _, origin := range a.origins.own {
		if err := csrf.AddTrustedOrigin(origin); err != nil {
			a.Log.Error("origin not trusted", "cause", err)
		}
	}
	csrf.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		a.writeProblem(w, problem(wire.Errorf(wire.Forbidden, "This request comes from another site's page."), wire.NewID()))
	}))
	protected := csrf.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.setHeaders(w.Header())
		// Whoever takes the connection over, or streams events, sets a deadline of their own.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(replyTime))
		rest := &unread{ended: true}
		// Also of what says that it upgrades: only a request without a body becomes a WebSocket.
		if r.Body != nil && r.Body != http.NoBody {
			rest = &unread{ReadCloser: r.Body}
			r.Body = http.MaxBytesReader(w, rest, bodyLimit(r))
			// A writer that knows no deadlines is a test's; the server's does.
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime))
		}
		if isHook(r) {
			next.ServeHTTP(w, r)
		} else {
			protected.ServeHTTP(w, r)
		}
		rest.letAnswerPass(w, r)
	})
}

// unread is a body that a handler may leave, as one that is too large.
type unread struct {
	io.ReadCloser
	ended bool
}

func (u *unread) Read(p []byte) (int, error) {
	n, err := u.ReadCloser.Read(p)
	u.ended = u.ended || err != nil
	return n, err
}

// lingerFor and lingerBytes are how much of a body nobody wants is taken all the same, so that its sender hears the answer.
const (
	lingerFor   = 500 * time.Millisecond
	lingerBytes = 256 << 10
)

// letAnswerPass sees that a sender who is still sending hears the answer (RFC 9112 §9.6): a connection that is closed with something unread
// is reset, and the answer lost; nginx makes 502 of it. net/http does so itself, by waiting a moment where there is more than lingerBytes,
// but for requests that say Connection: close, as those of nginx do, only where a MaxBytesReader was read beyond its limit.
func (u *unread) letAnswerPass(w http.ResponseWriter, r *http.Request) {
	if u.ended || !r.Close {
		return
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(lingerFor))
	_, _ = io.Copy(io.Discard, http.MaxBytesReader(w, u, lingerBytes))
}

func (a *api) setHeaders(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
	if a.Config.URLs[0].Scheme == "https" {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

// observe gives each request its id, counts it and writes its line: the route and never the path, which may hold a code.
func (a *api) observe(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		began := time.Now()
		who := caller{requestID: wire.NewID(), where: auth.Where{Address: c.RealIP(), Program: c.Request().UserAgent()}}
		with(c, who)
		c.Response().Header().Set("X-Request-Id", who.requestID)
		if a.clients.ignores(c.Request()) {
			a.unbelieved.Do(func() {
				a.Log.Warn("X-Forwarded-For ignored: ADIT_TRUSTED_PROXIES does not name who sends it", "address", who.where.Address)
			})
		}
		if err := safely(next, c); err != nil {
			c.Error(err)
		}
		a.accessLine(c, time.Since(began))
		return nil
	}
}

// safely turns a panic into an error with its stack, so that it has a request's id and its caller an answer.
func safely(next echo.HandlerFunc, c echo.Context) (err error) {
	defer func() {
		switch r := recover(); r {
		case nil:
		case http.ErrAbortHandler:
			panic(r) // net/http's own way to cut a reply
		default:
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	return next(c)
}

func (a *api) accessLine(c echo.Context, took time.Duration) {
	who := callerOf(c.Request().Context())
	user := ""
	if who.principal != nil {
		user = who.principal.User.ID
	}
	a.metered.request(c.Request().Method, route(c), c.Response().Status)
	level := a.Log.Debug
	if strings.HasPrefix(c.Path(), "/api/") && !safe(c.Request().Method) {
		level = a.Log.Info
	}
	level("request", "request_id", who.requestID, "method", c.Request().Method, "route", route(c),
		"status", c.Response().Status, "duration", took, "user", user, "address", who.where.Address)
}

func route(c echo.Context) string {
	if c.Path() == "" {
		return "none"
	}
	return c.Path()
}

// limiter counts a request of anybody by their network; nil for what costs no look into the database.
func (a *api) limiter(c echo.Context) *auth.Limiter {
	switch {
	case strings.HasPrefix(c.Request().URL.Path, "/api/"):
		return a.apiCalls
	case c.Path() == "/i" || c.Path() == "/i/:code":
		return a.scripts
	}
	return nil
}

// authorize asks the route's rule before anything of the request is looked at.
func (a *api) authorize(next echo.HandlerFunc) echo.HandlerFunc {
	byRoute := rules()
	return func(c echo.Context) error {
		r := c.Request()
		if strings.HasPrefix(r.URL.Path, "/api/") {
			c.Response().Header().Set("Cache-Control", "no-store")
		}
		if limiter := a.limiter(c); limiter != nil && !limiter.Allow(auth.Network(c.RealIP())) {
			return wire.Errorf(wire.RateLimited, "Too many requests from your address. Wait a minute.")
		}
		if err := a.origins.check(r); err != nil && !isHook(r) {
			return err
		}
		rule := byRoute[key(r.Method, c.Path())]
		if rule == open || rule == closed { // closed: no such route, which the router says itself
			return next(c)
		}
		p, err := a.identify(r)
		if err != nil {
			return err
		}
		who := callerOf(r.Context())
		who.principal = p
		with(c, who)
		if err := rule.refusal(p); err != nil {
			return err
		}
		return next(c)
	}
}
