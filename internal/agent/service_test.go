package agent

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aditdev/adit/internal/sshdtest"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestServiceTexts(t *testing.T) {
	t.Parallel()
	system := program{path: "/usr/local/bin/adit"}
	user := program{path: "/home/pi/.local/bin/adit", dir: "/home/pi/my agent's", user: true}
	for name, m := range map[string]manager{
		"systemd": systemd(system), "openrc": openrc(system), "procd": procd(program{path: "/usr/bin/adit"}), "procd-ram": procd(program{path: ramOf(Paths{}).launcher}), "sysvinit": sysvinit(system),
		"launchd": launchdDaemon(system), "systemd-user": systemdUser(user, "/home/pi"), "launchd-agent": launchdAgent(user, "/Users/pi"),
		"openrc-odd": openrc(program{path: "/opt/a dir/adit", dir: "/srv/it's"}),
	} {
		file := filepath.Join("testdata", name+".golden")
		var b strings.Builder
		b.WriteString("file " + m.file + " " + m.mode.String() + "\n")
		for _, step := range []struct {
			name     string
			commands [][]string
		}{{"start", m.start}, {"pause", m.pause}, {"stop", m.stop}} {
			for _, c := range step.commands {
				b.WriteString(step.name + " " + strings.Join(c, " ") + "\n")
			}
		}
		b.WriteString("\n" + m.text)
		if *update {
			if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), b.String()); diff != "" {
			t.Errorf("%s (-want +got), `go test -update` writes it anew:\n%s", name, diff)
		}
	}
}

// What the shells of init systems must be able to read.
func TestInitScriptsParse(t *testing.T) {
	t.Parallel()
	sshdtest.NeedTools(t, "dash", "busybox")
	odd := program{path: "/opt/a dir/adit", dir: "/srv/b c"}
	for name, m := range map[string]manager{"openrc": openrc(odd), "procd": procd(odd), "sysvinit": sysvinit(odd)} {
		for _, shell := range [][]string{{"dash", "-n"}, {"busybox", "ash", "-n"}} {
			cmd := exec.Command(shell[0], shell[1:]...)
			cmd.Stdin = strings.NewReader(m.text)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s with %s: %v %s", name, shell[0], err, out)
			}
		}
	}
	if path, err := exec.LookPath("systemd-analyze"); err == nil {
		file := filepath.Join(t.TempDir(), "adit.service")
		text := strings.Replace(systemdText(program{path: "/bin/true"}, "multi-user.target"), "ExecStart=/bin/true agent run", "ExecStart=/bin/true agent run", 1)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(path, "verify", "--man=no", "--generators=no", file).CombinedOutput(); err != nil || strings.Contains(string(out), "adit.service:") {
			t.Errorf("%v %s", err, out)
		}
	}
}

// The sysvinit script, run for real with a program that writes down how it was called.
func TestSysvinitScriptRuns(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a dir")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	adit := filepath.Join(dir, "adit")
	if err := os.WriteFile(adit, []byte("#!/bin/sh\necho \"$*\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	text := sysvinit(program{path: adit, dir: "/srv/b c"}).text
	for action, want := range map[string]string{
		"start": "agent supervise --dir /srv/b c\n", "stop": "agent supervise --stop --dir /srv/b c\n",
		"restart": "agent supervise --stop --dir /srv/b c\nagent supervise --dir /srv/b c\n", "status": "agent status --dir /srv/b c\n",
	} {
		sshdtest.NeedTools(t, "dash")
		cmd := exec.Command("dash", "-s", "--", action)
		cmd.Stdin = strings.NewReader(text)
		if out, err := cmd.CombinedOutput(); err != nil || string(out) != want {
			t.Errorf("%s: %v %q", action, err, out)
		}
	}
}

func TestManagerChoice(t *testing.T) {
	t.Parallel()
	all := managers(program{path: "/usr/local/bin/adit"}, "")
	for _, runs := range []string{"systemd", "procd", "openrc", "launchd", "sysvinit"} {
		if got := chooseManager(all, func(name string) bool { return name == runs || name == supervisorName }); got.name != runs {
			t.Errorf("chose %s where %s runs", got.name, runs)
		}
	}
	if got := chooseManager(all, func(string) bool { return false }); got.name != supervisorName {
		t.Errorf("chose %s where nothing runs", got.name)
	}
}
