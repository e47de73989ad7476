//go:build linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// Every page, wide and narrow, light and dark: accessible by axe, within its policy, no wider than its window.
func TestPages(t *testing.T) {
	l := newLaptop(t)
	link := l.demo()
	b := l.browser()
	pages := []struct{ name, path, shows string }{
		{"landing", "/", "h1"},
		{"login", "/app/login", "[data-testid=login-form]"},
		{"setup", "/app/setup", "h1"},
		{"devices", "/app/", "[data-testid=device-row-demo]"},
		{"add", "/app/add", "[data-testid=add-form]"},
		{"device", "/app/d/demo", "h1"},
		{"shells", "/app/shells", "[data-testid=terminal]"},
		{"streams", "/app/streams", "[data-testid=stream]"},
		{"settings", "/app/settings", "h1"},
		{"missing", "/app/nowhere", "h1"},
	}
	for _, page := range pages {
		if page.name == "devices" { // the pages before it are for people who have not signed in
			b.open(link)
			b.wait("[data-testid=device-row-demo]", "")
			b.openShell(demoURL, "demo") // stays in its tab, for the page of shells
		}
		t.Run(page.name, func(t *testing.T) {
			b := &browser{t: t, in: b.in, answers: b.answers}
			for _, scheme := range []string{"light", "dark"} {
				for _, width := range []int{1280, 390} {
					b.do("scheme", ask{"scheme": scheme}, nil)
					b.do("size", ask{"width": width, "height": 844}, nil)
					b.open(demoURL + page.path)
					b.wait(page.shows, "")
					b.inspect(fmt.Sprintf("%s-%s-%d", page.name, scheme, width))
					if page.name == "add" {
						b.click("[data-testid=make-command]")
						b.wait("[data-testid=install-command]", "ADIT_CODE=")
						b.click("button:has-text('QR code')")
						b.wait("[data-testid=install-qr]", "")
						b.inspect(fmt.Sprintf("%s-made-%s-%d", page.name, scheme, width))
					}
				}
			}
		})
	}
}

// inspect checks the page as it stands. With ADIT_SHOTS it leaves a picture in that directory.
func (b *browser) inspect(name string) {
	b.t.Helper()
	if dir := os.Getenv("ADIT_SHOTS"); dir != "" {
		b.do("shot", ask{"path": filepath.Join(dir, name+".png")}, nil)
	}
	var wrong []string
	b.do("axe", nil, &wrong)
	for _, w := range wrong {
		b.t.Errorf("%s: %s", name, w)
	}
	var wider float64
	if b.do("overflow", nil, &wider); wider > 0 {
		b.t.Errorf("%s is %v px wider than its window", name, wider)
	}
	b.clean()
}
