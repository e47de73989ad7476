package handlers

import (
	"context"
	"net/http"
	"net/netip"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/wire"
)

// cookieName carries the login session. `__Host-` binds it to this host, to TLS and to the whole site.
const cookieName = "__Host-adit"

// caller is what is known of whoever sent a request.
type caller struct {
	principal *auth.Principal // nil: not signed in
	where     auth.Where
	requestID string
}

type callerKey struct{}

func callerOf(ctx context.Context) caller {
	who, _ := ctx.Value(callerKey{}).(caller)
	return who
}

// principalOf is who is signed in. Behind a route whose rule asks for somebody it is never nil.
func principalOf(ctx context.Context) *auth.Principal { return callerOf(ctx).principal }

func with(c echo.Context, who caller) {
	r := c.Request()
	c.SetRequest(r.WithContext(context.WithValue(r.Context(), callerKey{}, who)))
}

// identify finds out who sends a request. A bearer token is asked before the cookie; a header that does not name
// somebody is an error even where a cookie would.
func (a *api) identify(r *http.Request) (*auth.Principal, error) {
	if header := r.Header.Get("Authorization"); header != "" {
		token, ok := strings.CutPrefix(header, "Bearer ")
		if !ok {
			return nil, wire.Errorf(wire.Unauthenticated, "Authorization takes a bearer token: Bearer adit_…")
		}
		return a.Accounts.ByToken(r.Context(), strings.TrimSpace(token))
	}
	cookie, err := r.Cookie(cookieName)
	if err != nil || cookie.Value == "" {
		return nil, wire.Errorf(wire.Unauthenticated, "Sign in first.")
	}
	return a.Accounts.BySession(r.Context(), cookie.Value)
}

// sessionCookie is the header that keeps a login session in the browser; an empty secret removes it.
func sessionCookie(secret string) string {
	c := http.Cookie{Name: cookieName, Value: secret, Path: "/", Secure: true, HttpOnly: true,
		SameSite: http.SameSiteStrictMode, MaxAge: int(auth.SessionLife.Seconds())}
	if secret == "" {
		c.MaxAge = -1
	}
	return c.String()
}

// clientAddresses tells where a request comes from: the connection's address, or what the trusted proxies in front say.
type clientAddresses struct{ trusted []netip.Prefix }

// of walks X-Forwarded-For from the right, for as long as the hop that wrote it is trusted. A header from anybody else
// is no more than text.
func (c clientAddresses) of(r *http.Request) string {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	address := at.Addr().Unmap()
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && c.trusts(address); i-- {
		hop, err := parseHop(hops[i])
		if err != nil {
			break
		}
		address = hop
	}
	return address.WithZone("").String()
}

// ignores reports whether r names a client that nobody believes: either somebody made it up, or a proxy in front is not
// in ADIT_TRUSTED_PROXIES, and then all people count as one.
func (c clientAddresses) ignores(r *http.Request) bool {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	return r.Header.Get("X-Forwarded-For") != "" && err == nil && !c.trusts(at.Addr().Unmap())
}

// parseHop reads an address, with a port as some proxies write it.
func parseHop(text string) (netip.Addr, error) {
	text = strings.TrimSpace(text)
	if at, err := netip.ParseAddrPort(text); err == nil {
		return at.Addr().Unmap(), nil
	}
	address, err := netip.ParseAddr(text)
	return address.Unmap(), err
}

func (c clientAddresses) trusts(address netip.Addr) bool {
	for _, prefix := range c.trusted {
		if prefix.Contains(address) {
			return true
		}
	}
	return false
}
