package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// event is a line of `go test -json` (see `go doc test2json`).
type event struct {
	Action, Package, Test, Output string
}

// testName is a test that is no subtest.
type testName struct{ pkg, name string }

func (t testName) String() string { return t.pkg + "." + t.name }

// outcome is what came of a test and its subtests.
type outcome struct {
	count
	broken bool // by more than a condition that did not hold: a panic, a data race
}

// result is what one run of `go test -json` said.
type result struct {
	tests  map[testName]*outcome
	failed map[string]bool // packages
}

// readEvents reads a `go test -json` stream and writes to w what `go test` without -v prints: the output of failed tests,
// and of packages.
func readEvents(r io.Reader, w io.Writer) *result {
	res := &result{tests: map[testName]*outcome{}, failed: map[string]bool{}}
	held := map[[2]string][]string{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			fmt.Fprintln(w, lines.Text())
			continue
		}
		key := [2]string{e.Package, e.Test}
		switch {
		case e.Action == "build-output", e.Action == "output" && e.Test == "":
			if e.Output != "PASS\n" {
				_, _ = io.WriteString(w, e.Output)
			}
		case e.Action == "output":
			held[key] = append(held[key], e.Output)
			if breaks(e.Output) {
				res.of(e).broken = true
			}
		case e.Test == "":
			if e.Action == "fail" {
				res.failed[e.Package] = true
			}
		case e.Action == "pass", e.Action == "skip":
			delete(held, key)
			if e.Action == "pass" {
				res.of(e).passed++
			}
		case e.Action == "fail":
			for _, line := range held[key] {
				_, _ = io.WriteString(w, line)
			}
			delete(held, key)
			res.of(e).failed++
		}
	}
	for _, output := range held { // of tests that a panic or a timeout cut off
		for _, line := range output {
			_, _ = io.WriteString(w, line)
		}
	}
	return res
}

// of is the outcome of the test that an event is about.
func (r *result) of(e event) *outcome {
	name, _, _ := strings.Cut(e.Test, "/")
	t := testName{e.Package, name}
	if r.tests[t] == nil {
		r.tests[t] = &outcome{}
	}
	return r.tests[t]
}

// breaks reports whether a line of output tells of something that no second try excuses.
func breaks(line string) bool {
	for _, word := range []string{"DATA RACE", "race detected", "panic:", "fatal error:", "test timed out", "goroutine leak"} {
		if strings.Contains(line, word) {
			return true
		}
	}
	return false
}

// count adds up the tests. A package that failed without a failed test (a panic, a leak, a build error) counts as one.
func (r *result) count() (c count) {
	failed := map[string]bool{}
	for t, o := range r.tests {
		c.passed += o.passed
		c.failed += o.failed
		failed[t.pkg] = failed[t.pkg] || o.failed > 0
	}
	for pkg := range r.failed {
		if !failed[pkg] {
			c.failed++
		}
	}
	return c
}

func (r *result) allPassed() bool { return r.count().failed == 0 }
