//go:build linux

package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

var setupLink = regexp.MustCompile(`https://\S+/app/setup#\S+`)

// README's sixty seconds, in the browser: the link in a new hub's log, e-mail and password, a command for the first
// device, that command run on it, and a shell on what arrived.
func TestTour(t *testing.T) {
	t.Parallel()
	r := newHub(t, "caddy")
	r.startSSHD()
	var link string
	eventually(t, patience, "the link in the hub's log", func() error {
		log, err := os.ReadFile(filepath.Join(r.dir, "hub.log"))
		if link = string(setupLink.Find(log)); err == nil && link == "" {
			err = errNotYet
		}
		return err
	})
	b := r.browser()
	b.open(link)
	b.fill("#hub_name", "Workshop")
	b.fill("#email", ownerEmail)
	b.fill("#password", ownerPassword)
	b.click("[data-testid=setup-form] [type=submit]")
	b.click("[data-testid=make-command]")
	var command string
	b.do("wait", ask{"on": "[data-testid=install-command]"}, &command)
	t.Log(r.device.run("bash", "-c", command))
	b.wait("[data-testid=arrival]", "kitchen")
	b.click("[data-testid=arrival] [data-testid=open-shell]")
	b.wait("#shell-login", "")
	b.inspectBoth("login-sheet")
	b.fill("#shell-login", login)
	b.press("Enter")
	b.wait("[data-testid=terminal]", "")
	b.prompts()
	b.click("[data-testid=terminal]")
	b.run("hostname; id -un")
	b.sees("kitchen\r\nada\r\n")
	b.clean()

	b.open(link) // a second time it makes nobody an owner
	b.wait("h1", "")
	var forms int
	b.do("count", ask{"on": "[data-testid=setup-form]"}, &forms)
	if forms > 0 {
		t.Error("the set-up link shows its form again")
	}
}
