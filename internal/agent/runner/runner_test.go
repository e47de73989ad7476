package runner

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/leaktest"
	"github.com/aditdev/adit/internal/wire"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// memory is a store; broken, it takes nothing.
type memory struct {
	mu     sync.Mutex
	kept   map[string][]byte
	broken bool
}

func (m *memory) Load(id string) ([]byte, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.kept[id]
	return data, ok
}

func (m *memory) Save(id string, data []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken {
		return fs.ErrPermission
	}
	m.kept[id] = data
	return nil
}

func (m *memory) Forget(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.kept, id)
}

func newMemory() *memory { return &memory{kept: map[string][]byte{}} }

// runnerOf has the commands, as the account that runs the tests.
func runnerOf(t *testing.T, store Store, commands ...Command) *Runner {
	t.Helper()
	for i, c := range commands {
		d := DefaultCommand()
		d.Name, d.Argv, d.Parameters, d.User, d.Environment = c.Name, c.Argv, c.Parameters, c.User, c.Environment
		if c.Timeout != "" {
			d.Timeout = c.Timeout
		}
		if d.User == "" && os.Geteuid() == 0 {
			d.User = "root"
		}
		commands[i] = d
	}
	r, err := New(slog.New(slog.NewTextHandler(t.Output(), nil)), true, commands, store)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func shell(name, script string) Command {
	return Command{Name: name, Argv: []string{"/bin/sh", "-c", script}, Timeout: "20s"}
}

func (r *Runner) mustRun(t *testing.T, ask wire.Run) wire.RunResult {
	t.Helper()
	got, err := r.Run(t.Context(), ask)
	if err != nil {
		t.Fatalf("%+v: %v", ask, err)
	}
	return got
}

func TestRun(t *testing.T) {
	t.Parallel()
	r := runnerOf(t, newMemory(), shell("say", "cat; echo out; echo err >&2; exit 3"), shell("die", "kill -9 $$"),
		shell("much", "head -c 100000 /dev/zero; head -c 10 /dev/zero >&2"),
		Command{Name: "env", Argv: []string{"/usr/bin/env"}, Environment: []string{"DOOR=a=b"}})
	got := r.mustRun(t, wire.Run{ID: "1", Command: "say", Stdin: []byte("in\n")})
	if got.ExitCode != 3 || string(got.Stdout) != "in\nout\n" || string(got.Stderr) != "err\n" || got.Cut || got.TimedOut || got.TookMS > 15_000 {
		t.Errorf("%+v", got)
	}
	if got := r.mustRun(t, wire.Run{ID: "2", Command: "die"}); got.ExitCode != 137 {
		t.Errorf("%+v", got)
	}
	got = r.mustRun(t, wire.Run{ID: "3", Command: "much", Stdin: bytes.Repeat([]byte("x"), wire.MaxRunStdin)})
	if len(got.Stdout) != wire.MaxRunOutput || len(got.Stderr) != 10 || !got.Cut {
		t.Errorf("%d, %d bytes, cut %v", len(got.Stdout), len(got.Stderr), got.Cut)
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(r.mustRun(t, wire.Run{ID: "4", Command: "env"}).Stdout)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		names = append(names, name)
		if name == "USER" && value != me.Username || name == "DOOR" && value != "a=b" {
			t.Errorf("%s is %s", name, value)
		}
	}
	slices.Sort(names)
	if want := []string{"DOOR", "HOME", "LANG", "LOGNAME", "PATH", "USER"}; !slices.Equal(names, want) {
		t.Errorf("the environment has %v, want %v", names, want)
	}
}

// A value is part of one argument and nothing else, whatever is in it; and only what its pattern takes gets that far.
func TestValuesStayArguments(t *testing.T) {
	t.Parallel()
	mark := filepath.Join(t.TempDir(), "mark")
	r := runnerOf(t, newMemory(),
		Command{Name: "free", Argv: []string{"/usr/bin/printf", "<%s>", "{a}", "--b={b}", "{{{a}}}", "{c}{b}"}, Parameters: []string{`a=(.|\n)*`, "b=.*", "c=.*"}},
		Command{Name: "door", Argv: []string{"/usr/bin/printf", "<%s>", "--speed={speed}", "{door}"}, Parameters: []string{"door=[a-z0-9-]{1,32}", "speed=[0-9]{1,3}"}},
		Command{Name: "level", Argv: []string{"/usr/bin/printf", "<%s>", "{by}"}, Parameters: []string{"by=-?[0-9]+"}})
	hostile := []string{"; touch " + mark, "$(touch " + mark + ")", "`touch " + mark + "`", "a b", "a\nb", "'", `"`, `\`, "*", "{b}", "%s%n", "| cat", "&& touch " + mark,
		"> " + mark, "é☃", "${IFS}", "~", "#", "!x", "", " -x", "a=b", "\x1b[2J", "../../etc/passwd", "{{", "\u202e"}
	for i, value := range hostile {
		b := strings.ReplaceAll(value, "\n", "")
		got := r.mustRun(t, wire.Run{ID: "free" + strconv.Itoa(i), Command: "free", Arguments: map[string]string{"a": value, "b": b, "c": ""}})
		if want := "<" + value + "><--b=" + b + "><{" + value + "}><" + b + ">"; string(got.Stdout) != want {
			t.Errorf("%q arrived as %q, want %q", value, got.Stdout, want)
		}
		_, err := r.Run(t.Context(), wire.Run{ID: "door" + strconv.Itoa(i), Command: "door", Arguments: map[string]string{"door": value, "speed": "1"}})
		if wire.CodeOf(err) != wire.Invalid || !strings.Contains(err.Error(), "door") {
			t.Errorf("%q is a door: %v", value, err)
		}
	}
	if _, err := os.Stat(mark); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a value was run")
	}
	for name, arguments := range map[string]map[string]string{
		"would be an option": {"door": "-rf", "speed": "1"}, "also": {"door": "--help", "speed": "1"}, "missing": {"door": "a"}, "none": nil,
		"unknown": {"door": "a", "speed": "1", "user": "root"}, "too long": {"door": "a", "speed": "1234"}, "newline at the end": {"door": "a", "speed": "1\n"},
		"NUL": {"door": "a\x00b", "speed": "1"}, "more than a kilobyte": {"door": strings.Repeat("a", 1025), "speed": "1"},
	} {
		if _, err := r.Run(t.Context(), wire.Run{ID: "x", Command: "door", Arguments: arguments}); wire.CodeOf(err) != wire.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i, x := range []struct {
		command string
		values  map[string]string
		takes   bool
	}{
		{"level", map[string]string{"by": "-5"}, true},                      // its pattern says so
		{"free", map[string]string{"a": "-x", "b": "b", "c": "c"}, false},   // one that takes everything does not
		{"free", map[string]string{"a": "a", "b": "-x", "c": ""}, false},    // nor behind something empty
		{"free", map[string]string{"a": "a", "b": "-x", "c": "c"}, true},    // inside of an element it is harmless
		{"door", map[string]string{"door": "d-1-", "speed": "007"}, true},   // within
		{"free", map[string]string{"a": "\x00", "b": "b", "c": "c"}, false}, // no program can be told
	} {
		if _, err := r.Run(t.Context(), wire.Run{ID: "dash" + strconv.Itoa(i), Command: x.command, Arguments: x.values}); (err == nil) != x.takes {
			t.Errorf("%s %v: %v", x.command, x.values, err)
		}
	}
}

func TestRunIsRefused(t *testing.T) {
	t.Parallel()
	store := newMemory()
	r := runnerOf(t, store, shell("a", "true"), shell("b", "true"), Command{Name: "gone", Argv: []string{"/nonexistent/door"}})
	for name, x := range map[string]struct {
		ask  wire.Run
		code wire.Code
		says string
	}{
		"no such command": {wire.Run{ID: "1", Command: "c"}, wire.NotFound, "Those of its agent.toml are a, b, gone."},
		"a path":          {wire.Run{ID: "1", Command: "/bin/sh"}, wire.NotFound, "Those of"},
		"no id":           {wire.Run{Command: "a"}, wire.Invalid, "out of its bounds"},
		"a path as id":    {wire.Run{ID: "../x", Command: "a"}, wire.Invalid, "out of its bounds"},
		"much input":      {wire.Run{ID: "1", Command: "a", Stdin: make([]byte, wire.MaxRunStdin+1)}, wire.Invalid, "out of its bounds"},
		"no program":      {wire.Run{ID: "1", Command: "gone"}, wire.NotFound, "no program /nonexistent/door"},
	} {
		if _, err := r.Run(t.Context(), x.ask); wire.CodeOf(err) != x.code || !strings.Contains(err.Error(), x.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(store.kept) > 0 {
		t.Errorf("what was refused is kept as if it was begun: %v", store.kept)
	}
	r.allowed = false
	if _, err := r.Run(t.Context(), wire.Run{ID: "1", Command: "a"}); wire.CodeOf(err) != wire.Forbidden || !strings.Contains(err.Error(), "policy.run") {
		t.Errorf("where the policy says no: %v", err)
	}
}

// alive reports whether there is such a process, other than one that waits to be reaped by whoever is init here.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(stat), ") ")
	return err == nil && !strings.HasPrefix(rest, "Z")
}

func pidIn(t *testing.T, text []byte) int {
	t.Helper()
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// await polls: what is waited for is done by processes.
func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(time.Minute); !done(); {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("waited too long for %s", what)
		}
	}
}

// When the time is up the whole tree goes, also what ignores SIGTERM.
func TestTimeoutEndsTheTree(t *testing.T) {
	t.Parallel()
	deaf := shell("deaf", `trap "" TERM; (trap "" TERM; exec sleep 1000) & echo $!; wait`)
	deaf.Timeout = "300ms"
	r := runnerOf(t, newMemory(), deaf, shell("slow", "sleep 1000"))
	got := r.mustRun(t, wire.Run{ID: "1", Command: "deaf"})
	if !got.TimedOut || got.ExitCode != 137 || got.TookMS < 300 || got.TookMS > 10_000 {
		t.Errorf("%+v", got)
	}
	pid := pidIn(t, got.Stdout)
	await(t, "the child's end", func() bool { return !alive(pid) })
	if got := r.mustRun(t, wire.Run{ID: "2", Command: "slow", TimeoutSeconds: 1}); !got.TimedOut || got.ExitCode != 143 {
		t.Errorf("with a time of the caller's: %+v", got)
	}
}

// What a command leaves behind holds no call up, and ends with it where it did not make a session of its own.
func TestWhatIsLeftBehind(t *testing.T) {
	t.Parallel()
	r := runnerOf(t, newMemory(), shell("child", "sleep 1000 & echo $!"),
		shell("daemon", "f="+t.TempDir()+"/pid; setsid sh -c 'echo $$ >'$f'; exec sleep 1000' & until [ -s $f ]; do sleep 0.02; done; cat $f"))
	got := r.mustRun(t, wire.Run{ID: "1", Command: "child"})
	child := pidIn(t, got.Stdout)
	await(t, "the child's end", func() bool { return !alive(child) })
	got = r.mustRun(t, wire.Run{ID: "2", Command: "daemon"})
	daemon := pidIn(t, got.Stdout)
	if got.TimedOut || got.ExitCode != 0 || got.TookMS > 10_000 || !alive(daemon) {
		t.Errorf("%+v", got)
	}
	if err := syscall.Kill(daemon, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
}

// gate is a command that says when it runs and waits for the test's word.
type gate struct{ dir string }

func newGate(t *testing.T) gate { t.Helper(); return gate{t.TempDir()} }

func (g gate) command(name string) Command {
	return Command{Name: name, Timeout: "60s", Argv: []string{"/bin/sh", "-c",
		`mktemp -p "$0" ran.XXXXXX >/dev/null; while ! [ -e "$0/go" ]; do sleep 0.02; done; echo done`, g.dir}}
}

func (g gate) ran() int {
	found, _ := filepath.Glob(g.dir + "/ran.*")
	return len(found)
}

func (g gate) open(t *testing.T) {
	t.Helper()
	if err := os.WriteFile(g.dir+"/go", nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A request is run once, also where it is repeated while it runs, after it, by the next agent, and where nothing can be stored.
func TestRepeatIsNotRunAgain(t *testing.T) {
	t.Parallel()
	for name, broken := range map[string]bool{"stored": false, "in memory": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, store := newGate(t), newMemory()
			store.broken = broken
			r := runnerOf(t, store, g.command("wait"))
			results := make(chan wire.RunResult, 3)
			for range 3 {
				go func() {
					got, err := r.Run(t.Context(), wire.Run{ID: "one", Command: "wait"})
					if err != nil {
						t.Error(err)
					}
					results <- got
				}()
			}
			await(t, "the command to run", func() bool { return g.ran() == 1 })
			g.open(t)
			var all []wire.RunResult
			for range 3 {
				all = append(all, <-results)
			}
			all = append(all, r.mustRun(t, wire.Run{ID: "one", Command: "wait"}))
			if !broken {
				all = append(all, runnerOf(t, store, g.command("wait")).mustRun(t, wire.Run{ID: "one", Command: "wait"}))
			}
			for _, got := range all {
				if string(got.Stdout) != "done\n" || got.TookMS != all[0].TookMS {
					t.Errorf("%+v", got)
				}
			}
			if g.ran() != 1 {
				t.Errorf("it ran %d times", g.ran())
			}
			r.mustRun(t, wire.Run{ID: "two", Command: "wait"})
			if g.ran() != 2 {
				t.Error("another request did not run it again")
			}
		})
	}
}

// An agent that is stopped ends its commands; the next one knows that it was begun and does not begin again.
func TestStopEndsCommands(t *testing.T) {
	t.Parallel()
	g, store := newGate(t), newMemory()
	r := runnerOf(t, store, g.command("wait"))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := r.Run(ctx, wire.Run{ID: "one", Command: "wait"})
		ended <- err
	}()
	await(t, "the command to run", func() bool { return g.ran() == 1 })
	stop()
	if err := <-ended; wire.CodeOf(err) != wire.Offline {
		t.Errorf("stopped: %v", err)
	}
	if out, _ := exec.Command("pgrep", "-f", g.dir).Output(); len(out) > 0 {
		t.Errorf("still there: %s", out)
	}
	g.open(t)
	_, err := runnerOf(t, store, g.command("wait")).Run(t.Context(), wire.Run{ID: "one", Command: "wait"})
	if wire.CodeOf(err) != wire.Conflict || g.ran() != 1 {
		t.Errorf("repeated: %v, ran %d times", err, g.ran())
	}
}

func TestFewAtOnce(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	r := runnerOf(t, newMemory(), g.command("wait"), shell("other", "true"))
	var wg sync.WaitGroup
	for i := range wire.MaxRunsAtOnce {
		wg.Go(func() {
			if _, err := r.Run(t.Context(), wire.Run{ID: strconv.Itoa(i), Command: "wait"}); err != nil {
				t.Error(err)
			}
		})
	}
	await(t, "all to run", func() bool { return g.ran() == wire.MaxRunsAtOnce })
	if _, err := r.Run(t.Context(), wire.Run{ID: "more", Command: "other"}); wire.CodeOf(err) != wire.RateLimited {
		t.Errorf("one more: %v", err)
	}
	g.open(t)
	wg.Wait()
	r.mustRun(t, wire.Run{ID: "more", Command: "other"}) // it was not begun, so it is no repeat
}

// As root a command is nobody's, with all groups of root given up, unless its table names an account.
func TestWhoRuns(t *testing.T) {
	t.Parallel()
	id := func(name, account string) Command {
		d := DefaultCommand()
		d.Name, d.Argv, d.User = name, []string{"/bin/sh", "-c", "id -un; id -G; cat /etc/shadow >/dev/null 2>&1 && echo reads; true"}, account
		return d
	}
	r, err := New(slog.New(slog.DiscardHandler), true, []Command{id("plain", ""), id("root", "root"), id("daemon", "daemon"), id("none", "nosuchaccount")}, newMemory())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Run(t.Context(), wire.Run{ID: "4", Command: "none"}); wire.CodeOf(err) != wire.NotFound || !strings.Contains(err.Error(), "nosuchaccount") {
		t.Errorf("an account that is not there: %v", err)
	}
	if os.Geteuid() != 0 {
		if _, err := r.Run(t.Context(), wire.Run{ID: "2", Command: "root"}); wire.CodeOf(err) != wire.Forbidden {
			t.Errorf("as root without being it: %v", err)
		}
		return
	}
	plain := string(r.mustRun(t, wire.Run{ID: "1", Command: "plain"}).Stdout)
	if nobody, err := user.Lookup("nobody"); err != nil || plain != "nobody\n"+nobody.Gid+"\n" {
		t.Errorf("without an account it runs as %q, %v", plain, err)
	}
	if got := string(r.mustRun(t, wire.Run{ID: "2", Command: "root"}).Stdout); !strings.HasPrefix(got, "root\n0") || !strings.HasSuffix(got, "reads\n") {
		t.Errorf("as root: %q", got)
	}
	if got := string(r.mustRun(t, wire.Run{ID: "3", Command: "daemon"}).Stdout); !strings.HasPrefix(got, "daemon\n") || strings.Contains(got, "reads") || strings.Contains(got, "\n0") {
		t.Errorf("as daemon: %q", got)
	}
}

func TestCommandIsChecked(t *testing.T) {
	t.Parallel()
	for says, change := range map[string]func(*Command){
		"name \"Open\" is not made":                        func(c *Command) { c.Name = "Open" },
		"name \"-a\" is not made":                          func(c *Command) { c.Name = "-a" },
		"argv begins with the program's whole path":        func(c *Command) { c.Argv = []string{"door"} },
		"argv begins with the program's whole path.":       func(c *Command) { c.Argv = nil },
		"the program itself cannot be a parameter":         func(c *Command) { c.Argv = []string{"/bin/{x}"} },
		"argv has {y}, for which parameters has no":        func(c *Command) { c.Argv = append(c.Argv, "{y}") },
		"argv does not use parameter {z}":                  func(c *Command) { c.Parameters = append(c.Parameters, "z=a") },
		"parameter x comes twice":                          func(c *Command) { c.Parameters = append(c.Parameters, "x=a") },
		`parameter "z" is not NAME=PATTERN`:                func(c *Command) { c.Parameters = append(c.Parameters, "z") },
		"the pattern of parameter x: at character 1":       func(c *Command) { c.Parameters = []string{"x=^a"} },
		`"a{" has a { that belongs to no`:                  func(c *Command) { c.Argv = append(c.Argv, "a{") },
		`"a}" has a } that belongs to no`:                  func(c *Command) { c.Argv = append(c.Argv, "a}") },
		`"{X Y}" has a { that belongs to no`:               func(c *Command) { c.Argv = append(c.Argv, "{X Y}") },
		`timeout "10" is none`:                             func(c *Command) { c.Timeout = "10" },
		`timeout "6m" is none; it looks like`:              func(c *Command) { c.Timeout = "6m" },
		`timeout "-1s" is none`:                            func(c *Command) { c.Timeout = "-1s" },
		`user "a b" is no account's name`:                  func(c *Command) { c.User = "a b" },
		`workdir "tmp" does not begin with /`:              func(c *Command) { c.WorkDir = "tmp" },
		`environment "A" is not NAME=VALUE`:                func(c *Command) { c.Environment = []string{"A"} },
		"a NUL character cannot be passed to a program":    func(c *Command) { c.Environment = []string{"A=\x00"} },
		"it has 17 parameters; at most 16 may be":          func(c *Command) { c.Parameters = slices.Repeat([]string{"x=a"}, 17) },
		"the pattern of parameter x: a pattern has at mos": func(c *Command) { c.Parameters = []string{"x=" + strings.Repeat("a", 300)} },
	} {
		c := DefaultCommand()
		c.Name, c.Argv, c.Parameters = "open", []string{"/bin/true", "{x}"}, []string{"x=a"}
		if err := c.Check(); err != nil {
			t.Fatal(err)
		}
		change(&c)
		if err := c.Check(); wire.CodeOf(err) != wire.Invalid || !strings.Contains(err.Error(), strings.TrimSuffix(says, ".")) {
			t.Errorf("%v, want %s", err, says)
		}
	}
	many := map[string]Command{}
	for i := range maxCommands + 1 {
		many[strconv.Itoa(i)] = Command{Name: strconv.Itoa(i)}
	}
	all := slices.Collect(maps.Values(many))
	if err := CheckAll(all); wire.CodeOf(err) != wire.Invalid || CheckAll(all[1:]) != nil {
		t.Errorf("%d commands: %v, one less: %v", len(all), err, CheckAll(all[1:]))
	}
	if err := CheckAll([]Command{all[0], all[0]}); wire.CodeOf(err) != wire.Invalid {
		t.Errorf("twice: %v", err)
	}
	if err := CheckAll([]Command{{Name: "a", Parameters: slices.Repeat([]string{strings.Repeat("x", 250)}, 40)}}); wire.CodeOf(err) != wire.Invalid {
		t.Errorf("too much to tell: %v", err)
	}
}

// The largest call and the largest answer fit in a frame.
func TestLargestFits(t *testing.T) {
	t.Parallel()
	big := bytes.Repeat([]byte{0xff}, wire.MaxRunOutput)
	_, err := wire.Encode(wire.Result{ID: strings.Repeat("x", 64), Result: mustJSON(t, wire.RunResult{ExitCode: 255, Stdout: big, Stderr: big, Cut: true, TimedOut: true, TookMS: 1 << 40})})
	if err != nil {
		t.Errorf("the answer: %v", err)
	}
	if _, err := wire.Encode(wire.Call{ID: strings.Repeat("x", 64), Method: wire.MethodRun, Signature: strings.Repeat("x", 88),
		Params: mustJSON(t, wire.Run{ID: strings.Repeat("x", 64), Command: strings.Repeat("x", 63), TimeoutSeconds: 300,
			Stdin: make([]byte, wire.MaxRunStdin), Arguments: map[string]string{"a": strings.Repeat("x", 8000)}})}); err != nil {
		t.Errorf("the call: %v", err)
	}
}

func mustJSON(t *testing.T, v any) json.RawMessage {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
