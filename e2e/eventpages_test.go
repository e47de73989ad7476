//go:build linux

package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// The log of events in Chromium: live, filtered, on several pages, by keyboard, and how long it is kept.
func TestEventPages(t *testing.T) {
	t.Parallel()
	r := newRig(t, "nginx")
	c := &console{rig: r, browser: r.browser(), t: t}
	r.pasteLine(ask{"name": "kitchen"})
	eventually(t, patience, "kitchen online", r.online("kitchen", true))
	c.open(hubURL + "/app/login")
	c.fill("#email", ownerEmail)
	c.fill("#password", ownerPassword)
	c.click("[data-testid=login-form] [type=submit]")
	c.wait("[data-testid=nav-events]", "")
	c.do("size", ask{"width": 390, "height": 844}, nil) // also on a phone it is one tap away
	c.click("[data-testid=nav-events]")
	c.wait("h1", "Events")
	c.do("size", ask{"width": 1280, "height": 800}, nil)
	for _, step := range []struct {
		name string
		run  func(*console)
	}{
		{"live", (*console).eventsLive},
		{"filters", (*console).eventsFiltered},
		{"pages", (*console).eventsPaged},
		{"states", (*console).eventsStates},
		{"retention", (*console).eventsKept},
	} {
		t.Run(step.name, func(t *testing.T) {
			step.run(&console{rig: r, browser: c.browser.as(t), t: t})
		})
		if c.browser.as(t).clean(); t.Failed() {
			return
		}
	}
}

const anEvent = "[data-testid=event]"

func eventOf(kind string) string { return fmt.Sprintf("%s[data-type='%s']", anEvent, kind) }

// tagged changes the tags of kitchen.
func (c *console) tagged(tag string) {
	c.t.Helper()
	if err := c.call(http.MethodPatch, "/api/v1/devices/kitchen", ask{"tags": []string{tag}}, nil); err != nil {
		c.t.Fatal(err)
	}
}

// eventsLive sees what was, and what happens while it looks, without a reload; a row opens what it holds by keyboard.
func (c *console) eventsLive() {
	c.wait(eventOf("device.enrolled"), "kitchen was enrolled from")
	c.wait(eventOf("device.online"), "kitchen came online")
	c.wait(eventOf("hub.started"), "The hub started")
	c.gone(eventOf("device.changed") + ":first-child")
	c.tagged("seen")
	c.wait(eventOf("device.changed"), "kitchen changed, by ada")
	c.evaluate("document.querySelector(\""+eventOf("device.enrolled")+" button\").focus()", nil)
	c.press("Enter")
	c.wait(eventOf("device.enrolled")+" dl", "code_id")
	c.inspectBoth("events")
	c.press("Enter")
	c.gone(eventOf("device.enrolled") + " dl")
	c.press("Enter")
	c.click(eventOf("device.enrolled") + " dl a")
	c.wait("[data-testid=device-name]", "kitchen")
	c.press("g")
	c.press("e")
	c.wait(anEvent, "")
}

// eventsFiltered keeps its filters in the address, also for what comes live.
func (c *console) eventsFiltered() {
	c.do("choose", ask{"on": "[data-testid=event-group]", "value": "people"}, nil)
	c.wait(eventOf("login.began"), "ada signed in from")
	c.gone(eventOf("device.online"))
	c.tagged("unseen")
	if err := c.call(http.MethodPost, "/api/v1/tokens", ask{"name": "<b>bold</b>"}, nil); err != nil {
		c.t.Fatal(err)
	}
	c.wait(eventOf("token.created"), "<b>bold</b>")
	c.gone(eventOf("device.changed"))
	c.becomes("location.search", "?group=people")
	c.open(hubURL + "/app/events?group=people&time=hour")
	c.wait(eventOf("token.created"), "")
	c.do("choose", ask{"on": "[data-testid=event-time]", "value": "own"}, nil)
	c.fill("input[type=datetime-local] >> nth=0", "2099-01-01T00:00:00")
	c.wait(".none", "No event matches.")
	c.inspectBoth("events-none")
	c.click(".none button")
	c.wait(eventOf("device.enrolled"), "")
	c.becomes("location.search", "")
}

// eventsPaged comes to the beginning of a long log by asking for older ones.
func (c *console) eventsPaged() {
	for i := range 130 {
		c.tagged(fmt.Sprint("t", i))
	}
	c.open(hubURL + "/app/events")
	c.wait("[data-testid=events-more]", "Show older ones")
	if n := c.count(anEvent); n != 100 {
		c.t.Errorf("%d events on the first page", n)
	}
	c.click("[data-testid=events-more]")
	c.wait("p.none", "the beginning of the log")
	var ids []string
	c.evaluate("[...document.querySelectorAll('"+anEvent+" button')].map((b) => b.getAttribute('aria-controls'))", &ids)
	seen := map[string]bool{}
	for _, id := range ids {
		if seen[id] {
			c.t.Errorf("%s twice", id)
		}
		seen[id] = true
	}
	if len(ids) < 135 {
		c.t.Errorf("%d events in all", len(ids))
	}
}

// eventsStates shows what the page makes of a hub that fails, and reads again.
func (c *console) eventsStates() {
	const url = "**/api/v1/events?**"
	c.do("answer", ask{"url": url, "json": ask{"events": []ask{}, "next": nil}}, nil)
	c.open(hubURL + "/app/events")
	c.wait(".none", "Nothing has happened yet.")
	c.inspectBoth("events-empty")
	c.do("answer", ask{"url": url}, nil)
	c.open(hubURL + "/app/events?device=kitchen-that-was-never-there")
	c.wait("[data-testid=problem]", "")
	c.inspectBoth("events-problem")
}

// eventsKept sets how long events are kept.
func (c *console) eventsKept() {
	c.open(hubURL + "/app/events")
	c.click("a[href='/app/settings?at=retention']")
	c.wait("[data-testid=retention-form]", "")
	c.becomes(`String(document.querySelector('#keep-events_days').getBoundingClientRect().bottom < innerHeight)`, "true") // it is scrolled to
	c.inspectBoth("retention")
	c.fill("#keep-events_days", "400")
	c.click("[data-testid=retention-form] [type=submit]")
	eventually(c.t, patience, "400 days are kept", func() error {
		var kept ask
		if err := c.call(http.MethodGet, "/api/v1/retention", nil, &kept); err != nil {
			return err
		}
		if kept["events_days"] != 400.0 {
			return errorText(fmt.Sprint(kept))
		}
		return nil
	})
	c.open(hubURL + "/app/events?group=hub")
	c.wait(eventOf("hub.retention_changed"), "ada changed how long things are kept")
	if text := c.text(eventOf("hub.retention_changed")); strings.Contains(text, "somebody") {
		c.t.Errorf("%q", text)
	}
}
