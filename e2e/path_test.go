//go:build linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// The promises about presence.
const (
	onlineAfterInstall = 5 * time.Second
	noticedWithin      = 45 * time.Second // a link that died, and one that works again
	offlineSettles     = 3 * time.Second  // a network that changes is no outage
	shownWithin        = 3 * time.Second  // an event, in a list that somebody looks at
	outage             = 60 * time.Second
)

// The whole path, behind each of the proxies: one line on a device, then a shell by ssh and in the browser, which live
// through everything that a network and a restart do to them.
func TestPath(t *testing.T) {
	t.Parallel()
	for _, proxy := range []string{"nginx", "caddy"} {
		t.Run(proxy, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, proxy)
			r.startSSHD()
			r.fenceHolds()
			r.install()
			r.login()
			r.sshWorks()
			b := r.browser()
			r.browserShell(b)
			r.seqSurvivesLostSocket(b)
			r.outageAndRestart(b)
			b.clean()
		})
	}
}

// fenceHolds makes sure that the device is as shut in as the test claims.
func (r *rig) fenceHolds() {
	r.t.Helper()
	if out, err := r.device.try("curl", "-sS", "-m", "1", "http://10.77.0.1:8080/healthz"); err == nil {
		r.t.Fatalf("the device reaches the hub beside the proxy: %s", out)
	}
	if out, err := r.host.try("bash", "-c", "echo | timeout 1 ssh -o ConnectTimeout=1 10.77.0.2 true"); err == nil || !strings.Contains(out, "timed out") && out != "" {
		r.t.Fatalf("the hub's machine reaches the device directly: %s", out)
	}
}

func (r *rig) install() {
	r.t.Helper()
	r.pasteLine(ask{"name": "kitchen"})
	promised(r.t, onlineAfterInstall, "kitchen online", r.online("kitchen", true))
	eventually(r.t, patience, "SSH reported", func() error {
		d, err := r.look("kitchen")
		if err == nil && (d.Facts.SSH.Server != "openssh" || d.Facts.SSH.Trust != "sshd_config") {
			err = fmt.Errorf("the device's SSH: %+v, want openssh trusting the CA by sshd_config", d.Facts.SSH)
		}
		return err
	})
}

func (r *rig) sshWorks() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if got := r.adit(ctx, "ssh", login+"@kitchen", "hostname").text(r.t); got != "kitchen\n" {
		r.t.Errorf("adit ssh … hostname said %q", got)
	}
	var exit *exec.ExitError
	if err := r.adit(ctx, "ssh", login+"@kitchen", "--", "exit 7").Run(); !errors.As(err, &exit) || exit.ExitCode() != 7 {
		r.t.Errorf("exit code of the remote command: %v, want 7", err)
	}
	r.adit(ctx, "ssh-config").text(r.t)
	if got := r.openssh(ctx, "ssh", login+"@kitchen.adit", "hostname; id -un").text(r.t); got != "kitchen\nada\n" {
		r.t.Errorf("ssh kitchen.adit said %q", got)
	}
}

// browserShell signs in, opens a shell, types, and resizes.
func (r *rig) browserShell(b *browser) {
	r.t.Helper()
	b.open(hubURL + "/app/login")
	b.do("store", ask{"entries": map[string]string{"adit-choices": `{"scrollback":150000}`}}, nil)
	b.open(hubURL + "/app/login")
	b.fill("#email", ownerEmail)
	b.fill("#password", ownerPassword)
	b.click("[data-testid=login-form] [type=submit]")
	b.wait("[data-testid=device-row-kitchen]", "")
	if err := r.call("PATCH", "/api/v1/devices/kitchen", ask{"default_login": login}, nil); err != nil {
		r.t.Fatal(err)
	}
	b.openShell(hubURL, "kitchen")
	b.run("hostname; id -un")
	b.sees("kitchen\r\nada\r\n")
	for _, size := range [][2]int{{1280, 800}, {700, 500}} {
		b.do("size", ask{"width": size[0], "height": size[1]}, nil)
		b.sizeAgrees()
	}
}

// openShell opens a shell on a device, with its default login, from the list of devices.
func (b *browser) openShell(hub, device string) {
	b.t.Helper()
	b.open(hub + "/app/")
	b.click("[data-testid=open-shell-" + device + "]")
	b.wait("[data-testid=terminal]", "")
	b.prompts()
	b.click("[data-testid=terminal]")
}

// prompts waits for the prompt of a user's shell or root's.
func (b *browser) prompts() {
	b.t.Helper()
	eventually(b.t, patience, "prompted", func() error {
		if o := b.output(); !strings.Contains(o.Text, "$ ") && !strings.Contains(o.Text, "# ") {
			return fmt.Errorf("the shell's output: %q", o.Text)
		}
		return nil
	})
}

// sees waits until the shell's output holds text.
func (b *browser) sees(text string) {
	b.t.Helper()
	eventually(b.t, patience, fmt.Sprintf("seen %.40q", text), func() error {
		if o := b.output(); !strings.Contains(o.Text, text) {
			return fmt.Errorf("the shell's last output: %q", o.Text[max(0, len(o.Text)-300):])
		}
		return nil
	})
}

var sttySize = regexp.MustCompile(`size=(\d+ \d+)=`)

// sizeAgrees compares the terminal's size on the device with the one that the page shows.
func (b *browser) sizeAgrees() {
	b.t.Helper()
	eventually(b.t, patience, "the sizes equal", func() error {
		b.run(`echo "size=$(stty size)="`)
		b.sees("=\r\n")
		found := sttySize.FindAllStringSubmatch(b.output().Text, -1)
		var shown string
		b.do("text", ask{"on": "[data-testid=terminal-size]"}, &shown)
		cols, rows, _ := strings.Cut(strings.TrimSpace(shown), "×")
		if want := rows + " " + cols; len(found) == 0 || found[len(found)-1][1] != want {
			return fmt.Errorf("stty says %v, the page %q", found, want)
		}
		return nil
	})
}

// seqUntilLost prints 1 to 100000. From 20000 on it takes its time until somebody says that the socket is lost: however fast the machine
// is, that happens in the middle.
const seqUntilLost = `clear; echo; seq 1 20000; n=20001; while [ ! -e lost ] && [ $n -le 90000 ]; do seq $n $((n+199)); n=$((n+200)); sleep .05; done; ` +
	`seq $n 100000; echo all-of-it-$((40+2))`

// seqSurvivesLostSocket loses the browser's socket in the middle of a hundred thousand lines.
func (r *rig) seqSurvivesLostSocket(b *browser) {
	r.t.Helper()
	b.do("size", ask{"width": 1280, "height": 800}, nil)
	sockets := b.output().Attached
	b.run(seqUntilLost)
	eventually(r.t, patience, "in the middle of seq", func() error {
		if !strings.Contains(b.output().Text, "\r\n20000\r\n") {
			return errNotYet
		}
		return nil
	})
	mend := r.cutBrowser()
	eventually(r.t, patience, "the socket lost", func() error {
		if b.count("[data-testid=terminal][data-link=open]") > 0 {
			return errNotYet
		}
		return nil
	})
	r.device.sh("touch /home/ada/lost")
	mend()
	b.sees("all-of-it-42")
	o := b.output()
	if o.Attached == sockets {
		r.t.Error("the socket was never lost: the test proved nothing")
	}
	if o.Gaps > 0 || o.Again > 0 {
		r.t.Errorf("after the lost socket: %d gaps in the output, %d bytes sent again", o.Gaps, o.Again)
	}
	inOrder(r.t, "what the hub sent", o.Text)
	inOrder(r.t, "the terminal", b.drawn("all-of-it-42"))
	b.click("[data-testid=terminal]")
}

// drawn is everything that the terminal holds, once it has drawn text: it may be behind what the hub has sent.
func (b *browser) drawn(text string) (screen string) {
	b.t.Helper()
	eventually(b.t, patience, fmt.Sprintf("drawn %q", text), func() error {
		b.do("screen", nil, &screen)
		if !strings.Contains(screen, text) {
			return fmt.Errorf("the terminal ends with %q", screen[max(0, len(screen)-60):])
		}
		return nil
	})
	return screen
}

var line = regexp.MustCompile(`(?m)^\d+\r?$`)

// inOrder checks that text holds the lines 1 to 100000, each once.
func inOrder(t testing.TB, where, text string) {
	t.Helper()
	numbers := line.FindAllString(text, -1)
	for i, n := range numbers {
		if strings.TrimSuffix(n, "\r") != fmt.Sprint(i+1) {
			t.Errorf("%s: line %d of seq is %q, among %q", where, i+1, n, numbers[max(0, i-2):min(len(numbers), i+3)])
			return
		}
	}
	if len(numbers) != 100000 {
		t.Errorf("%s has %d lines of seq, want 100000", where, len(numbers))
	}
}

// outageAndRestart cuts the device's cable and restarts the hub, both while a shell talks and a copy runs.
func (r *rig) outageAndRestart(b *browser) {
	r.t.Helper()
	const megabytes = 200 // more than the test lasts seconds
	got := filepath.Join(r.dir, "got")
	want := r.device.sh(fmt.Sprintf("head -c %dM /dev/urandom | tee /home/ada/file | b2sum; chown ada /home/ada/file", megabytes))
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	to, err := os.Create(got)
	if err != nil {
		r.t.Fatal(err)
	}
	defer to.Close()
	slow := &paced{to: to, hurry: make(chan struct{})} // so that the copy outlasts the outage and the restart
	cp := r.openssh(ctx, "ssh", login+"@kitchen.adit", "cat file")
	var problem strings.Builder
	cp.Stdout, cp.Stderr = slow, &problem
	copied := start(r.t, cp.Cmd)
	b.run("clear; echo; for i in $(seq 1 10000); do echo tick $i; sleep 0.2; done")
	b.sees("tick 5\r\n")
	r.grows(got)
	list := openList(b)

	r.cut()
	since := time.Now()
	promised(r.t, noticedWithin, "the cut cable noticed", r.online("kitchen", false))
	list.shows("offline", offlineSettles+shownWithin)
	passes(time.Until(since.Add(outage)))
	r.heal()
	promised(r.t, noticedWithin, "kitchen back after the outage", r.online("kitchen", true))
	list.shows("online", shownWithin)
	r.ticks(b)
	r.grows(got)

	r.stopHub("TERM")
	r.startHub()
	promised(r.t, noticedWithin, "kitchen back after the hub's restart", r.online("kitchen", true))
	list.shows("online", noticedWithin) // after the page has found the hub again
	r.ticks(b)
	r.grows(got)

	close(slow.hurry)
	if err := <-copied; err != nil {
		r.t.Fatalf("the copy: %v\n%s", err, &problem)
	}
	if have := r.host.sh("b2sum <" + got); have != want {
		r.t.Error("the copied file differs")
	}
	r.ticks(b)
	b.do("press", ask{"key": "Control+C"}, nil)
}

// paced writes a megabyte a second, until it is to hurry.
type paced struct {
	to    io.Writer
	hurry chan struct{}
}

func (p *paced) Write(data []byte) (int, error) {
	select {
	case <-p.hurry:
	case <-time.After(time.Duration(len(data)) * time.Second / 1e6):
	}
	return p.to.Write(data)
}

// A list is the page of devices in a tab of its own.
type list struct {
	b      *browser
	loaded float64 // when the page was, in its own time
}

func openList(b *browser) *list {
	b.t.Helper()
	l := &list{b: b}
	b.tab("list")
	b.open(hubURL + "/app/")
	b.wait("[data-testid=device-row][data-device=kitchen][data-status=online]", "")
	b.evaluate("performance.timeOrigin", &l.loaded)
	b.tab("")
	return l
}

// shows waits until the device's row has the status, on a page that nobody loads again.
func (l *list) shows(status string, within time.Duration) {
	l.b.t.Helper()
	l.b.tab("list")
	defer l.b.tab("")
	promised(l.b.t, within, "kitchen "+status+" in the list", func() error {
		var row struct {
			Status string
			Loaded float64
		}
		l.b.evaluate("({ status: document.querySelector('[data-device=kitchen]').dataset.status, loaded: performance.timeOrigin })", &row)
		if row.Loaded != l.loaded {
			l.b.t.Fatal("the list was loaded again")
		}
		if row.Status != status {
			return fmt.Errorf("its row says %s", row.Status)
		}
		return nil
	})
}

var tick = regexp.MustCompile(`(?m)^tick (\d+)\r$`)

// ticks checks that the shell's clock goes on, and that none was missed or doubled.
func (r *rig) ticks(b *browser) {
	r.t.Helper()
	before := len(tick.FindAllString(b.output().Text, -1))
	eventually(r.t, patience, "the shell talks on", func() error {
		found := tick.FindAllStringSubmatch(b.output().Text, -1)
		for i, n := range found {
			if n[1] != fmt.Sprint(i+1) {
				return fmt.Errorf("tick %d says %s", i+1, n[1])
			}
		}
		if len(found) < before+10 {
			return fmt.Errorf("%d ticks, then none", len(found))
		}
		return nil
	})
}

// grows waits until the copy has moved on.
func (r *rig) grows(path string) {
	r.t.Helper()
	size := func() int64 {
		info, err := os.Stat(path)
		if err != nil {
			return 0
		}
		return info.Size()
	}
	before := size()
	eventually(r.t, patience, "the copy moves on", func() error {
		if now := size(); now <= before+1<<20 {
			return fmt.Errorf("%d bytes, then %d", before, now)
		}
		return nil
	})
}
