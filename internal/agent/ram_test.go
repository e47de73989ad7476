package agent

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/aditdev/adit/internal/porttest"
	"github.com/aditdev/adit/internal/sshdtest"
)

// router is a machine with little flash: what would lie in / lies below a directory of the test's.
type router struct {
	ram
	t   *testing.T
	bin string // PATH: BusyBox alone, and a sleep that takes no time but counts
}

func newRouter(t *testing.T) router {
	t.Helper()
	sshdtest.NeedTools(t, "busybox", "dash")
	root := t.TempDir()
	r := router{t: t, bin: filepath.Join(root, "bin"), ram: ram{
		dir: filepath.Join(root, "tmp/adit"), launcher: filepath.Join(root, "usr/adit"),
		keep: filepath.Join(root, "lib/upgrade/keep.d/adit"), record: filepath.Join(root, "etc/fetch"),
	}}
	for _, dir := range []string{"bin", "tmp", "usr", "etc"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	for _, applet := range []string{"wget", "sha256sum", "gunzip", "mv", "mkdir", "rm", "chmod", "cat", "id"} {
		if err := os.Symlink(busybox, filepath.Join(r.bin, applet)); err != nil {
			t.Fatal(err)
		}
	}
	sleep := "#!" + busybox + " sh\necho pause \"$1\" >>" + shellWord(r.pauses()) + "\n" + busybox + " sleep 0.02\n"
	if err := os.WriteFile(filepath.Join(r.bin, "sleep"), []byte(sleep), 0o755); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r router) pauses() string { return filepath.Join(r.bin, "pauses") }

// adit runs the launcher until it ends or ctx does.
func (r router) adit(ctx context.Context, shell []string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, shell[0], append(append(shell[1:len(shell):len(shell)], r.launcher), args...)...)
	cmd.Env = []string{"PATH=" + r.bin}
	cmd.WaitDelay = time.Second // a sleep that outlives the launcher
	return cmd
}

// installs settles the router for a program at url, as the install script and `adit agent install-service` do.
func (r router) installs(url string, program []byte) {
	r.t.Helper()
	sum := sha256.Sum256(program)
	if err := r.settle(r.program(), source{hash: hex.EncodeToString(sum[:]), url: url}); err != nil {
		r.t.Fatal(err)
	}
}

func compressed(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, text)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

const speaks = "#!/bin/sh\necho \"this is adit $*\"\n"

func eachShell(t *testing.T, test func(t *testing.T, shell []string)) {
	for name, shell := range map[string][]string{"dash": {"dash"}, "ash": {"busybox", "ash"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, shell)
		})
	}
}

// A boot: first nobody answers, then a download is cut, then another program is served, and in the end the right one.
func TestLauncherFetchesUntilItHasTheProgram(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell []string) {
		r, good := newRouter(t), compressed(t, speaks)
		var served atomic.Int32
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			switch served.Add(1) {
			case 1:
				w.Header().Set("Content-Length", "100000")
				_, _ = w.Write(good[:len(good)/2])
			case 2:
				_, _ = w.Write(compressed(t, "#!/bin/sh\necho evil\n"))
			default:
				_, _ = w.Write(good)
			}
		}))
		_ = server.Listener.Close()
		address := porttest.Address(t) // where nobody answers yet
		r.installs("http://"+address+"/dl/adit-linux-mipsle.gz", good)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		logs := &lineWaiter{want: "trying again", found: func() {
			if l, err := net.Listen("tcp", address); err == nil {
				server.Listener = l
				server.Start()
			}
		}}
		var out, errs bytes.Buffer
		cmd := r.adit(ctx, shell, "agent", "run")
		cmd.Stdout, cmd.Stderr = &out, io.MultiWriter(&errs, onceWriter(logs))
		err := cmd.Run()
		if server.URL != "" {
			server.Close()
		}
		if err != nil || out.String() != "this is adit agent run\n" {
			t.Fatalf("%v %q\n%s", err, out.String(), errs.String())
		}
		for _, says := range []string{"cannot fetch http://", "not run: http://" + address, "curl -fsSL http://" + address + "/i | sh -s -- --upgrade"} {
			if !strings.Contains(errs.String(), says) {
				t.Errorf("want %q in\n%s", says, errs.String())
			}
		}
		pauses, _ := os.ReadFile(r.pauses())
		if !strings.HasPrefix(string(pauses), "pause 2\npause 4\npause 8\n") {
			t.Errorf("pauses: %s", pauses)
		}
		entries, _ := os.ReadDir(r.dir)
		if len(entries) != 1 || entries[0].Name() != "adit" {
			t.Errorf("left in RAM: %v", entries)
		}
		// Started again, as after a crash, it asks nobody.
		if out, err := r.adit(ctx, shell, "agent", "run").Output(); err != nil || string(out) != "this is adit agent run\n" {
			t.Errorf("again: %v %q", err, out)
		}
	})
}

// onceWriter lets w see only the first write that has what it wants.
func onceWriter(w *lineWaiter) io.Writer {
	found, done := w.found, false
	w.found = func() {
		if !done {
			done = true
			found()
		}
	}
	return w
}

// After the hub's upgrade the program is another one: it never runs, and whoever types adit reads why.
func TestLauncherSaysThatTheHubWasUpgraded(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell []string) {
		r := newRouter(t)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(compressed(t, "#!/bin/sh\necho evil\n"))
		}))
		t.Cleanup(server.Close)
		r.installs(server.URL+"/dl/adit-linux-arm64.gz", compressed(t, speaks))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var out bytes.Buffer
		cmd := r.adit(ctx, shell, "agent", "run")
		cmd.Stdout, cmd.Stderr = &out, &lineWaiter{want: "--upgrade", found: cancel}
		if err := cmd.Run(); err == nil || out.Len() != 0 {
			t.Errorf("%v %q", err, out.String())
		}
		said, err := r.adit(t.Context(), shell, "agent", "status").CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 8 || !strings.Contains(string(said), "sh -s -- --upgrade") {
			t.Errorf("status: %v %s", err, said)
		}
	})
}

// What somebody else has laid where the program goes is not run.
func TestLauncherRunsNothingOfOthers(t *testing.T) {
	rootOnly(t)
	eachShell(t, func(t *testing.T, shell []string) {
		r, good := newRouter(t), compressed(t, speaks)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(good) }))
		t.Cleanup(server.Close)
		r.installs(server.URL+"/dl/x.gz", good)
		if err := os.Mkdir(r.dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(r.program(), []byte("#!/bin/sh\necho evil\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(r.dir, 65534, 65534); err != nil {
			t.Fatal(err)
		}
		if out, err := r.adit(t.Context(), shell, "version").Output(); err == nil || len(out) != 0 {
			t.Errorf("%v %s", err, out)
		}
		if out, err := r.adit(t.Context(), shell, "agent", "run").Output(); err != nil || string(out) != "this is adit agent run\n" {
			t.Errorf("%v %s", err, out)
		}
	})
}

func TestSettleInRAMAndBack(t *testing.T) {
	t.Parallel()
	r, hash := newRouter(t).ram, strings.Repeat("ab", 32)
	if err := r.settle("/usr/local/bin/adit", source{}); err != nil || exists(r.keep) {
		t.Errorf("a program in flash: %v", err)
	}
	for _, s := range []source{{}, {hash: "ab", url: "http://h/x"}, {hash: hash, url: "http://h/a b"}, {hash: hash}} {
		if err := r.settle(r.program(), s); err == nil || exists(r.record) {
			t.Errorf("%+v was taken", s)
		}
	}
	if err := r.settle(r.program(), source{hash: hash, url: "http://h/x.gz"}); err != nil {
		t.Fatal(err)
	}
	if err := r.settle(r.program(), source{proxy: "http://p:1"}); err != nil { // install-service by hand
		t.Fatal(err)
	}
	got, err := r.source()
	if diff := cmp.Diff([]string{hash, "http://h/x.gz", "http://p:1"}, []string{got.hash, got.url, got.proxy}); err != nil || diff != "" {
		t.Error(err, diff)
	}
	keep, _ := os.ReadFile(r.keep)
	if want := filepath.Dir(r.record) + "/\n" + r.launcher + "\n/etc/init.d/adit\n"; !strings.HasPrefix(string(keep), want) {
		t.Errorf("kept: %s", keep)
	}
	if err := r.settle("/opt/adit", source{}); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{r.dir, r.record, r.keep, r.launcher} {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
}

func TestWarnsBeforeTheBoot(t *testing.T) {
	t.Parallel()
	p, c, _ := installed(t)
	tag := strings.Repeat("ab", 32)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("ETag", `"`+tag+`"`) }))
	t.Cleanup(server.Close)
	r := ram{record: p.Fetch()}
	for hash, warns := range map[string]bool{tag: false, strings.Repeat("cd", 32): true} {
		if err := os.WriteFile(r.record, []byte(hash+" "+server.URL+"/dl/x.gz\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if says := r.lostAtBoot(t.Context(), p, c); strings.Contains(says, "--upgrade") != warns {
			t.Errorf("%s: %q", hash, says)
		}
	}
}
