//go:build linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// The site in Chromium, at one demo: every page, what opens over pages, and what people do there besides typing into
// terminals.
func TestSite(t *testing.T) {
	t.Parallel()
	l := newLaptop(t)
	link := l.demo()
	b := l.browser()
	pagesBeforeSignIn(t, b)
	b.open(link)
	b.wait("[data-testid=device-row-demo]", "")
	for _, part := range []struct {
		name string
		run  func(*laptop, *browser)
	}{
		{"pages", pagesAfterSignIn},
		{"sheets", sheets},
		{"reload, back and forward", views},
		{"add a device", addDevice},
		{"500 devices", manyDevices},
		{"keyboard alone", keyboardAlone},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(l, b.as(t)) })
	}
}

// A page is a path, and what is there once it is drawn.
type page struct{ name, path, shows string }

func pagesBeforeSignIn(t *testing.T, b *browser) {
	for _, p := range []page{
		{"landing", "/", "h1"},
		{"login", "/app/login", "[data-testid=login-form]"},
		{"setup", "/app/setup", "h1"},
	} {
		t.Run(p.name, func(t *testing.T) { p.inspect(b.as(t)) })
	}
}

func pagesAfterSignIn(_ *laptop, b *browser) {
	b.openShell(demoURL, "demo") // stays in its tab, for the page of shells
	for _, p := range []page{
		{"devices", "/app/", "[data-testid=device-row-demo]"},
		{"device", "/app/d/demo", "h1"},
		{"shells", "/app/shells", "[data-testid=terminal][data-link=open]"},
		{"ssh alone", "/app/d/demo?connect=alone", "#connect-alone"},
		{"mqtt", "/app/mqtt", "[data-testid=mqtt-link][data-state=live]"},
		{"device's mqtt", "/app/d/demo", "[data-testid=device-mqtt] h2"},
		{"streams", "/app/streams", "[data-testid=stream]"},
		{"settings", "/app/settings", "h1"},
		{"SSH keys", "/app/settings?at=ssh-keys", "[data-testid=ssh-keys]"},
		{"settings of mqtt", "/app/settings?at=mqtt", "[data-testid=mqtt-rules]"},
		{"missing", "/app/nowhere", "h1"},
		{"add", "/app/add", "[data-testid=add-form]"},
	} {
		p.inspect(b)
	}
	b.click("[data-testid=make-command]")
	b.wait("[data-testid=install-command]", "ADIT_CODE=")
	b.click("button:has-text('QR code')")
	b.wait("[data-testid=install-qr]", "")
	var moving int
	if b.evaluate(runningAnimations, &moving); moving == 0 {
		b.t.Error("nothing moves while a command waits for its device: that motion can be reduced is proved nowhere")
	}
	b.inspectEverySize("add-made")
}

func (p page) inspect(b *browser) {
	b.t.Helper()
	b.open(demoURL + p.path)
	b.wait(p.shows, "")
	b.inspectEverySize(p.name)
}

const runningAnimations = `document.getAnimations().filter((a) => a.playState === 'running').length`

// inspectEverySize checks the page as it stands: accessible, within its policy, no wider than its window, and still where
// that is wanted. Of what is accessible, only colours differ in the dark.
func (b *browser) inspectEverySize(name string) {
	b.t.Helper()
	for _, scheme := range []string{"light", "dark"} {
		b.do("media", ask{"scheme": scheme}, nil)
		for _, width := range []int{1280, 768, 390, 320} {
			b.do("size", ask{"width": width, "height": 844}, nil)
			at := fmt.Sprintf("%s-%s-%d", name, scheme, width)
			if width == 1280 || width == 390 {
				b.accessible(at, scheme == "dark")
			}
			b.fits(at)
			b.clean()
		}
	}
	b.do("media", ask{"motion": "reduce"}, nil)
	var moving int
	if b.evaluate(runningAnimations, &moving); moving > 0 {
		b.t.Errorf("%s: %d animations run although reduced motion is wanted", name, moving)
	}
	b.do("media", ask{"scheme": "light", "motion": "no-preference"}, nil)
	b.do("size", ask{"width": 1280, "height": 800}, nil)
}

// inspectBoth is inspectEverySize for what is a part of a page: light and wide, dark and narrow.
func (b *browser) inspectBoth(name string) {
	b.t.Helper()
	b.do("media", ask{"scheme": "light"}, nil)
	b.do("size", ask{"width": 1280, "height": 800}, nil)
	b.inspect(name + "-light")
	b.do("media", ask{"scheme": "dark"}, nil)
	b.do("size", ask{"width": 390, "height": 844}, nil)
	b.inspect(name + "-dark")
	b.do("size", ask{"width": 320, "height": 640}, nil)
	b.fits(name + "-dark-320")
	b.do("media", ask{"scheme": "light"}, nil)
	b.do("size", ask{"width": 1280, "height": 800}, nil)
}

// inspect checks the page as it stands.
func (b *browser) inspect(name string) {
	b.t.Helper()
	b.accessible(name, false)
	b.fits(name)
	b.clean()
}

// accessible has axe look at the page, or at its colours alone.
func (b *browser) accessible(name string, coloursAlone bool) {
	b.t.Helper()
	var wrong []string
	b.do("axe", ask{"coloursAlone": coloursAlone}, &wrong)
	for _, w := range wrong {
		b.t.Errorf("%s: %s", name, w)
	}
}

// fits checks only the width. With ADIT_SHOTS it leaves a picture in that directory.
func (b *browser) fits(name string) {
	b.t.Helper()
	if dir := os.Getenv("ADIT_SHOTS"); dir != "" {
		b.do("shot", ask{"path": filepath.Join(dir, name+".png"), "full": true}, nil)
	}
	var wider float64
	if b.do("overflow", nil, &wider); wider > 0 {
		b.t.Errorf("%s is %v px wider than its window", name, wider)
	}
}
