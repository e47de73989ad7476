package handlers

import (
	"net/url"
	"strings"
	"testing"
)

func TestSite(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, test := range []struct {
		path, accept       string
		status             int
		kind, cache, start string
	}{
		{"/", "", 200, "text/html", "no-cache", "<title>landing"},
		{"/app", "", 200, "text/html", "no-cache", "<title>app"},
		{"/app/devices/kitchen", "", 200, "text/html", "no-cache", "<title>app"},
		{"/app/devices", "gzip, br;q=1", 200, "text/html", "no-cache", "packed app"},
		{"/app/devices", "gzip, broken", 200, "text/html", "no-cache", "<title>app"},
		{"/favicon.svg", "", 200, "image/svg+xml", "no-cache", "<svg"},
		{"/assets/a-1.js", "br", 200, "text/javascript", "public, max-age=31536000, immutable", "console"},
		{"/assets/a-1.css", "", 200, "text/css", "public, max-age=31536000, immutable", "a{}"},
		// Rule 14: what is missing is 404 and never a page.
		{"/assets/a-2.js", "", 404, "application/problem+json", "no-store", ""},
		{"/assets/", "", 404, "application/problem+json", "no-store", ""},
		{"/index.html", "", 404, "application/problem+json", "no-store", ""},
		{"/app.html.br", "", 404, "application/problem+json", "no-store", ""},
		{"/wp-login.php", "", 404, "application/problem+json", "no-store", ""},
		{"/..%2f..%2fetc/passwd", "", 404, "application/problem+json", "no-store", ""},
		{"/assets/../../etc/passwd", "", 404, "application/problem+json", "no-store", ""},
	} {
		got := r.do("", "GET", test.path, nil, "Accept-Encoding", test.accept)
		if got.status != test.status || !strings.HasPrefix(got.header.Get("Content-Type"), test.kind) ||
			got.header.Get("Cache-Control") != test.cache || !strings.HasPrefix(got.body, test.start) {
			t.Errorf("%s (%s): %d %v %q", test.path, test.accept, got.status, got.header, got.body)
		}
		if packed := got.header.Get("Content-Encoding") == "br"; packed != (test.start == "packed app") {
			t.Errorf("%s (%s): packed %v", test.path, test.accept, packed)
		}
		if tag := got.header.Get("ETag"); tag != "" {
			if again := r.do("", "GET", test.path, nil, "Accept-Encoding", test.accept, "If-None-Match", tag); again.status != 304 || again.body != "" {
				t.Errorf("%s: %d with the tag it gave", test.path, again.status)
			}
		}
	}
}

// Rule 15.
func TestSecurityHeaders(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(o *Options) { o.Config.URLs = []*url.URL{{Scheme: "https", Host: "adit.example.com"}} })
	for _, p := range []string{"/", "/app", "/assets/a-1.js", "/nothing", v1("me"), v1("setup"), "/healthz", "/i"} {
		h := r.do("", "GET", p, nil).header
		for name, want := range map[string]string{
			"Content-Security-Policy":    "require-trusted-types-for 'script'; trusted-types svelte-trusted-html",
			"X-Content-Type-Options":     "nosniff",
			"Referrer-Policy":            "no-referrer",
			"Strict-Transport-Security":  "max-age=31536000",
			"Cross-Origin-Opener-Policy": "same-origin",
		} {
			if !strings.Contains(h.Get(name), want) {
				t.Errorf("%s: %s is %q", p, name, h.Get(name))
			}
		}
		csp := h.Get("Content-Security-Policy")
		if !strings.HasPrefix(csp, "default-src 'none';") || strings.Contains(csp, "unsafe") || !strings.Contains(csp, "frame-ancestors 'none'") {
			t.Errorf("%s: %s", p, csp)
		}
		if strings.HasPrefix(p, "/api/") && h.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %s", p, h.Get("Cache-Control"))
		}
	}
}
