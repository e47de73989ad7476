package dist

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// onOpenWrt makes m a router with that much room (KiB) in flash, and gives the script as it is for a system that lies
// below m's HOME.
func (m *machine) onOpenWrt(script, room string) string {
	m.t.Helper()
	for _, dir := range []string{"etc", "usr/bin", "tmp"} {
		if err := os.MkdirAll(filepath.Join(m.home, dir), 0o755); err != nil {
			m.t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(m.home, "etc/openwrt_release"), nil, 0o600); err != nil {
		m.t.Fatal(err)
	}
	_ = os.Remove(filepath.Join(m.bin, "id"))
	m.program("id", "echo 0")
	m.program("df", `echo "Filesystem 1024-blocks Used Available Capacity Mounted on"; echo "overlayfs:/overlay 14000 9 `+room+` 1% /"`)
	below := strings.NewReplacer("/etc/openwrt_release", m.home+"/etc/openwrt_release", "/etc/adit", m.home+"/etc/adit",
		"/usr/bin", m.home+"/usr/bin", "/tmp/adit", m.home+"/tmp/adit")
	return below.Replace(script)
}

// Where flash is short the program goes into RAM, and the service learns what to fetch after a boot.
func TestOpenWrtWithLittleFlash(t *testing.T) {
	t.Parallel()
	s := newSite(t, "linux-amd64")
	script, err := s.Script(s.hub, "")
	if err != nil {
		t.Fatal(err)
	}
	f, err := s.Open("adit-linux-amd64.gz")
	if err != nil {
		t.Fatal(err)
	}
	fetch := " --fetch " + s.hub.URL + "/dl/adit-linux-amd64.gz --sha256 " + f.SHA256
	for name, shell := range shells {
		for _, c := range []struct{ room, where, looks, service string }{
			{"11263", "tmp/adit/adit", "goes into RAM", "agent install-service" + fetch + "\n"},
			{"11264", "usr/bin/adit", "flash: the program goes there", "agent install-service\n"},
			{"-", "usr/bin/adit", "flash: the program goes there", "agent install-service\n"},
		} {
			m := newMachine(t, append(basics, "curl")...)
			script := m.onOpenWrt(script, c.room)
			if out, err := m.run(shell, script, nil, "--check"); err != nil || !strings.Contains(out, c.looks) {
				t.Errorf("%s with %s KiB: %v\n%s", name, c.room, err, out)
			}
			out, err := m.run(shell, script, []string{"ADIT_CODE=" + testCode})
			if err != nil {
				t.Fatalf("%s with %s KiB: %v\n%s", name, c.room, err, out)
			}
			if calls := m.calls(); !strings.HasSuffix(calls, c.service) || !strings.Contains(calls, "--installed HOME/"+c.where) {
				t.Errorf("%s with %s KiB:\n%s", name, c.room, calls)
			}
			if diff := cmp.Diff([]string{"etc/openwrt_release", c.where}, m.files()); diff != "" {
				t.Errorf("%s with %s KiB: files (-want +got):\n%s", name, c.room, diff)
			}
		}
	}
}

// After the hub's upgrade a rebooted router has no program: renewing it needs only the record. What was installed in RAM
// stays there, what was in flash stays in flash, and --bin-dir moves it.
func TestOpenWrtUpgrade(t *testing.T) {
	t.Parallel()
	s := newSite(t, "linux-amd64")
	script, err := s.Script(s.hub, "")
	if err != nil {
		t.Fatal(err)
	}
	for name, shell := range shells {
		for _, c := range []struct{ there, room, where string }{
			{"etc/adit/fetch", "90000", "tmp/adit/adit"},
			{"usr/bin/adit", "100", "usr/bin/adit"},
		} {
			m := newMachine(t, append(basics, "curl")...)
			script := m.onOpenWrt(script, c.room)
			if out, err := m.run(shell, script, nil, "--upgrade"); err == nil || !strings.Contains(out, "to renew") {
				t.Errorf("%s: nothing there: %v\n%s", name, err, out)
			}
			_ = m.calls()
			there := filepath.Join(m.home, c.there)
			if err := os.MkdirAll(filepath.Dir(there), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(there, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := m.run(shell, script, nil, "--upgrade"); err != nil {
				t.Fatalf("%s: %v\n%s", name, err, out)
			}
			inRAM := strings.HasPrefix(c.where, "tmp/")
			if calls := m.calls(); strings.Contains(calls, "--fetch") != inRAM {
				t.Errorf("%s with %s: %s", name, c.there, calls)
			}
			if data, err := os.ReadFile(filepath.Join(m.home, c.where)); err != nil || string(data) != fakeProgram {
				t.Errorf("%s with %s: %v", name, c.there, err)
			}
			if out, err := m.run(shell, script, []string{"ADIT_CODE=" + testCode}, "--bin-dir", m.home+"/usr/bin"); err != nil || strings.Contains(m.calls(), "--fetch") {
				t.Errorf("%s moved to flash: %v\n%s", name, err, out)
			}
		}
	}
}
