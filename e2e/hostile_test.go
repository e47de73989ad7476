//go:build linux

package e2e

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/aditdev/adit/internal/wire"
)

var codeInLine = regexp.MustCompile(`ADIT_CODE='?([a-z2-7]{26})`)

// What a device says of itself is text on every page: nothing of it runs, breaks the policy or turns a line around.
func TestHostileDeviceIsText(t *testing.T) {
	t.Parallel()
	const script = `"><img src=x onerror="document.title='owned'">'`
	const hostile = script + "\x1b[31m\u202e\u2066end"
	l := newLaptop(t)
	link := l.demo()
	b := l.browser()
	b.open(link)
	b.wait("[data-testid=device-row-demo]", "")
	b.open(demoURL + "/app/add")
	b.wait("[data-testid=add-form]", "")
	b.click("[data-testid=make-command]")
	b.wait("[data-testid=install-command]", "ADIT_CODE=")
	var line string
	b.do("text", ask{"on": "[data-testid=install-command]"}, &line)
	code := codeInLine.FindStringSubmatch(line)
	if code == nil {
		t.Fatalf("no code in %q", line)
	}
	name := l.enroll(code[1], hostile)
	b.clean()
	for path, shows := range map[string]string{"/app/": "[data-testid=device-row-" + name + "]", "/app/d/" + name: "main"} {
		b.open(demoURL + path)
		b.wait(shows, "")
		if strings.HasPrefix(path, "/app/d/") {
			b.wait(shows, "<img src=x")
		}
		var text, title string
		var images int
		b.do("text", ask{"on": "body"}, &text)
		b.do("text", ask{"on": "title"}, &title)
		b.do("count", ask{"on": "img[src=x]"}, &images)
		if images != 0 || title == "owned" {
			t.Errorf("%s: %d images, title %q", path, images, title)
		}
		if i := strings.IndexFunc(text, func(r rune) bool { return r == 0x1b || unicode.Is(unicode.Bidi_Control, r) }); i >= 0 {
			t.Errorf("%s: a control character in %q", path, text[i:min(len(text), i+40)])
		}
		b.clean()
	}
}

// enroll makes a device all of whose facts are what, and gives the name that it got.
func (l *laptop) enroll(code, what string) string {
	t := l.t
	t.Helper()
	key, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(ask{"code": code, "public_key": wire.EncodeKey(key), "hostname": what, "ssh_host_keys": []string{},
		"facts": ask{"hostname": what, "os": what, "kernel": what, "arch": what, "model": what, "serial": what,
			"addresses": []string{what}, "login": what}})
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return l.dial(ctx, "tcp", "127.0.0.1:8080") }}}
	res, err := client.Post(demoURL+"/api/v1/enroll", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var enrolled struct{ Name, Detail string }
	if err := json.NewDecoder(res.Body).Decode(&enrolled); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("enroll: %s, %+v, %v", res.Status, enrolled, err)
	}
	return enrolled.Name
}
