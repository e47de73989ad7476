package transform

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/aditdev/adit/internal/wire"
)

// Argument is the one argument by which a program becomes a worker.
const Argument = "transform-worker"

// How a worker ends by itself.
const (
	exitDone  = 0
	exitFault = 3 // of the frames: a hub of another version
	exitSlow  = 4 // a single step of a program took too long
)

const (
	// slack is for a program that is told that its time is over: it hears it between two steps.
	slack = 50 * time.Millisecond
	// maxCached bounds the text of the compiled programs that a worker keeps, in bytes; compiled they are some 50 times that.
	maxCached = 256 << 10
	// tidyAfter is the processor time beyond which a worker gives memory back to the system.
	tidyAfter = 20 * time.Millisecond
	// maxStack bounds recursion in Go, as in writing deep JSON, in bytes.
	maxStack = 64 << 20
)

// WorkIfAsked turns this process into a worker if it was started as one, and then does not return. Both main of the hub and
// TestMain of tests that use a Pool call it first, since a Pool starts the program that it is in.
func WorkIfAsked() {
	if len(os.Args) == 2 && os.Args[1] == Argument {
		confine()
		os.Exit(work(os.Stdin, os.Stdout))
	}
}

// confine bounds what this process can do to the machine. What cannot be bounded here (macOS bounds no memory) is left: the
// hub's limits on time and on what comes out hold everywhere.
func confine() {
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP) // of a terminal or a service manager: the hub ends its workers
	runtime.GOMAXPROCS(1)
	debug.SetMaxStack(maxStack)
	debug.SetMemoryLimit(MaxMemory / 4 * 3) // collects more often before the system says no
	debug.SetTraceback("none")
	time.Local = time.UTC // where the machine stands is no business of a program's
	if has, err := addressSpace(); err == nil {
		limit := syscall.Rlimit{Cur: has + MaxMemory, Max: has + MaxMemory}
		_ = syscall.Setrlimit(syscall.RLIMIT_AS, &limit)
	}
	_ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{})
	_ = syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{})
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0) // where memory ends all the same, this goes first
}

// addressSpace is how much of what RLIMIT_AS counts this process has, in bytes (Linux: VmSize). Go reserves far more than it uses,
// once, at its start; what is reserved for the heap comes on top of that, in steps of 64 MiB. RLIMIT_DATA would need no such
// sum, but Go's runtime takes seconds to die of it where one allocation is large.
func addressSpace() (uint64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "VmSize:"); ok {
			kib, err := strconv.ParseUint(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("no VmSize")
}

// work answers requests until stdin ends, which it does when the hub does, however that ends. It returns the exit status.
func work(stdin io.Reader, stdout io.Writer) int {
	if err := writeFrame(stdout, frameGreeting, []byte(greeting)); err != nil {
		return exitFault
	}
	type frame struct {
		kind byte
		rest []byte
	}
	requests := make(chan frame)
	go func() { // reads on while a program runs, so that a hub's end is noticed then too
		in := bufio.NewReader(stdin)
		for {
			kind, rest, err := readFrame(in)
			if err != nil {
				os.Exit(exitDone)
			}
			requests <- frame{kind, rest}
		}
	}()
	w := worker{cache: map[Transform]compiled{}}
	for r := range requests {
		t, input, err := parseRequest(r.kind, r.rest)
		if err != nil {
			return exitFault
		}
		begun := cpuTime()
		kind, answer := w.answer(t, input)
		if err := writeFrame(stdout, kind, answer); err != nil {
			return exitDone
		}
		if cpuTime()-begun > tidyAfter {
			debug.FreeOSMemory()
		}
	}
	return exitDone
}

// worker is what a worker keeps between requests.
type worker struct {
	cache  map[Transform]compiled
	cached int // bytes of text
}

func (w *worker) answer(t Transform, input []byte) (kind byte, answer []byte) {
	defer func() {
		if r := recover(); r != nil { // the interpreter's fault
			kind, answer = frameInternal, []byte(fmt.Sprint(r))
		}
	}()
	out, err := w.apply(t, input)
	if err != nil {
		return frameInvalid, []byte(wire.MessageOf(err))
	}
	return frameOutput, out
}

func (w *worker) apply(t Transform, input []byte) ([]byte, error) {
	c, err := w.compile(t)
	if err != nil {
		return nil, err
	}
	value, err := decode(input)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	defer watch(cancel)()
	return c.apply(ctx, value)
}

// compile keeps what it compiled, and forgets all when that is too much.
func (w *worker) compile(t Transform) (compiled, error) {
	if c, ok := w.cache[t]; ok {
		return c, nil
	}
	c, err := compile(t)
	if err != nil {
		return nil, err
	}
	if w.cached += len(t.Text); w.cached > maxCached {
		clear(w.cache)
		w.cached = len(t.Text)
	}
	w.cache[t] = c
	return c, nil
}

// watch ends a program whose time is over, and the process if the program does not hear it. What counts is the processor's
// time: on a busy machine a program is not at fault for what others take.
func watch(cancel context.CancelCauseFunc) (stop func()) {
	begun := cpuTime()
	var timer *time.Timer
	stopped := make(chan struct{})
	timer = time.AfterFunc(MaxTime, func() {
		for {
			used := cpuTime() - begun
			switch {
			case used >= MaxTime+slack:
				select {
				case <-stopped:
				default:
					os.Exit(exitSlow)
				}
			case used >= MaxTime:
				cancel(errSlow)
			}
			select {
			case <-stopped:
				return
			case <-time.After(min(max(MaxTime-used, slack/5), MaxTime)):
			}
		}
	})
	return func() { close(stopped); timer.Stop() }
}

// cpuTime is what this process has used of processors.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
