// Command tally runs test commands one after the other, shows their output as `go test` would, and closes with one line
// that counts: "N passed, N failed". It exits 1 when anything failed.
//
//	tally -- NAME COMMAND... [-- NAME COMMAND...]
//
// A Go test command must carry -json. The command named "site" is vitest, whose JSON report lies in bin/vitest.json.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
)

// vitestReport is where the site's tests write their result.
const vitestReport = "bin/vitest.json"

func main() {
	var total count
	for _, step := range steps(os.Args[1:]) {
		fmt.Printf("== %s\n", step[0])
		c := run(step[0], step[1:])
		total.passed += c.passed
		total.failed += c.failed
	}
	fmt.Println(total)
	if total.failed > 0 {
		os.Exit(1)
	}
}

// count is the number of tests that passed and failed. A test with subtests counts as well as each of them.
type count struct{ passed, failed int }

func (c count) String() string { return fmt.Sprintf("%d passed, %d failed", c.passed, c.failed) }

// steps cuts the arguments at each "--".
func steps(args []string) [][]string {
	var all [][]string
	for _, a := range args {
		if a == "--" {
			all = append(all, nil)
		} else if len(all) > 0 {
			all[len(all)-1] = append(all[len(all)-1], a)
		}
	}
	return all
}

// run runs one command. A command that fails without a failed test (a build error, a panic) counts as one failure.
func run(name string, args []string) count {
	var c count
	var err error
	if name == "site" {
		err = show(args)
		c = readVitest(vitestReport)
	} else {
		c, err = goTest(args)
	}
	if err != nil && c.failed == 0 {
		fmt.Printf("%s: %v\n", name, err)
		c.failed++
	}
	return c
}

func show(args []string) error {
	_ = os.Remove(vitestReport)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}

func goTest(args []string) (count, error) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return count{}, err
	}
	if err := cmd.Start(); err != nil {
		return count{}, err
	}
	c := readEvents(out, os.Stdout)
	return c, cmd.Wait()
}

// event is a line of `go test -json` (see `go doc test2json`).
type event struct {
	Action, Package, Test, Output string
}

// readEvents counts the tests of a `go test -json` stream and writes to w what `go test` without -v prints: the output
// of failed tests, and of packages.
func readEvents(r io.Reader, w io.Writer) count {
	var c count
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
				io.WriteString(w, e.Output)
			}
		case e.Action == "output":
			held[key] = append(held[key], e.Output)
		case e.Test == "":
		case e.Action == "pass", e.Action == "skip":
			delete(held, key)
			if e.Action == "pass" {
				c.passed++
			}
		case e.Action == "fail":
			for _, line := range held[key] {
				io.WriteString(w, line)
			}
			delete(held, key)
			c.failed++
		}
	}
	for _, output := range held { // of tests that a panic or a timeout cut off
		for _, line := range output {
			io.WriteString(w, line)
		}
	}
	return c
}

// readVitest reads the counts of vitest's JSON report; none if it is not there.
func readVitest(path string) count {
	var report struct {
		Passed int `json:"numPassedTests"`
		Failed int `json:"numFailedTests"`
	}
	if data, err := os.ReadFile(path); err == nil {
		_ = json.Unmarshal(data, &report)
	}
	return count{passed: report.Passed, failed: report.Failed}
}
