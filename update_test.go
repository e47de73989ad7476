package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/aditdev/adit/internal/agent"
	"github.com/aditdev/adit/internal/command"
)

// brokenSource is a program that passes the test of an update, by another's help, and is of no use afterwards.
const brokenSource = `package main

import (
	"os"
	"os/exec"
	"time"
)

func main() {
	if len(os.Args) > 2 && os.Args[2] == "self-test" {
		cmd := exec.Command(%q, os.Args[1:]...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		if cmd.Run() != nil {
			os.Exit(1)
		}
		return
	}
	%s
	_ = time.Hour
}
`

// adits are real builds of adit, and two programs that are none.
type adits struct {
	dir  string
	once sync.Once
	err  error
}

// build makes them all at the first call: v0.0.1, and the version that this test's hub has.
func (b *adits) build() error {
	b.once.Do(func() {
		if b.dir, b.err = os.MkdirTemp("", "adit-update-"); b.err != nil {
			return
		}
		for name, version := range map[string]string{"old": "v0.0.1", "good": command.Version()} {
			b.run("-ldflags", "-X github.com/aditdev/adit/internal/command.version="+version, "-o", b.path(name), "./cmd/adit")
		}
		for name, does := range map[string]string{"crashes": "os.Exit(7)", "hangs": "<-time.After(time.Hour)"} {
			source := filepath.Join(b.dir, name+".go")
			if err := os.WriteFile(source, fmt.Appendf(nil, brokenSource, b.path("good"), does), 0o600); err != nil {
				b.err = err
			}
			b.run("-o", b.path(name), source)
		}
	})
	return b.err
}

func (b *adits) path(name string) string { return filepath.Join(b.dir, name) }

func (b *adits) run(args ...string) {
	cmd := exec.Command("go", append([]string{"build"}, args...)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil && b.err == nil {
		b.err = fmt.Errorf("go build %v: %w\n%s", args, err, out)
	}
}

// packed is a program as the hub hands it out.
func packed(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if _, err := z.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// updating is a hub that hands out a program, and a machine that runs another one under adit's own supervisor.
type updating struct {
	*site
	paths   agent.Paths
	program string // where the machine has it
}

// newUpdating has a hub that hands out the program has, which must be online in that time.
func newUpdating(t *testing.T, b *adits, has string, online time.Duration) *updating {
	t.Helper()
	u := &updating{site: &site{environ: []string{"ADIT_DATA=" + filepath.Join(t.TempDir(), "data")}}}
	name := "adit-" + command.Target() + ".gz"
	u.running = serveProgram(t, program{environ: u.environ, updateWithin: online,
		programs: fstest.MapFS{name: &fstest.MapFile{Data: packed(t, b.path(has))}}}, "--dev")
	u.owner = token(t, u.environ, "owner")
	made := u.code(map[string]any{"name": "kitchen"})
	u.paths = u.enroll(made.code, made.fingerprint)
	u.program = filepath.Join(t.TempDir(), "adit")
	old, err := os.ReadFile(b.path("old"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(u.program, old, 0o755); err != nil {
		t.Fatal(err)
	}
	u.supervise()
	within(t, patience, "online", func() bool { return u.online("kitchen") && u.device().UpdateAvailable })
	return u
}

// supervise keeps the machine's agent up as on a system without a service manager.
func (u *updating) supervise() {
	cmd := exec.Command(u.program, "agent", "supervise", "--foreground", "--dir", u.paths.Dir)
	if err := cmd.Start(); err != nil {
		u.t.Fatal(err)
	}
	u.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		for _, path := range []string{u.program, u.program + ".old"} { // a guard may run still
			within(u.t, patience, "nothing runs "+path, func() bool { return !runs(path) })
		}
	})
}

// runs reports whether a process runs the program at path.
func runs(path string) bool {
	all, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, link := range all {
		if exe, err := os.Readlink(link); err == nil && strings.TrimSuffix(exe, " (deleted)") == path {
			return true
		}
	}
	return false
}

type updatedDevice struct {
	AgentVersion    string `json:"agent_version"`
	Online          bool
	UpdateAvailable bool `json:"update_available"`
	Update          struct{ State, Message, Version string }
}

func (u *updating) device() (d updatedDevice) {
	u.t.Helper()
	u.call(u.owner, "GET", "/api/v1/devices/kitchen", nil, &d)
	return d
}

// begin asks for an update.
func (u *updating) begin() {
	u.t.Helper()
	if status := u.call(u.owner, "POST", "/api/v1/devices/kitchen/update", nil, nil); status != 202 {
		u.t.Fatal(status)
	}
}

// ended waits for its end.
func (u *updating) ended() updatedDevice {
	u.t.Helper()
	within(u.t, 3*patience, "an end", func() bool { s := u.device().Update.State; return s == "done" || s == "failed" })
	within(u.t, patience, "online", func() bool { return u.device().Online })
	return u.device()
}

func (u *updating) has(name string, b *adits) bool {
	u.t.Helper()
	got, err := os.ReadFile(u.program)
	if err != nil {
		u.t.Fatal(err)
	}
	want, err := os.ReadFile(b.path(name))
	if err != nil {
		u.t.Fatal(err)
	}
	return bytes.Equal(got, want)
}

// The device puts the hub's program in the place of its own and comes back with it; a program that crashes or hangs is taken
// back by itself, and the page says so. Both are real builds.
func TestUpdateOfTheAgent(t *testing.T) {
	t.Parallel()
	b := &adits{}
	if err := b.build(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(b.dir) })
	t.Run("good", func(t *testing.T) {
		t.Parallel()
		u := newUpdating(t, b, "good", patience)
		u.begin()
		if d := u.ended(); d.Update.State != "done" || d.AgentVersion != command.Version() || d.UpdateAvailable {
			t.Errorf("%+v", d)
		}
		if !u.has("good", b) {
			t.Error("the program is another one")
		}
		if old, err := exec.Command(u.program+".old", "version", "--json").Output(); err != nil || !strings.Contains(string(old), "v0.0.1") {
			t.Errorf("the old one is not kept: %s %v", old, err)
		}
		within(t, patience, "nothing is left to settle", func() bool {
			left, _ := filepath.Glob(filepath.Join(u.paths.Dir, "update*.json"))
			return len(left) == 0
		})
		if status := u.call(u.owner, "POST", "/api/v1/devices/kitchen/update", nil, nil); status != 409 {
			t.Errorf("again: %d", status)
		}
	})
	for _, broken := range []string{"crashes", "hangs"} {
		t.Run(broken, func(t *testing.T) {
			t.Parallel()
			u := newUpdating(t, b, broken, 5*time.Second)
			u.begin()
			if status := u.call(u.owner, "POST", "/api/v1/devices/kitchen/update", nil, nil); status != 409 {
				t.Errorf("a second one beside it: %d", status)
			}
			d := u.ended()
			if d.Update.State != "failed" || !strings.Contains(d.Update.Message, "went back to v0.0.1") || d.AgentVersion != "v0.0.1" || !d.UpdateAvailable {
				t.Errorf("%+v", d)
			}
			if !u.has("old", b) {
				t.Error("the old program is not back in its place")
			}
		})
	}
}

// What the hub hands out is checked before it is run: a program that fails its test, and one that is not what the signed
// call says, change nothing.
func TestUpdateThatIsNotUsed(t *testing.T) {
	t.Parallel()
	b := &adits{}
	if err := b.build(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(b.dir) })
	u := newUpdating(t, b, "old", patience) // says v0.0.1 where the hub promises its own version
	u.begin()
	if d := u.ended(); d.Update.State != "failed" || !strings.Contains(d.Update.Message, "is v0.0.1 and not") || !u.has("old", b) {
		t.Errorf("%+v", d)
	}
	if exists(u.program+".old") || exists(filepath.Join(filepath.Dir(u.program), ".adit.new")) {
		t.Error("something is left beside the program")
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
