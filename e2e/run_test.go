//go:build linux

package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A laptop is a machine for `make run`: what it leaves behind, shells on the demo device among it, ends with the test.
type laptop struct {
	*machine
	dir string
}

func newLaptop(t testing.TB) *laptop {
	t.Helper()
	l := &laptop{newMachine(t, "laptop", "host"), t.TempDir()}
	l.sh("sed -i 's#^root:\\(.*\\):/root:#root:\\1:" + l.dir + ":#' /etc/passwd")
	return l
}

func (l *laptop) env() []string {
	return []string{"PORT=8080", "ADIT_DATA=" + filepath.Join(l.dir, "data"), "HOME=" + l.dir}
}

// demo runs what `make run` does after building, and gives the link that its last line is.
func (l *laptop) demo() (link string) {
	l.t.Helper()
	log := filepath.Join(l.dir, "demo.log")
	_ = os.Remove(log)
	l.daemon("demo", log, l.env(), built("adit-demo"))
	eventually(l.t, patience, "the demo running", func() error {
		out, err := os.ReadFile(log)
		if err != nil {
			return err
		}
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		link = strings.TrimSpace(lines[len(lines)-1])
		if !strings.HasPrefix(link, demoURL+"/") {
			return errorText(out)
		}
		return nil
	})
	return link
}

const demoURL = "http://localhost:8080"

// stop ends the demo as Ctrl-C does, and waits.
func (l *laptop) stop() {
	l.t.Helper()
	l.signal("demo", "INT")
	eventually(l.t, patience, "the demo stopped", func() error {
		if out, err := l.try("bash", "-c", "! kill -0 $(cat /run/demo.pid) 2>&1"); err != nil {
			return errorText(out)
		}
		return nil
	})
}

type errorText string

func (e errorText) Error() string { return string(e) }

// browser starts Chromium there.
func (l *laptop) browser() *browser {
	l.t.Helper()
	options, err := json.Marshal(ask{"profile": filepath.Join(l.dir, "profile")})
	if err != nil {
		l.t.Fatal(err)
	}
	return startBrowser(l.t, l.machine, l.env(), string(options))
}

// What a newcomer does first: make run, follow the link, see the demo device, open a shell; stop; and once more.
func TestRun(t *testing.T) {
	t.Parallel()
	l := newLaptop(t)
	first := l.demo()
	b := l.browser()
	b.open(first)
	b.wait("[data-testid=device-row-demo]", "")
	b.openShell(demoURL, "demo")
	b.run("echo it-is-$((40+2))")
	b.sees("it-is-42")
	b.open(demoURL + "/app/mqtt?filter=devices/demo/%23&pane=publish")
	b.wait(topicRow("devices/demo/sensors"), "")
	b.fill("#mqtt-publish-topic", "cmds/demo/lamp")
	b.fill("#mqtt-publish-payload", "on")
	b.click("[data-testid=mqtt-send]")
	b.wait(topicRow("devices/demo/lamp"), "on")
	b.clean()

	out, err := l.try("env", "PORT=8080", "ADIT_DATA="+filepath.Join(l.dir, "other"), built("adit-demo"))
	if err == nil || !strings.Contains(out, "taken") {
		t.Errorf("a second demo on the same port: %v, said %q", err, out)
	}

	b.open(demoURL + "/app/")
	b.wait("[data-testid=device-row-demo]", "")
	l.stop()
	b.wait("[data-testid=hub-bar]", "Hub unreachable")
	b.inspectBoth("hub-gone")
	if l.demo() == first {
		t.Error("the one-time link is the same as the first time")
	}
	b.gone("[data-testid=hub-bar]") // by itself
	b.wait("[data-testid=device-row-demo]", "")
	var rows int
	b.do("count", ask{"on": "[data-testid^=device-row-]"}, &rows)
	if rows != 1 {
		t.Errorf("%d devices after the second run, want the same one", rows)
	}
	l.stop()
}
