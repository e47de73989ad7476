package dist

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/creack/pty"
	"github.com/google/go-cmp/cmp"

	"github.com/aditdev/adit/internal/sshdtest"
)

const testCode = "abcdefghijklmnopqrstuvwx23"

// shells are the smallest shells that devices have.
var shells = map[string][]string{"dash": {"dash"}, "ash": {"busybox", "ash"}}

// fakeProgram stands for adit: it writes down how it was called and what came on stdin. The script must work with
// whatever program the hub hands out; the real one has its own tests.
const fakeProgram = `#!/bin/sh
case "$*" in
*enroll*) printf 'stdin %s\n' "$(cat)" >>"$ADIT_TEST_LOG" ;;
esac
printf '%s\n' "$*" | sed "s|$HOME|HOME|g; s|[.]adit[.]new[.][0-9]*|NEW|" >>"$ADIT_TEST_LOG"
env | grep -v ^ADIT_TEST_CODE= | grep -q "$ADIT_TEST_CODE" && echo "the code is in the environment" >>"$ADIT_TEST_LOG"
[ ! -e "$HOME/refuse-$2" ]
`

// site is a hub's part of the installation: the script and the program, over real HTTP.
type site struct {
	*Dist
	hub Hub

	mu    sync.Mutex
	paths []string
}

func newSite(t *testing.T, targets ...string) *site {
	t.Helper()
	s := &site{Dist: From(programs(t, targets...))}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.hub = Hub{URL: server.URL, Key: "SHA256:" + strings.Repeat("x", 43)}
	return s
}

func programs(t *testing.T, targets ...string) fstest.MapFS {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(fakeProgram))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	fs := fstest.MapFS{}
	for _, target := range targets {
		fs["adit-"+target+".gz"] = &fstest.MapFile{Data: b.Bytes()}
	}
	return fs
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.paths = append(s.paths, r.URL.RequestURI())
	s.mu.Unlock()
	if name, ok := strings.CutPrefix(r.URL.Path, "/dl/"); ok {
		f, err := s.Open(name)
		if err != nil {
			http.NotFound(w, r)
			return
		}
		http.ServeContent(w, r, "", time.Time{}, f)
		return
	}
	if r.URL.Path == "/i" {
		script, _ := s.Script(s.hub, "")
		_, _ = w.Write([]byte(script))
	}
}

// machine is a place to install into: a HOME and a PATH with only the tools named.
type machine struct {
	t    *testing.T
	home string
	bin  string
	log  string
}

func newMachine(t *testing.T, tools ...string) *machine {
	t.Helper()
	m := &machine{t: t, home: t.TempDir(), bin: t.TempDir()}
	m.log = filepath.Join(m.home, "log")
	for _, tool := range tools {
		m.link(tool)
	}
	return m
}

var basics = []string{"uname", "gunzip", "gzip", "id", "mkdir", "rm", "mv", "cp", "chmod", "cat", "head", "tail", "dirname",
	"sed", "env", "grep", "sh", "sha256sum", "mktemp"}

func (m *machine) link(tool string) {
	m.t.Helper()
	sshdtest.NeedTools(m.t, tool)
	path, err := exec.LookPath(tool)
	if err != nil {
		m.t.Fatal(err)
	}
	if err := os.Symlink(path, filepath.Join(m.bin, tool)); err != nil {
		m.t.Fatal(err)
	}
}

// program puts a small script on the machine's PATH.
func (m *machine) program(name, text string) {
	m.t.Helper()
	if err := os.WriteFile(filepath.Join(m.bin, name), []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
		m.t.Fatal(err)
	}
}

// run feeds script to a shell as `curl | sh` does, without a terminal.
func (m *machine) run(shell []string, script string, env []string, args ...string) (string, error) {
	m.t.Helper()
	argv := append(append([]string{}, shell...), "-s", "--")
	return m.exec(script, env, append(argv, args...)...)
}

func (m *machine) exec(stdin string, env []string, argv ...string) (string, error) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), 3*patience)
	defer cancel()
	sshdtest.NeedTools(m.t, argv[0])
	path, err := exec.LookPath(argv[0])
	if err != nil {
		m.t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, path, argv[1:]...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Dir = m.home
	cmd.Env = append([]string{
		"PATH=" + m.bin, "HOME=" + m.home, "TMPDIR=" + m.home, "ADIT_TEST_LOG=" + m.log, "ADIT_TEST_CODE=" + testCode,
	}, env...)
	cmd.SysProcAttr = newSession()
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// calls is what the fake program wrote down.
func (m *machine) calls() string {
	data, _ := os.ReadFile(m.log)
	_ = os.Remove(m.log)
	return string(data)
}

// files lists what is below HOME.
func (m *machine) files() []string {
	var out []string
	_ = filepath.WalkDir(m.home, func(path string, d os.DirEntry, _ error) error {
		if !d.IsDir() {
			rel, _ := filepath.Rel(m.home, path)
			out = append(out, rel)
		}
		return nil
	})
	return out
}

func TestInstallsForAUser(t *testing.T) {
	t.Parallel()
	s := newSite(t, "linux-amd64", "linux-arm64")
	script, err := s.Script(s.hub, "")
	if err != nil {
		t.Fatal(err)
	}
	for name, shell := range shells {
		for _, fetcher := range []string{"curl", "wget"} {
			m := newMachine(t, append(basics, fetcher)...)
			out, err := m.run(shell, script, []string{"ADIT_CODE=" + testCode, "ADIT_HUB_KEY=" + s.hub.Key, "ADIT_ALLOW=10.0.0.2:80"}, "--user")
			if err != nil {
				t.Fatalf("%s with %s: %v\n%s", name, fetcher, err, out)
			}
			want := "version\nstdin " + testCode + "\nagent enroll --hub " + s.hub.URL +
				" --code-stdin --installed HOME/.local/bin/adit --hub-key " + s.hub.Key + " --allow 10.0.0.2:80\nagent install-service\n"
			if diff := cmp.Diff(want, m.calls()); diff != "" {
				t.Errorf("%s with %s (-want +got):\n%s", name, fetcher, diff)
			}
			if diff := cmp.Diff([]string{".local/bin/adit"}, m.files()); diff != "" {
				t.Errorf("%s with %s: files (-want +got):\n%s", name, fetcher, diff)
			}
		}
	}
	sum := sha256.Sum256([]byte(testCode))
	if p := s.paths[0]; p != "/dl/adit-linux-amd64.gz?for="+hex.EncodeToString(sum[:]) {
		t.Errorf("fetched %s", p)
	}
}

// Another user of the machine can lay every name that a process number gives; that must not stop the installation.
// Where there is no mktemp, such a name is used, but never one that exists.
func TestWorksInADirectoryOfItsOwn(t *testing.T) {
	t.Parallel()
	s := newSite(t, "linux-amd64")
	script, err := s.Script(s.hub, "")
	if err != nil {
		t.Fatal(err)
	}
	for name, shell := range shells {
		for _, c := range []struct {
			laid, mktemp, installs bool
		}{{true, true, true}, {true, false, false}, {false, false, true}} {
			m := newMachine(t, append(basics, "curl", "busybox", "dash")...)
			if !c.mktemp {
				_ = os.Remove(filepath.Join(m.bin, "mktemp"))
			}
			line := "exec " + strings.Join(shell, " ") + " -s -- --user"
			if c.laid {
				line = "mkdir $TMPDIR/adit-install.$$ && " + line
			}
			out, err := m.exec(script, []string{"ADIT_CODE=" + testCode}, "dash", "-c", line)
			if (err == nil) != c.installs || !c.installs && !strings.Contains(out, "cannot make a directory") {
				t.Errorf("%s %+v: %v\n%s", name, c, err, out)
			}
			left, _ := filepath.Glob(filepath.Join(m.home, "adit-install.*"))
			if (len(left) != 0) != c.laid {
				t.Errorf("%s %+v: left behind %v", name, c, left)
			}
		}
	}
}

func TestScriptWithCodeInsideSaysSo(t *testing.T) {
	t.Parallel()
	s := newSite(t, "linux-amd64")
	script, err := s.Script(s.hub, testCode)
	if err != nil {
		t.Fatal(err)
	}
	m := newMachine(t, append(basics, "curl")...)
	if out, err := m.run(shells["dash"], script, nil, "--user"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if calls := m.calls(); !strings.Contains(calls, "stdin "+testCode) || !strings.Contains(calls, "--short") {
		t.Error(calls)
	}
}

func TestUpgradeKeepsTheRegistration(t *testing.T) {
	t.Parallel()
	s := newSite(t, "linux-amd64")
	script, err := s.Script(s.hub, "")
	if err != nil {
		t.Fatal(err)
	}
	m := newMachine(t, append(basics, "curl")...)
	if out, err := m.run(shells["dash"], script, nil, "--user", "--upgrade"); err == nil || !strings.Contains(out, "to renew") || len(m.files()) > 1 {
		t.Errorf("without a program: %v %s %v", err, out, m.files())
	}
	if out, err := m.run(shells["dash"], script, []string{"ADIT_CODE=" + testCode}, "--user"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	_ = m.calls()
	if out, err := m.run(shells["dash"], script, nil, "--user", "--upgrade"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if diff := cmp.Diff("version\nagent install-service\n", m.calls()); diff != "" {
		t.Error(diff)
	}
}

// Who is not root is asked on the terminal, since stdin is the script; the code still goes by stdin only.
func TestOffersSudo(t *testing.T) {
	t.Parallel()
	s := newSite(t, "linux-amd64")
	script, err := s.Script(s.hub, "")
	if err != nil {
		t.Fatal(err)
	}
	for answer, where := range map[string]string{"y": "system", "": "system", "n": ".local/bin"} {
		m := newMachine(t, append(basics, "curl")...)
		_ = os.Remove(filepath.Join(m.bin, "id"))
		m.program("id", `case $1 in -u) echo 1000 ;; -un) echo pi ;; esac`)
		m.program("sudo", `echo "sudo $1" >>"$HOME/sudo"; exec "$@"`)
		file := filepath.Join(m.home, "script")
		if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
			t.Fatal(err)
		}
		line := "cat script | ADIT_CODE=" + testCode + " dash -s --"
		if where == "system" {
			line += " --bin-dir " + m.home + "/system"
		}
		m.link("dash")
		out, err := m.onTerminal(line, answer+"\n")
		if err != nil {
			t.Fatalf("%q: %v\n%s", answer, err, out)
		}
		if !strings.Contains(out, "with sudo (otherwise for pi only)? [Y/n]") {
			t.Errorf("%q: never asked:\n%s", answer, out)
		}
		if _, err := os.Stat(filepath.Join(m.home, where, "adit")); err != nil {
			t.Errorf("%q: %v\n%s", answer, err, out)
		}
		_, err = os.Stat(filepath.Join(m.home, "sudo"))
		if asked := err == nil; asked != (where == "system") {
			t.Errorf("%q: sudo used: %v", answer, asked)
		}
		if calls := m.calls(); !strings.Contains(calls, "stdin "+testCode) || strings.Contains(calls, "environment") {
			t.Errorf("%q: %s", answer, calls)
		}
	}
}

// onTerminal runs line with a terminal of its own, on which answer is typed.
func (m *machine) onTerminal(line, answer string) (string, error) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), 3*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "dash", "-c", line)
	cmd.Dir = m.home
	cmd.Env = []string{"PATH=" + m.bin, "HOME=" + m.home, "TMPDIR=" + m.home, "ADIT_TEST_LOG=" + m.log, "ADIT_TEST_CODE=" + testCode}
	tty, err := pty.Start(cmd)
	if err != nil {
		m.t.Fatal(err)
	}
	defer func() { _ = tty.Close() }()
	if _, err := tty.WriteString(answer); err != nil {
		m.t.Fatal(err)
	}
	out, _ := io.ReadAll(tty) // ends in EIO when the terminal's last user has gone
	return string(out), cmd.Wait()
}

// A download that was cut anywhere must do nothing, whatever the shell.
func TestScriptCutAtEveryByteDoesNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, "linux-amd64")
	script, err := s.Script(s.hub, testCode)
	if err != nil {
		t.Fatal(err)
	}
	whole := strings.TrimRight(script, "\n")
	for name, shell := range shells {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t, append(basics, "curl", "touch")...)
			// Any command at all that ran would be seen: whatever the script can call leaves a trace here.
			for _, tool := range append(basics, "curl") {
				_ = os.Remove(filepath.Join(m.bin, tool))
				m.program(tool, `echo "$0 $*" >>"$ADIT_TEST_LOG"`)
			}
			for n := range len(whole) {
				_, _ = m.run(shell, whole[:n], nil)
				if calls := m.calls(); calls != "" {
					t.Fatalf("cut after %d of %d bytes it ran:\n%s", n, len(whole), calls)
				}
			}
			if _, _ = m.run(shell, whole, nil); m.calls() == "" {
				t.Error("the whole script ran nothing either, so this test proves nothing")
			}
		})
	}
}

// Whatever would stop the installation half-way is refused with the way out, and nothing is left behind.
// Long because it is a table.
func TestRefusals(t *testing.T) {
	t.Parallel()
	without := func(tool string) []string {
		var out []string
		for _, b := range basics {
			if b != tool {
				out = append(out, b)
			}
		}
		return out
	}
	uname := func(sys, hardware string) func(*machine) {
		return func(m *machine) {
			_ = os.Remove(filepath.Join(m.bin, "uname"))
			m.program("uname", fmt.Sprintf(`[ "$1" = -s ] && echo %s || echo %s`, sys, hardware))
		}
	}
	for _, c := range []struct {
		name    string
		tools   []string
		targets string
		prepare func(*machine)
		https   bool
		env     []string
		args    []string
		says    string
	}{
		{name: "no code", tools: append(basics, "curl"), env: []string{"ADIT_CODE="}, says: "there is no install code"},
		{name: "no curl and no wget", tools: basics, says: "neither curl nor wget is here"},
		{name: "no gunzip", tools: append(without("gunzip"), "curl"), says: "gunzip is not here"},
		{name: "no hash tool", tools: append(without("sha256sum"), "curl"), says: "none of sha256sum, shasum and openssl"},
		{name: "unknown architecture", tools: append(basics, "curl"), prepare: uname("Linux", "sparc64"), says: "not made for Linux on sparc64"},
		{name: "unknown system", tools: append(basics, "curl"), prepare: uname("Plan9", "x86_64"), says: "not made for Plan9"},
		{name: "absent target", tools: append(basics, "curl"), prepare: uname("Linux", "riscv64"), says: "no adit for linux-riscv64. Its operator adds it by this, and starts the hub again: make internal/dist/files/adit-linux-riscv64.gz bin/adit-hub"},
		{name: "unknown option", tools: append(basics, "curl"), args: []string{"--chek"}, says: "--chek is unknown"},
		{name: "place is a file", tools: append(basics, "curl"), args: []string{"--bin-dir", "/dev/null/bin"}, says: "cannot make /dev/null/bin"},
		{name: "place is read-only", tools: append(basics, "curl"), args: []string{"--bin-dir", "/proc"}, says: "cannot write into /proc"},
		{name: "hub refuses", tools: append(basics, "curl"), prepare: func(m *machine) {
			_ = os.WriteFile(filepath.Join(m.home, "refuse-enroll"), nil, 0o600)
		}, says: "was not registered, and nothing was installed"},
		{name: "BusyBox wget", tools: basics, https: true, prepare: func(m *machine) {
			m.program("wget", `echo "BusyBox v1.35.0 multi-call binary" >&2`)
		}, says: "does not check whom it talks to"},
		{name: "wrong hash", tools: append(basics, "curl"), prepare: func(m *machine) {
			_ = os.Remove(filepath.Join(m.bin, "curl"))
			m.program("curl", `while [ "$1" != -o ]; do shift; done; echo changed >"$2"`)
		}, says: "hash differs"},
	} {
		for name, shell := range shells {
			t.Run(c.name+" "+name, func(t *testing.T) {
				t.Parallel()
				s := newSite(t, "linux-amd64")
				if c.https {
					s.hub.URL = "https://hub.example"
				}
				script, err := s.Script(s.hub, "")
				if err != nil {
					t.Fatal(err)
				}
				m := newMachine(t, c.tools...)
				if c.prepare != nil {
					c.prepare(m)
				}
				before := m.files()
				args := c.args
				if len(args) == 0 {
					args = []string{"--user"}
				}
				out, err := m.run(shell, script, append([]string{"ADIT_CODE=" + testCode}, c.env...), args...)
				if err == nil || !strings.Contains(out, c.says) {
					t.Errorf("error %v, want %q in:\n%s", err, c.says, out)
				}
				_ = m.calls()
				if diff := cmp.Diff(before, m.files()); diff != "" {
					t.Errorf("left behind (-before +after):\n%s", diff)
				}
			})
		}
	}
}

func TestCheckOnlyLooks(t *testing.T) {
	t.Parallel()
	s := newSite(t, "linux-amd64")
	script, err := s.Script(s.hub, "")
	if err != nil {
		t.Fatal(err)
	}
	for name, shell := range shells {
		m := newMachine(t, append(basics, "curl")...)
		out, err := m.run(shell, script, nil, "--check")
		if err != nil || !strings.Contains(out, "All is here.") || !strings.Contains(out, "ok       hub: "+s.hub.URL) {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		bare := newMachine(t, "uname", "id", "dirname", "wget")
		bare.program("apk", "")
		out, err = bare.run(shell, strings.ReplaceAll(script, s.hub.URL, "http://127.0.0.1:1"), nil, "--check")
		for _, says := range []string{
			"missing  unpack; install it with: apk add gunzip", "missing  compare hashes",
			"hub: http://127.0.0.1:1 cannot be reached", "Something is missing",
		} {
			if err == nil || !strings.Contains(out, says) {
				t.Errorf("%s: error %v, want %q in:\n%s", name, err, says, out)
			}
		}
		if len(m.files())+len(bare.files()) != 0 {
			t.Errorf("%s: changed %v %v", name, m.files(), bare.files())
		}
	}
}

// The page's line for wget compares the script's hash and says so; then a wget that checks no certificates will do.
func TestBusyBoxWgetIsFineWithAHash(t *testing.T) {
	t.Parallel()
	s := newSite(t, "linux-amd64")
	script, err := s.Script(s.hub, "")
	if err != nil {
		t.Fatal(err)
	}
	m := newMachine(t, basics...)
	m.program("wget", `exec busybox wget "$@"`)
	m.link("busybox")
	out, err := m.run(shells["dash"], script, []string{"ADIT_CODE=" + testCode, "ADIT_SHA256=compared"}, "--user")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if calls := m.calls(); !strings.Contains(calls, "stdin "+testCode) {
		t.Error(calls)
	}
}

// Whatever the hub's settings hold reaches the script as a plain word.
func TestScriptQuotesWhatItIsGiven(t *testing.T) {
	t.Parallel()
	s := newSite(t, "linux-amd64")
	script, err := s.Script(Hub{URL: "http://127.0.0.1:1/a'$(touch x)", Key: s.hub.Key}, "")
	if err != nil {
		t.Fatal(err)
	}
	m := newMachine(t, append(basics, "curl")...)
	out, _ := m.run(shells["dash"], script, nil, "--check")
	if !strings.Contains(out, "hub: http://127.0.0.1:1/a'$(touch x) cannot be reached") || len(m.files()) != 0 {
		t.Errorf("%s%v", out, m.files())
	}
}

func TestOpenKnowsOnlyItsFiles(t *testing.T) {
	t.Parallel()
	d := From(fstest.MapFS{"adit-linux-amd64.gz": &fstest.MapFile{Data: []byte("x")}, "secret": &fstest.MapFile{}})
	if _, err := d.Open("adit-linux-amd64.gz"); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"", "secret", "../dist.go", "adit-linux-amd64", "linux-amd64", "adit-linux-arm64.gz"} {
		if _, err := d.Open(name); err == nil {
			t.Errorf("opened %q", name)
		}
	}
	if diff := cmp.Diff([]string{"linux-amd64"}, d.Targets()); diff != "" {
		t.Error(diff)
	}
}

// A router has BusyBox and nothing else.
func TestInstallsWithBusyBoxAlone(t *testing.T) {
	t.Parallel()
	s := newSite(t, "linux-amd64")
	script, err := s.Script(s.hub, "")
	if err != nil {
		t.Fatal(err)
	}
	m := newMachine(t, "busybox")
	for _, applet := range append(basics, "wget") {
		if err := os.Symlink("busybox", filepath.Join(m.bin, applet)); err != nil {
			t.Fatal(err)
		}
	}
	out, err := m.run(shells["ash"], script, []string{"ADIT_CODE=" + testCode}, "--user")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if calls := m.calls(); !strings.Contains(calls, "stdin "+testCode) || !strings.HasSuffix(calls, "agent install-service\n") {
		t.Errorf("%s\n%s", calls, out)
	}
	if out, err := m.run(shells["ash"], script, nil, "--check"); err != nil || !strings.Contains(out, "BusyBox wget checks no certificates") {
		t.Errorf("%v\n%s", err, out)
	}
}
