package main

import (
	"slices"
	"strings"
)

// maxAgain is how many tests of a command may have a second try. More failures than that are no accident.
const maxAgain = 3

// again lists the tests that deserve a second try: few, and failed by nothing worse than a condition. A panic, a data race
// or a timeout is never excused, and neither is its package.
func (r *result) again() []testName {
	var tests []testName
	for t, o := range r.tests {
		switch {
		case o.broken && (o.failed > 0 || o.passed == 0): // what a passing test prints may tell of panics that it wanted
			return nil
		case o.failed > 0:
			tests = append(tests, t)
		}
	}
	if len(tests) > maxAgain || !r.failedByTests(tests) {
		return nil
	}
	slices.SortFunc(tests, func(a, b testName) int { return strings.Compare(a.String(), b.String()) })
	return tests
}

// failedByTests reports whether each package that failed did so because of one of these tests.
func (r *result) failedByTests(tests []testName) bool {
	for pkg := range r.failed {
		if !slices.ContainsFunc(tests, func(t testName) bool { return t.pkg == pkg }) {
			return false
		}
	}
	return true
}

// alone is the command for one test: the same flags, and its package in the place of the packages.
func alone(args []string, t testName) []string {
	flags := slices.Clone(args[:len(args)-1])
	return append(flags, "-count=1", "-run", "^"+t.name+"$", t.pkg)
}

// passed reports whether the test ran, and passed, and nothing else failed.
func (r *result) passed(t testName) bool {
	return r.tests[t] != nil && r.tests[t].passed > 0 && r.allPassed()
}

// replace puts what came of a test's second try in the place of its first.
func (r *result) replace(t testName, second *result) {
	r.tests[t] = second.tests[t]
	if !r.hasFailed(t.pkg) {
		delete(r.failed, t.pkg)
	}
}

// hasFailed reports whether a test of the package is still among the failed ones.
func (r *result) hasFailed(pkg string) bool {
	for t, o := range r.tests {
		if t.pkg == pkg && o.failed > 0 {
			return true
		}
	}
	return false
}
