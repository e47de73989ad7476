package outgoing

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/aditdev/adit/internal/store"
)

const childEnv = "OUTGOING_TEST_CHILD"

// asChild is a hub in a process of its own, for tests that kill it: it delivers, and queues a message for each line that it is given, which it
// repeats when the message is on disk.
func asChild() bool {
	dir, to := os.Getenv(childEnv), ""
	if dir == "" {
		return false
	}
	dir, to, _ = strings.Cut(dir, "|")
	t := &childT{}
	r := stillRig(t, dir, func(o *Options) { o.Alone = true })
	ctx := context.Background()
	go func() { _ = r.Events.Run(ctx) }()
	if list, err := r.List(ctx); err == nil && len(list) == 0 {
		r.endpoint(to, func(s *Spec) { s.Topics, s.Mode = &[]string{"#"}, ptr(ModeOrdered) })
	}
	go func() { _ = r.Run(ctx) }()
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		m := message("t", lines.Text())
		m.Device = "dev_a"
		if err := r.Store.WriteTogether(ctx, func(q *store.Queries) error { return r.Take(ctx, q, list(m)) }); err != nil {
			panic(err)
		}
		r.Taken(list(m))
		fmt.Println(lines.Text())
	}
	return true
}

func list[T any](v ...T) []T { return v }

// childT is what a rig needs of a test where there is none.
type childT struct{ testing.TB }

func (*childT) Helper()           {}
func (*childT) Cleanup(func())    {}
func (*childT) Fatal(v ...any)    { panic(fmt.Sprint(v...)) }
func (*childT) Error(v ...any)    { panic(fmt.Sprint(v...)) }
func (*childT) Output() io.Writer { return os.Stderr }

// Killed again and again in the middle of work: what was taken arrives, under one id however often it came, and in order.
func TestKilledInTheMiddle(t *testing.T) {
	t.Parallel()
	dir, to := t.TempDir(), newReceiver(t, nil)
	next := 0
	for range 8 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childEnv+"="+dir+"|"+to.URL)
		in, err := cmd.StdinPipe()
		must(t, err)
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		said := bufio.NewScanner(out)
		for range 30 {
			_, err := fmt.Fprintln(in, next)
			must(t, err)
			if !said.Scan() || said.Text() != strconv.Itoa(next) {
				t.Fatalf("child said %q", said.Text())
			}
			next++
		}
		must(t, cmd.Process.Kill())
		_ = cmd.Wait() // it was killed
	}
	r := openRig(t, dir, func(o *Options) { o.Alone = true })
	r.settled(StateDelivered, next)
	ids, last := map[string]string{}, -1
	for _, g := range to.all() {
		payload := fmt.Sprint(g.json(t)["data"].(map[string]any)["payload"])
		if before, again := ids[g.id()]; again && before != payload {
			t.Errorf("%s is %s and %s", g.id(), before, payload)
		}
		ids[g.id()] = payload
		if n, _ := strconv.Atoi(payload); n < last || n > last+1 {
			t.Errorf("%d after %d", n, last)
		} else {
			last = n
		}
	}
	if len(ids) != next {
		t.Errorf("%d of %d arrived", len(ids), next)
	}
	t.Logf("%d messages, %d requests", next, len(to.all()))
}
