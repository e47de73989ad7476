//go:build linux

package e2e

import (
	"os"
	"path/filepath"
	"regexp"
)

// sheets inspects what opens over pages, and the states of pages that need something to happen first.
func sheets(l *laptop, b *browser) {
	b.open(demoURL + "/app/")
	b.wait("[data-testid=device-row-demo]", "")
	for _, sheet := range []struct{ name, key, shows string }{
		{"palette", "Control+k", "dialog [role=option]"},
		{"keys", "?", "dialog[aria-label=Keys]"},
	} {
		b.press(sheet.key)
		b.wait(sheet.shows, "")
		b.inspectBoth(sheet.name)
		b.press("Escape")
		b.gone("dialog")
	}
	b.open(demoURL + "/app/d/demo")
	b.click("[data-testid=remove-device]")
	b.wait("[data-testid=confirm-remove]", "")
	b.inspectBoth("remove")
	b.press("Escape")
	b.gone("dialog")
	changedHostKey(b)
	pendingDevice(l, b)
	approveTerminal(l, b)
}

// changedHostKey shows the demo device's page as the hub answers after its SSH host key has changed.
func changedHostKey(b *browser) {
	var device map[string]any
	b.do("get", ask{"url": demoURL + "/api/v1/devices/demo"}, &device)
	keys, _ := device["ssh_host_keys"].([]any)
	device["ssh_host_keys"] = append(keys, ask{"key": "ssh-ed25519 AAAA", "fingerprint": "SHA256:9yax1OcWw9xmbH8ZnG76jPX0q9vVg51p/1AwMfSwtRc", "pending": true})
	for _, key := range []string{"demo", device["id"].(string)} {
		b.do("answer", ask{"url": "**/api/v1/devices/" + key, "json": device}, nil)
		defer b.do("answer", ask{"url": "**/api/v1/devices/" + key}, nil)
	}
	b.open(demoURL + "/app/d/demo")
	b.wait("[data-testid=accept-host-keys]", "")
	b.inspectBoth("host-key")
}

// pendingDevice enrols a device that has to be let in, and turns it away again.
func pendingDevice(l *laptop, b *browser) {
	b.open(demoURL + "/app/add")
	b.click("summary")
	b.click("[name=approval]")
	b.click("[data-testid=make-command]")
	var line string
	b.do("wait", ask{"on": "[data-testid=install-command]", "text": "ADIT_CODE="}, &line)
	name := l.enroll(codeInLine.FindStringSubmatch(line)[1], "boat")
	b.wait("[data-testid=arrival]", name)
	b.inspectBoth("arrival")
	b.open(demoURL + "/app/")
	b.wait("[data-testid=device-row][data-status=pending]", name)
	b.inspectBoth("devices-pending")
	b.click("[data-testid=device-row-" + name + "]")
	b.wait("[data-testid=approve]", "")
	b.inspectBoth("pending")
	b.click("[data-testid=turn-away]")
	b.wait("h1", "This device was removed")
	b.inspectBoth("removed")
}

var cliLink = regexp.MustCompile(`http://localhost:8080/app/cli\S*`)

// approveTerminal is `adit login` on the laptop, approved in its browser.
func approveTerminal(l *laptop, b *browser) {
	log := filepath.Join(l.dir, "login.log")
	l.daemon("login", log, l.env(), built("adit"), "login", demoURL)
	var link string
	eventually(b.t, patience, "told where to approve", func() error {
		out, err := os.ReadFile(log)
		if link = cliLink.FindString(string(out)); err != nil || link == "" {
			return errorText(out)
		}
		return nil
	})
	b.open(demoURL + "/app/cli")
	b.wait("#code", "")
	b.inspectBoth("cli")
	b.open(link)
	b.wait("[data-testid=cli-code]", "")
	b.inspectBoth("cli-asked")
	b.click("[data-testid=cli-approve]")
	b.wait("[data-testid=cli-approved]", "")
	b.inspectBoth("cli-approved")
	eventually(b.t, patience, "the terminal signed in", func() error {
		if out, err := l.try("env", "HOME="+l.dir, built("adit"), "devices"); err != nil {
			return errorText(out)
		}
		return nil
	})
}
