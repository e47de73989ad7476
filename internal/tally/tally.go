// Command tally runs test commands one after the other, shows their output as `go test` would, and closes with one line
// that counts: "N passed, N failed". It exits 1 when anything failed.
//
//	tally -- NAME COMMAND... [-- NAME COMMAND...]
//
// A Go test command must carry -json and end with one pattern of packages. The command named "site" is vitest, whose JSON report lies
// in bin/vitest.json.
//
// A Go test that failed gets a second try, by itself (see again.go). One that passes then is named as unsteady above the
// count: it is a fault of the test or of the product that somebody has to find, but it does not hide what the others say.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
)

// vitestReport is where the site's tests write their result.
const vitestReport = "bin/vitest.json"

func main() {
	var total count
	var unsteady []testName
	for _, step := range steps(os.Args[1:]) {
		fmt.Printf("== %s\n", step[0])
		c, again := run(step[0], step[1:])
		total.passed += c.passed
		total.failed += c.failed
		unsteady = append(unsteady, again...)
	}
	for _, t := range unsteady {
		fmt.Printf("unsteady: %s failed beside others and passed alone; its first output is above\n", t)
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
func run(name string, args []string) (c count, unsteady []testName) {
	var err error
	if name == "site" {
		err = show(args)
		c = readVitest(vitestReport)
	} else {
		c, unsteady, err = goTest(args)
	}
	if err != nil && c.failed == 0 {
		fmt.Printf("%s: %v\n", name, err)
		c.failed++
	}
	return c, unsteady
}

func show(args []string) error {
	_ = os.Remove(vitestReport)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}

// goTest runs a Go test command, and those tests again that may have a second try.
func goTest(args []string) (count, []testName, error) {
	first, err := stream(args)
	tests := first.again()
	if len(tests) == 0 {
		return first.count(), nil, err
	}
	var unsteady []testName
	for _, t := range tests {
		fmt.Printf("== again, alone: %s\n", t)
		second, err := stream(alone(args, t))
		if err != nil || !second.passed(t) {
			continue
		}
		first.replace(t, second)
		unsteady = append(unsteady, t)
	}
	if first.allPassed() {
		err = nil
	}
	return first.count(), unsteady, err
}

// stream runs a command and shows what its tests say.
func stream(args []string) (*result, error) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return &result{}, err
	}
	if err := cmd.Start(); err != nil {
		return &result{}, err
	}
	r := readEvents(out, os.Stdout)
	return r, cmd.Wait()
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
