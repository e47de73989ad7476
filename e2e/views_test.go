//go:build linux

package e2e

// views are what an address shows: the same after a reload, and after going back and forward.
func views(_ *laptop, b *browser) {
	b.open(demoURL + "/app/")
	b.do("choose", ask{"on": "[data-testid=device-sort]", "value": "seen"}, nil)
	b.click("[data-testid=device-filter]")
	b.write("dem")
	b.click("[data-testid=device-row-demo]") // at once, as the eye is quicker than the address
	b.wait("[data-testid=device-name]", "demo")
	b.wait("[data-testid=metrics]", "Processor")
	b.click("a[href='/app/settings']")
	b.wait("h1", "Settings")

	b.do("back", nil, nil)
	b.wait("[data-testid=device-name]", "demo")
	b.becomes("document.title", "demo · localhost")
	b.do("back", nil, nil)
	b.listIsFiltered()
	b.do("forward", nil, nil)
	b.wait("[data-testid=device-name]", "demo")
	b.do("reload", nil, nil)
	b.wait("[data-testid=device-name]", "demo")
	b.do("back", nil, nil)
	b.listIsFiltered()
	b.do("reload", nil, nil)
	b.listIsFiltered()

	// The way to all devices leads to all of them, also from a list that is filtered.
	b.fill("[data-testid=device-filter]", "no such device")
	b.wait("main", "No device matches")
	b.becomes("location.search", "?sort=seen&q=no+such+device")
	b.click("nav a[title=Devices]")
	b.becomes("location.search", "")
	b.wait("[data-testid=device-row-demo]", "")
	b.becomes("document.querySelector('[data-testid=device-filter]').value", "")
	b.clean()
}

func (b *browser) listIsFiltered() {
	b.t.Helper()
	b.wait("[data-testid=device-row-demo]", "")
	b.becomes("location.search", "?sort=seen&q=dem")
	b.becomes("document.querySelector('[data-testid=device-filter]').value", "dem")
	b.becomes("document.querySelector('[data-testid=device-sort]').value", "seen")
}

// keyboardAlone signs in, finds a device, works in its shell, leaves it and goes back without a pointer; whatever has the
// focus on the way shows it.
func keyboardAlone(l *laptop, b *browser) {
	b.open(demoURL + "/app/settings")
	b.fill("#next", ownerPassword) // signed in by a link a moment ago
	b.click("[data-testid=password-form] [type=submit]")
	b.wait("[data-testid=toast]", "The password is changed")
	b.click("[data-testid=sign-out]")
	b.wait("[data-testid=login-form]", "")
	b.open(demoURL + "/app/login")
	b.wait("#email:focus", "")
	b.write("owner@localhost")
	b.press("Tab")
	b.write(ownerPassword)
	b.press("Enter")
	b.wait("[data-testid=device-row-demo]", "")

	b.tabTo("[data-testid=device-row-demo]")
	b.press("Enter")
	b.wait("[data-testid=device-name]", "demo")
	b.wait("main:focus", "")
	b.tabTo("[data-testid=open-shell]")
	b.press("Enter")
	b.wait("[data-testid=terminal][data-link=open]:visible", "")
	b.wait(inTerminal, "")
	b.prompts()
	b.run("echo by-keys-$((40+2))")
	b.sees("by-keys-42")
	b.press("Tab") // belongs to the shell
	b.wait(inTerminal, "")

	b.press("Control+F6")
	b.wait("[role=tab]:focus", "")
	b.press("Enter")
	b.wait(inTerminal, "")
	b.press("Control+F6")
	b.wait("[role=tab]:focus", "")
	b.backTo("nav a[title=Devices]")
	b.press("Enter")
	b.wait("[data-testid=device-row-demo]", "")
	b.press("j")
	b.wait("[data-testid=device-row-demo]:focus", "")
	b.clean()
}

func (b *browser) tabTo(selector string)  { b.t.Helper(); b.walk(selector, false) }
func (b *browser) backTo(selector string) { b.t.Helper(); b.walk(selector, true) }

// walk presses Tab, or Shift+Tab, until an element has the focus.
func (b *browser) walk(selector string, back bool) {
	b.t.Helper()
	var hidden []string
	b.do("tabTo", ask{"on": selector, "back": back}, &hidden)
	for _, element := range hidden {
		b.t.Errorf("has the focus and does not show it: %s", element)
	}
}
