package transform

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/wire"
)

var door = json.RawMessage(`{"door":"open"}`)

// eventually polls a condition: what is awaited is another process.
func eventually(t *testing.T, what string, fits func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); !fits(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not in a minute: %s", what)
		}
	}
}

func (p *Pool) workers() (pids []int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.idle {
		pids = append(pids, w.cmd.Process.Pid)
	}
	return pids
}

func alive(pid int) bool {
	_, err := os.Stat("/proc/" + strconv.Itoa(pid))
	return err == nil
}

func needsProc(t *testing.T) {
	t.Helper()
	if _, err := os.Stat("/proc/self/exe"); err != nil {
		t.Skip("only Linux shows processes as files, and bounds their memory")
	}
}

// Workers start when they are needed, are at most two, are used again, and end when nobody needs them.
func TestWorkersComeAndGo(t *testing.T) {
	t.Parallel()
	needsProc(t)
	p := running(t, Options{Idle: 5 * time.Second})
	if n := len(p.workers()); n != 0 {
		t.Fatalf("%d workers at the start", n)
	}
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			if out, err := p.Apply(t.Context(), Transform{JQ, ".door"}, door); err != nil || string(out) != "open" {
				t.Errorf("%s %v", out, err)
			}
		})
	}
	group.Wait()
	pids := p.workers()
	if len(pids) < 1 || len(pids) > maxWorkers {
		t.Fatalf("workers %v", pids)
	}
	eventually(t, "idle workers end", func() bool { return len(p.workers()) == 0 && !alive(pids[0]) })
	if out, err := p.Apply(t.Context(), Transform{JQ, ".door"}, door); err != nil || string(out) != "open" {
		t.Errorf("behind it: %s %v", out, err)
	}
}

func TestStoppedPool(t *testing.T) {
	t.Parallel()
	p := NewPool(Options{})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- p.Run(ctx) }()
	if _, err := p.Apply(t.Context(), Transform{JQ, "."}, door); err != nil {
		t.Fatal(err)
	}
	w := p.idle[0]
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if w.alive || w.cmd.ProcessState == nil { // that it ends by itself is shown below; on a busy machine it may be killed before
		t.Errorf("the worker was left: %v", w.cmd.ProcessState)
	}
	if _, err := p.Apply(t.Context(), Transform{JQ, "."}, door); wire.CodeOf(err) != wire.Offline {
		t.Errorf("%v", err)
	}
}

// A hub that is killed closes its end of the pipe, and says nothing more.
func TestWorkersEndWithTheHub(t *testing.T) {
	t.Parallel()
	w, err := start([]string{self(), Argument})
	if err != nil {
		t.Fatal(err)
	}
	kind, parts := request(Transform{JQ, "last(repeat(1))"}, door)
	if err := writeFrame(w.in, kind, parts...); err != nil {
		t.Fatal(err)
	}
	_ = w.in.Close() // in the middle of a program
	if err := w.cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	_ = w.out.Close()
}

// What a worker has of this machine: three pipes, and no environment.
func TestWorkersAreConfined(t *testing.T) {
	needsProc(t)
	t.Setenv("ADIT_TEST_SECRET", "do not tell")
	p := running(t, Options{})
	out, err := p.Apply(t.Context(), Transform{JQ, "[env, $ENV] | tojson"}, door)
	if err != nil || string(out) != "[{},{}]" {
		t.Errorf("%s %v", out, err)
	}
	proc := "/proc/" + strconv.Itoa(p.workers()[0])
	if environ, err := os.ReadFile(proc + "/environ"); err != nil || len(environ) != 0 {
		t.Errorf("its environment is %q %v", environ, err)
	}
	files, err := filepath.Glob(proc + "/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		to, err := os.Readlink(file)
		// Go's runtime keeps its cgroup's files open; /dev/null may be inherited from whoever runs the tests.
		known := func(prefix string) bool { return strings.HasPrefix(to, prefix) }
		if err != nil || !slices.ContainsFunc([]string{"pipe:", "anon_inode:", "/sys/fs/cgroup/", "/dev/null"}, known) {
			t.Errorf("%s is %s %v", file, to, err)
		}
	}
	limits, err := os.ReadFile(proc + "/limits")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(limits)) {
		if strings.HasPrefix(line, "Max address space") && strings.Contains(line, "unlimited") {
			t.Errorf("nothing bounds its memory: %s", line)
		}
	}
	if score, err := os.ReadFile(proc + "/oom_score_adj"); err != nil || strings.TrimSpace(string(score)) != "1000" {
		t.Errorf("the hub might go before it: %q %v", score, err)
	}
}

// Memory: what asks for too much is told so, by the limit and long before the machine feels it.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	needsProc(t)
	p := running(t, Options{Workers: 1})
	for range 2 { // the second time with a worker that has had another program before
		if _, err := p.Apply(t.Context(), Transform{JQ, "."}, door); err != nil {
			t.Fatal(err)
		}
		_, err := p.Apply(t.Context(), Transform{JQ, `"x" * 1e9`}, door)
		if wire.CodeOf(err) != wire.Invalid || !strings.Contains(wire.MessageOf(err), "more memory than 256 MiB") {
			t.Errorf("%v", err)
		}
	}
}

// A worker that is gone when it is needed is replaced; nobody hears of it.
func TestDeadWorkersAreReplaced(t *testing.T) {
	t.Parallel()
	p := running(t, Options{Workers: 1})
	for range 3 {
		if out, err := p.Apply(t.Context(), Transform{JQ, ".door"}, door); err != nil || string(out) != "open" {
			t.Fatalf("%s %v", out, err)
		}
		p.mu.Lock()
		err := p.idle[0].cmd.Process.Kill()
		p.mu.Unlock()
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestWorkerThatCannotStart(t *testing.T) {
	t.Parallel()
	for _, command := range [][]string{{"/nowhere/adit-hub"}, {"/bin/true"}, {"/bin/echo", "hello, this is no frame"}} {
		p := running(t, Options{Command: command})
		if _, err := p.Apply(t.Context(), Transform{JQ, "."}, door); wire.CodeOf(err) != wire.Internal {
			t.Errorf("%v: %v", command, err)
		}
	}
}

// slow is what a program that takes too long is told.
func slow() string { return wire.MessageOf(told(errSlow)) }

// applyInTime is Apply, a few times where the program was too slow: others on the machine make its processor slower too.
func applyInTime(t *testing.T, p *Pool, what Transform, input any) (out []byte, err error) {
	t.Helper()
	for range 10 {
		if out, err = p.Apply(t.Context(), what, input); err == nil || wire.MessageOf(err) != slow() {
			break
		}
	}
	return out, err
}

func TestInputs(t *testing.T) {
	t.Parallel()
	p := running(t, Options{})
	for name, test := range map[string]struct {
		input any
		code  wire.Code
	}{
		"nothing":         {nil, ""},
		"text":            {"text", ""},
		"no JSON":         {json.RawMessage(`{`), wire.Invalid},
		"two values":      {json.RawMessage(`1 2`), wire.Invalid},
		"unwritable":      {func() {}, wire.Invalid},
		"large":           {strings.Repeat("a", MaxInput-2), ""},
		"too large":       {strings.Repeat("a", MaxInput), wire.TooLarge},
		"deep":            {json.RawMessage(strings.Repeat("[", 9000) + strings.Repeat("]", 9000)), ""},
		"many":            {json.RawMessage("[" + strings.Repeat("1,", MaxInput/8) + "1]"), ""}, // as many as the race detector's worker tidies up in its time
		"an empty object": {struct{}{}, ""},
	} {
		_, err := applyInTime(t, p, Transform{JQ, `type`}, test.input)
		if test.code == "" && err != nil || test.code != "" && wire.CodeOf(err) != test.code {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("gone")
	cancel(why)
	for range cap(p.turns) {
		p.turns <- struct{}{} // all are busy
	}
	_, err := p.Apply(ctx, Transform{JQ, `.`}, nil)
	for range cap(p.turns) {
		<-p.turns
	}
	if !errors.Is(err, why) {
		t.Errorf("%v", err)
	}
}

// Programs beyond what a worker keeps compiled work as those within.
func TestManyPrograms(t *testing.T) {
	t.Parallel()
	p := running(t, Options{Workers: 1})
	pad := strings.Repeat(" ", 4000)
	for i := range 3 * maxCached / len(pad) {
		if out, err := p.Apply(t.Context(), Transform{JQ, fmt.Sprint(i, pad)}, nil); err != nil || string(out) != strconv.Itoa(i) {
			t.Fatalf("%d: %s %v", i, out, err)
		}
	}
}

// The largest programs compile in a time that a request may take: gojq's compiler has no program that doubles. One would take
// years; how long the others take is the machine's.
func TestLargestProgramsCompile(t *testing.T) {
	t.Parallel()
	nested := func(open, inner, end string) string {
		n := (MaxText - len(inner)) / (len(open) + len(end))
		return strings.Repeat(open, n) + inner + strings.Repeat(end, n)
	}
	for name, text := range map[string]string{
		"lists": nested("[", "1", "]"), "queries": nested("(", ".", ")"), "conditions": nested("if . then ", ".", " end"), "calls": nested("walk(", ".", ")"),
		"paths": nested("path(", ".", ")"), "functions": nested("def f: ", ".", "; f"), "patterns": nested(". as [$a] ?// $a|", ".", ""),
		"reductions": nested("reduce .[] as $x (", ".", ";.)"), "suffixes": nested("", ".", "[.]"), "tries": nested("", ".", "?"), "updates": nested(".a|=(", ".", ")"),
		"strings": nested(`"\(`, ".", `)"`), "objects": nested("{a:", "1", "}"), "keys": nested("{(", "1", "):1}"), "sums": nested("", "1", "+1"), "minus": nested("-", "1", ""),
		"both": nested("(", ".", " and .)"), "firsts": nested("first(", ".", ")"), "assignments": nested("(", ".a", "=.)"), "indices": nested(".[", "0", "]"),
	} {
		begun := time.Now()
		_ = Check(Transform{JQ, text}) // whether it is right is not asked
		if took := time.Since(begun); took > time.Minute {
			t.Errorf("%s: %v", name, took)
		}
	}
}
