//go:build linux

package e2e

// addDevice reads the QR code of each form of the command, and lets the command expire.
func addDevice(_ *laptop, b *browser) {
	b.open(demoURL + "/app/add")
	b.fill("#name", "attic-nas")
	b.fill("#tags", "lab, nas")
	b.click("[data-testid=make-command]")
	b.wait("[data-testid=install-command]", "ADIT_CODE=")
	b.click("button:has-text('QR code')")
	for _, form := range []string{"wget", "Typed by hand", "Only look", "curl"} {
		b.click("[aria-label='Form of the command'] button:has-text('" + form + "')")
		b.wait("[aria-label='Form of the command'] [aria-pressed=true]", form)
		var read string
		if b.do("qr", ask{"on": "[data-testid=install-qr]"}, &read); read != b.text("[data-testid=install-command]") {
			b.t.Errorf("%s: the QR code says %q, the command is %q", form, read, b.text("[data-testid=install-command]"))
		}
	}
	first := codeInLine.FindStringSubmatch(b.text("[data-testid=install-command]"))[1]
	b.codeExpires(first)
	b.clean()
}

// codeExpires moves the page's clock behind the code's end, and has another one made.
func (b *browser) codeExpires(first string) {
	b.evaluate("(() => { const now = Date.now; window.__now = now; Date.now = () => now() + 16 * 60_000; })()", nil)
	b.wait("[role=timer]", "expired")
	b.gone("[data-testid=install-command]")
	b.inspectBoth("add-expired")
	b.click("button:has-text('Make a new one')")
	b.evaluate("(() => { Date.now = window.__now; })()", nil)
	b.wait("[data-testid=install-command]", "ADIT_CODE=")
	if again := codeInLine.FindStringSubmatch(b.text("[data-testid=install-command]")); again == nil || again[1] == first {
		b.t.Errorf("the new command: %q", b.text("[data-testid=install-command]"))
	}
	var codes []struct {
		Name string
		Tags []string
	}
	b.do("get", ask{"url": demoURL + "/api/v1/install-codes"}, &codes)
	kept := 0
	for _, code := range codes {
		if code.Name == "attic-nas" && len(code.Tags) == 2 {
			kept++
		}
	}
	if kept != 2 {
		b.t.Errorf("%d of the codes have the fields, want the first and the new one: %+v", kept, codes)
	}
}
