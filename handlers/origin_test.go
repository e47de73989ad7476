package handlers

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/config"
)

// session signs a user in and gives the cookie.
func (r *rig) session(name string) string {
	r.t.Helper()
	link, err := r.Accounts.NewLoginLink(r.t.Context(), r.users[name].ID)
	r.must(err)
	_, secret, err := r.Accounts.LoginByLink(r.t.Context(), link, auth.Where{Address: "192.0.2.9"})
	r.must(err)
	return cookieName + "=" + secret
}

// Rules 12 and 15: what another site's page can make a browser send gets nothing.
func TestOrigins(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cookie := r.session("admin")
	evil := "https://evil.example"
	socket := append(upgrade(101), "Cookie", cookie)
	for name, test := range map[string]struct {
		as, method, path string
		body             any
		headers          []string
		want             int
	}{
		"own page, cookie":                       {"", "POST", v1("tokens"), object{"name": "x"}, []string{"Cookie", cookie, "Origin", r.url, "Sec-Fetch-Site", "same-origin"}, 201},
		"own page, reading":                      {"", "GET", v1("me"), nil, []string{"Cookie", cookie, "Sec-Fetch-Site", "same-origin"}, 200},
		"a program with a cookie":                {"", "POST", v1("tokens"), object{"name": "x"}, []string{"Cookie", cookie}, 201},
		"a program with a token":                 {"admin", "POST", v1("tokens"), object{"name": "x"}, nil, 201},
		"another site posts":                     {"", "POST", v1("tokens"), object{"name": "x"}, []string{"Cookie", cookie, "Origin", evil, "Sec-Fetch-Site", "cross-site"}, 403},
		"another site, no Sec-Fetch-Site":        {"", "POST", v1("tokens"), object{"name": "x"}, []string{"Cookie", cookie, "Origin", evil}, 403},
		"a sandboxed page":                       {"", "POST", v1("tokens"), object{"name": "x"}, []string{"Cookie", cookie, "Origin", "null"}, 403},
		"another port of the host":               {"", "POST", v1("tokens"), object{"name": "x"}, []string{"Cookie", cookie, "Origin", "http://127.0.0.1:1"}, 403},
		"a prefix of the own origin":             {"", "POST", v1("tokens"), object{"name": "x"}, []string{"Cookie", cookie, "Origin", r.url + ".evil.example"}, 403},
		"another site of the same company posts": {"", "DELETE", v1("tokens/x"), nil, []string{"Cookie", cookie, "Origin", "https://sister.example", "Sec-Fetch-Site", "same-site"}, 403},
		"another site reads by cookie":           {"", "GET", v1("me"), nil, []string{"Cookie", cookie, "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors"}, 403},
		"somebody follows a link":                {"", "GET", "/app/devices", nil, []string{"Cookie", cookie, "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, 200},
		"a frame":                                {"", "GET", "/app/devices", nil, []string{"Cookie", cookie, "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"}, 403},
		"a sign-in sent by another site":         {"", "POST", v1("login"), object{"email": "a@b.c", "password": "x"}, []string{"Origin", evil, "Sec-Fetch-Site", "cross-site"}, 403},
		"own socket":                             {"", "GET", v1("devices/kitchen/connect?target=ssh"), nil, append([]string{"Origin", r.url}, socket...), 101},
		"own socket to a shell":                  {"", "GET", v1("shells/x/attach"), nil, append([]string{"Origin", r.url}, socket...), 101},
		"another site's socket":                  {"", "GET", v1("devices/kitchen/connect?target=ssh"), nil, append([]string{"Origin", evil}, socket...), 403},
		"another site's socket to a shell":       {"", "GET", v1("shells/x/attach"), nil, append([]string{"Origin", evil}, socket...), 403},
		"a cookie's socket without Origin":       {"", "GET", v1("devices/kitchen/connect?target=ssh"), nil, socket, 403},
		"a cookie's socket from nowhere":         {"", "GET", v1("shells/x/attach"), nil, append([]string{"Origin", "null"}, socket...), 403},
		"a token's socket without Origin":        {"admin", "GET", v1("devices/kitchen/connect?target=ssh"), nil, upgrade(101), 101},
		"another site's socket with a token":     {"admin", "GET", v1("devices/kitchen/connect?target=ssh"), nil, append([]string{"Origin", evil}, upgrade(101)...), 403},
		"a carrier from a page":                  {"", "GET", "/tunnel", nil, append([]string{"Origin", evil}, upgrade(101)...), 403},
		"a carrier":                              {"", "GET", "/tunnel", nil, upgrade(101), 101},
		"a token that is none beside a cookie":   {"", "GET", v1("me"), nil, []string{"Cookie", cookie, "Authorization", "Bearer adit_none"}, 401},
		"basic authentication beside a cookie":   {"", "GET", v1("me"), nil, []string{"Cookie", cookie, "Authorization", "Basic eDp5"}, 401},
	} {
		got := r.do(test.as, test.method, test.path, test.body, test.headers...)
		if got.status != test.want {
			t.Errorf("%s: %d, want %d %s", name, got.status, test.want, got.body)
		}
	}
}

func TestCookie(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	link, err := r.Accounts.NewLoginLink(t.Context(), r.users["viewer"].ID)
	r.must(err)
	got := r.do("", "POST", v1("login/link"), object{"secret": link})
	cookie := got.header.Get("Set-Cookie")
	for _, word := range []string{"__Host-adit=", "; Path=/;", "; HttpOnly", "; Secure", "; SameSite=Strict"} {
		if !strings.Contains(cookie, word) {
			t.Errorf("%s misses %q", cookie, word)
		}
	}
	if strings.Contains(cookie, "Domain") {
		t.Error(cookie)
	}
	held, _, _ := strings.Cut(cookie, ";")
	if got := r.do("", "GET", v1("me"), nil, "Cookie", held); got.status != http.StatusOK {
		t.Errorf("%d", got.status)
	}
	out := r.do("", "POST", v1("logout"), nil, "Cookie", held)
	if out.status != http.StatusNoContent || !strings.Contains(out.header.Get("Set-Cookie"), "Max-Age=0") {
		t.Errorf("%d %v", out.status, out.header)
	}
	if got := r.do("", "GET", v1("me"), nil, "Cookie", held); got.status != http.StatusUnauthorized {
		t.Errorf("a login session outlives its end: %d", got.status)
	}
}

// Rule 10: a header says where a request comes from only where a trusted proxy wrote it.
func TestClientAddress(t *testing.T) {
	t.Parallel()
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	for _, test := range []struct {
		remote, forwarded, want string
		trusted                 []netip.Prefix
	}{
		{"192.0.2.1:5", "", "192.0.2.1", proxies},
		{"192.0.2.1:5", "198.51.100.1", "192.0.2.1", proxies},
		{"10.0.0.1:5", "198.51.100.1", "198.51.100.1", proxies},
		{"10.0.0.1:5", "198.51.100.1", "10.0.0.1", nil},
		{"10.0.0.1:5", "6.6.6.6, 198.51.100.1", "198.51.100.1", proxies},
		{"10.0.0.1:5", "6.6.6.6, 198.51.100.1, 10.0.0.2", "198.51.100.1", proxies},
		{"10.0.0.1:5", "10.0.0.3, 10.0.0.2", "10.0.0.3", proxies},
		{"10.0.0.1:5", "rubbish", "10.0.0.1", proxies},
		{"10.0.0.1:5", "6.6.6.6, rubbish, 10.0.0.2", "10.0.0.2", proxies},
		{"10.0.0.1:5", "198.51.100.1:4711", "198.51.100.1", proxies},
		{"10.0.0.1:5", "2001:db8::1", "2001:db8::1", proxies},
		{"[::1]:5", "::ffff:198.51.100.1", "198.51.100.1", proxies},
		{"[::ffff:10.0.0.1]:5", "198.51.100.1", "198.51.100.1", proxies},
	} {
		req := &http.Request{RemoteAddr: test.remote, Header: http.Header{}}
		if test.forwarded != "" {
			req.Header.Set("X-Forwarded-For", test.forwarded)
		}
		if got := (clientAddresses{test.trusted}).of(req); got != test.want {
			t.Errorf("%s via %q: %s, want %s", test.remote, test.forwarded, got, test.want)
		}
	}
}

func FuzzClientAddress(f *testing.F) {
	f.Add("10.0.0.1:5", "198.51.100.1, 10.0.0.2")
	f.Add("[fe80::1%eth0]:5", "::ffff:1.2.3.4,[::1]:80")
	f.Fuzz(func(t *testing.T, remote, forwarded string) {
		c := clientAddresses{[]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
		req := &http.Request{RemoteAddr: remote, Header: http.Header{"X-Forwarded-For": {forwarded}}}
		got := c.of(req)
		if _, err := netip.ParseAddr(got); err != nil && got != remote {
			t.Errorf("%q by %q gives %q, which is no address", remote, forwarded, got)
		}
	})
}

// Paho's Python client names the default port in Origin, which browsers do not; and so may ADIT_URL.
func TestOriginWithItsDefaultPort(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		own, origin string
		allowed     bool
	}{
		{"https://hub.example", "https://hub.example:443", true},
		{"https://hub.example:443", "https://hub.example", true},
		{"http://hub.example", "http://hub.example:80", true},
		{"https://hub.example", "https://hub.example:80", false},
		{"https://hub.example", "http://hub.example:443", false},
		{"https://hub.example:8443", "https://hub.example", false},
		{"https://hub.example", "https://hub.example:4430", false},
	} {
		u, err := url.Parse(c.own)
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest("GET", "/mqtt", nil)
		r.Header.Set("Upgrade", "websocket")
		r.Header.Set("Origin", c.origin)
		if err := newOrigins(config.Config{URLs: []*url.URL{u}}).check(r); (err == nil) != c.allowed {
			t.Errorf("%s at %s: %v", c.origin, c.own, err)
		}
	}
}
