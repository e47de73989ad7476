package handlers

import (
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/aditdev/adit/internal/config"
	"github.com/aditdev/adit/internal/wire"
)

// origins are the sites whose scripts may speak to the hub with a person's cookie: those of ADIT_URL and no others.
type origins struct{ own []string }

func newOrigins(c config.Config) origins {
	var o origins
	for _, u := range c.URLs {
		o.own = append(o.own, plainOrigin(u.Scheme+"://"+u.Host))
		if c.Dev && u.Hostname() == "localhost" {
			o.own = append(o.own, "http://"+net.JoinHostPort("127.0.0.1", u.Port()))
		}
	}
	return o
}

// hosts are the same as coder/websocket's OriginPatterns take them.
func (o origins) hosts() []string {
	hosts := make([]string, 0, len(o.own))
	for _, origin := range o.own {
		if u, err := url.Parse(origin); err == nil {
			hosts = append(hosts, u.Host)
		}
	}
	return hosts
}

// check refuses what another site's page has a browser send. Programs send no Origin (a few name the hub's own) and no
// Sec-Fetch-Site; they carry a token, so that there is nothing to be borrowed.
func (o origins) check(r *http.Request) error {
	origin, site := r.Header.Get("Origin"), r.Header.Get("Sec-Fetch-Site")
	socket := isUpgrade(r)
	if origin != "" && (socket || !safe(r.Method)) && !slices.Contains(o.own, plainOrigin(origin)) {
		return wire.Errorf(wire.Forbidden, "This request comes from another site's page (%s). The hub's own address is %s.",
			wire.Printable(origin, 100), o.own[0])
	}
	if !hasCookie(r) || r.Header.Get("Authorization") != "" {
		return nil
	}
	if socket && origin == "" {
		return wire.Errorf(wire.Forbidden, "A WebSocket that signs in by cookie must name its Origin.")
	}
	if site != "" && site != "same-origin" && site != "none" && !navigates(r) {
		return wire.Errorf(wire.Forbidden, "A cookie counts only in what the hub's own pages send.")
	}
	return nil
}

// plainOrigin leaves out the port that goes without saying, as browsers do (RFC 6454 §6.2). Paho's Python client names it.
func plainOrigin(origin string) string {
	if host, ok := strings.CutPrefix(origin, "https://"); ok {
		return "https://" + strings.TrimSuffix(host, ":443")
	}
	if host, ok := strings.CutPrefix(origin, "http://"); ok {
		return "http://" + strings.TrimSuffix(host, ":80")
	}
	return origin
}

func safe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// navigates: somebody followed a link to a page.
func navigates(r *http.Request) bool {
	return safe(r.Method) && r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document"
}

func isUpgrade(r *http.Request) bool {
	return strings.Contains(strings.ToLower(r.Header.Get("Connection")), "upgrade") || r.Header.Get("Upgrade") != ""
}

func hasCookie(r *http.Request) bool {
	_, err := r.Cookie(cookieName)
	return err == nil
}
