//go:build linux

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// A browser is Chromium under browser.mjs.
type browser struct {
	t       testing.TB
	in      io.WriteCloser
	answers *bufio.Reader
}

// ask is one request to browser.mjs, which says what each one takes.
type ask map[string]any

// browser starts Chromium on the hub's machine. It reaches the hub by an address of its own, 127.0.0.2, so that its
// sockets can be cut and nobody else's.
func (r *rig) browser() *browser {
	r.t.Helper()
	options, err := json.Marshal(ask{"profile": filepath.Join(r.dir, "profile"), "spki": r.ca.spki, "resolve": "MAP " + hubName + " 127.0.0.2"})
	if err != nil {
		r.t.Fatal(err)
	}
	return startBrowser(r.t, r.host, r.userEnv(), string(options))
}

// startBrowser starts browser.mjs on a machine. The path of Node is this test's: it may lie anywhere.
func startBrowser(t testing.TB, m *machine, env []string, options string) *browser {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatal(err)
	}
	script, err := filepath.Abs("browser.mjs")
	if err != nil {
		t.Fatal(err)
	}
	cmd := m.command(context.Background(), env, node, script, options)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	b := &browser{t: t, in: in, answers: bufio.NewReaderSize(out, 1<<20)}
	t.Cleanup(func() {
		if t.Failed() {
			b.keepPicture()
		}
		in.Close()
		late := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() }) // its Chromium ends with the machine
		defer late.Stop()
		_ = cmd.Wait()
	})
	return b
}

// do sends one request and decodes the answer's value into result, which may be nil.
func (b *browser) do(what string, with ask, result any) {
	b.t.Helper()
	if err := b.try(what, with, result); err != nil {
		b.t.Fatal(err)
	}
}

func (b *browser) try(what string, with ask, result any) error {
	request := ask{"do": what}
	for k, v := range with {
		request[k] = v
	}
	line, err := json.Marshal(request)
	if err != nil {
		return err
	}
	if _, err := b.in.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("browser %s: %w", line, err)
	}
	line, err = b.answers.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("browser %s: %w", what, err)
	}
	var answer struct {
		OK    bool
		Error string
		Value json.RawMessage
	}
	if err := json.Unmarshal(line, &answer); err != nil {
		return fmt.Errorf("browser %s: %w: %.200s", what, err, line)
	}
	if !answer.OK {
		return fmt.Errorf("browser %v: %s", request, answer.Error)
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(answer.Value, result)
}

// as is the same browser for a part of the test.
func (b *browser) as(t testing.TB) *browser { return &browser{t: t, in: b.in, answers: b.answers} }

func (b *browser) open(url string)       { b.t.Helper(); b.do("open", ask{"url": url}, nil) }
func (b *browser) click(selector string) { b.t.Helper(); b.do("click", ask{"on": selector}, nil) }
func (b *browser) press(key string)      { b.t.Helper(); b.do("press", ask{"key": key}, nil) }
func (b *browser) write(text string)     { b.t.Helper(); b.do("type", ask{"text": text}, nil) }
func (b *browser) tab(name string)       { b.t.Helper(); b.do("tab", ask{"name": name}, nil) }
func (b *browser) fill(selector, to string) {
	b.t.Helper()
	b.do("fill", ask{"on": selector, "text": to}, nil)
}
func (b *browser) wait(selector, text string) {
	b.t.Helper()
	b.do("wait", ask{"on": selector, "text": text}, nil)
}

// gone waits until nothing that matches is in the page.
func (b *browser) gone(selector string) {
	b.t.Helper()
	b.do("wait", ask{"on": selector, "state": "detached"}, nil)
}

func (b *browser) text(selector string) (text string) {
	b.t.Helper()
	b.do("text", ask{"on": selector}, &text)
	return text
}

func (b *browser) count(selector string) (n int) {
	b.t.Helper()
	b.do("count", ask{"on": selector}, &n)
	return n
}

// evaluate decodes what an expression is in the page into result, which may be nil.
func (b *browser) evaluate(code string, result any) {
	b.t.Helper()
	b.do("evaluate", ask{"code": code}, result)
}

// becomes waits until an expression in the page is what is wanted.
func (b *browser) becomes(code, want string) {
	b.t.Helper()
	eventually(b.t, patience, fmt.Sprintf("%s is %.60q", code, want), func() error {
		var got string
		if err := b.try("evaluate", ask{"code": "String(" + code + ")"}, &got); err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("it is %q", got)
		}
		return nil
	})
}

// run types a line into the terminal that has the focus.
func (b *browser) run(line string) {
	b.t.Helper()
	b.write(line)
	b.press("Enter")
}

// output is what the last shell's page got from the hub.
type output struct {
	Text     string
	Gaps     int // bytes of output that were skipped, in pieces
	Again    int // bytes that came twice
	Attached int // sockets so far
}

func (b *browser) output() output {
	b.t.Helper()
	var o output
	b.do("output", nil, &o)
	return o
}

// clean fails the test if a page broke its policy or threw.
func (b *browser) clean() {
	b.t.Helper()
	var all []string
	b.do("complaints", nil, &all)
	for _, c := range all {
		b.t.Errorf("%s", c)
	}
}

func (b *browser) keepPicture() {
	dir, err := filepath.Abs("out")
	if err != nil || os.MkdirAll(dir, 0o755) != nil {
		return
	}
	path := filepath.Join(dir, filepath.Base(b.t.Name())+"-"+time.Now().Format("150405")+".png")
	if b.try("shot", ask{"path": path}, nil) == nil {
		b.t.Logf("the page at the end: %s", path)
	}
}
