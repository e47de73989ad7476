package sshserver

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestShadow(t *testing.T) {
	t.Parallel()
	today := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) // day 20779
	for _, c := range []struct {
		line, says string
	}{
		{"pi:$6$salt$hash:20000:0:99999:7:::", ""},
		{"pi:*:20000:0:99999:7:::", ""},
		{"pi:!:20000:0:99999:7:::", ""},
		{"pi:!!:20000:0:99999:7:::", ""},
		{"pi::20000:0:99999:7:::", ""},
		{"pi:!$6$salt$hash:20000:0:99999:7:::", "locked"},
		{"pi:!*:20000:0:99999:7:::", "locked"},
		{"pi:*:20000:0:99999:7::20779:", "expired"},
		{"pi:*:20000:0:99999:7::20780:", ""},
		{"pi:*:20000:0:99999:7::1:", "expired"},
		{"short:line", ""},
	} {
		err := checkShadow(strings.Split(c.line, ":"), "pi", today)
		if (err != nil) != (c.says != "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", c.line, err, c.says)
		}
	}
}

func TestShellsThatAdmitNobody(t *testing.T) {
	t.Parallel()
	for shell, ok := range map[string]bool{
		"/usr/sbin/nologin": false, "/sbin/nologin": false, "/bin/false": false, "/usr/bin/false": false, "/bin/sh": true,
	} {
		a := account{name: "nosuchaccount", shell: shell}
		if err := a.mayLogIn(time.Now()); (err == nil) != ok {
			t.Errorf("%s: %v", shell, err)
		}
	}
}

func TestSystemEnvironment(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "environment")
	text := "# comment\nPATH=\"/opt/bin:/bin\"\nexport LANG=C.UTF-8\nnot a setting\n=x\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got := systemEnvironment(file, "PATH=/bin")
	if want := []string{"PATH=/bin", "PATH=/opt/bin:/bin", "LANG=C.UTF-8"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Nothing of root may stay with a program of another account: user, group, further groups.
func TestPrivilegesAreDropped(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Log("without root there is nothing to drop: the agent then serves its own account only")
		if _, err := lookup("root"); err == nil {
			t.Error("root's account was given to a plain user")
		}
		return
	}
	a := account{name: "nobody", uid: 65534, gid: 65534, groups: []uint32{65534, 4}}
	cmd := exec.Command("id")
	cmd.SysProcAttr = a.attributes()
	cmd.Env = []string{"PATH=/usr/bin:/bin"}
	out, err := cmd.CombinedOutput()
	if want := "uid=65534(nobody) gid=65534(nogroup) groups=65534(nogroup),4(adm)\n"; err != nil || string(out) != want {
		t.Errorf("%v %s", err, out)
	}
}

func TestHomesThatAreClosed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if reachable(dir, account{uid: 12345, gid: 12345}) {
		t.Error("a closed directory of another account counts as reachable")
	}
	if !reachable(dir, account{uid: uint32(os.Getuid())}) || reachable(filepath.Join(dir, "absent"), account{}) {
		t.Error("the own directory is reachable, an absent one is not")
	}
}
