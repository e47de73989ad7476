package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestReadEvents(t *testing.T) {
	const stream = `{"Action":"start","Package":"p"}
{"Action":"output","Package":"p","Test":"TestGood","Output":"=== RUN   TestGood\n"}
{"Action":"output","Package":"p","Test":"TestGood","Output":"chatter\n"}
{"Action":"pass","Package":"p","Test":"TestGood"}
{"Action":"output","Package":"p","Test":"TestBad","Output":"    x_test.go:1: wrong\n"}
{"Action":"fail","Package":"p","Test":"TestBad"}
{"Action":"skip","Package":"p","Test":"TestNone"}
{"Action":"output","Package":"p","Test":"TestCut","Output":"panic: gone\n"}
{"Action":"build-output","ImportPath":"q","Output":"q.go:1: broken\n"}
{"Action":"output","Package":"p","Output":"PASS\n"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}
{"Action":"fail","Package":"p"}
not json
`
	var out strings.Builder
	got := readEvents(strings.NewReader(stream), &out)
	if want := (count{passed: 1, failed: 1}); got.count() != want {
		t.Errorf("counted %v, want %v", got.count(), want)
	}
	for _, want := range []string{"x_test.go:1: wrong", "q.go:1: broken", "FAIL\tp", "not json", "panic: gone"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("output lacks %q:\n%s", want, &out)
		}
	}
	if strings.Contains(out.String(), "chatter") {
		t.Errorf("output of a passed test was shown:\n%s", &out)
	}
}

func TestSteps(t *testing.T) {
	got := steps([]string{"--", "a", "x", "-v", "--", "b", "y"})
	if len(got) != 2 || strings.Join(got[0], " ") != "a x -v" || strings.Join(got[1], " ") != "b y" {
		t.Errorf("steps = %q", got)
	}
}

// Few tests that failed by a condition get a second try; none does where something worse was seen, or where a package failed
// by itself.
func TestAgain(t *testing.T) {
	fail := func(pkg, test, output string) string {
		return fmt.Sprintf(`{"Action":"output","Package":%q,"Test":%q,"Output":%q}
{"Action":"fail","Package":%q,"Test":%q}
{"Action":"fail","Package":%q}
`, pkg, test, output, pkg, test, pkg)
	}
	for name, c := range map[string]struct {
		stream string
		want   []testName
	}{
		"a condition": {fail("p", "TestA/sub", "a_test.go:1: late\n") + fail("q", "TestB", ""), []testName{{"p", "TestA"}, {"q", "TestB"}}},
		"a panic that was wanted": {`{"Action":"output","Package":"p","Test":"TestOK","Output":"panic: as planned\n"}
{"Action":"pass","Package":"p","Test":"TestOK"}
` + fail("q", "TestB", ""), []testName{{"q", "TestB"}}},
		"a race":      {fail("p", "TestA", "WARNING: DATA RACE\n"), nil},
		"a panic":     {fail("p", "TestA", "panic: nil map\n") + fail("q", "TestB", ""), nil},
		"a timeout":   {fail("p", "TestA", "panic: test timed out after 20m0s\n"), nil},
		"a leak":      {fail("p", "TestA", "") + `{"Action":"fail","Package":"leaky"}`, nil},
		"cut off":     {`{"Action":"output","Package":"p","Test":"TestA","Output":"fatal error: out of memory\n"}`, nil},
		"too many":    {fail("p", "TestA", "") + fail("p", "TestB", "") + fail("p", "TestC", "") + fail("p", "TestD", ""), nil},
		"none failed": {`{"Action":"pass","Package":"p","Test":"TestA"}`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if got := readEvents(strings.NewReader(c.stream), io.Discard).again(); !slices.Equal(got, c.want) {
				t.Errorf("again = %v, want %v", got, c.want)
			}
		})
	}
}

// Real `go test` runs: a test that fails once only is unsteady, one that fails twice is failed, and so is a test that takes
// its package down.
func TestSecondTry(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module m\n\ngo 1.24\n", "m_test.go": `package m

import (
	"os"
	"testing"
)

func TestGood(t *testing.T) { t.Run("sub", func(t *testing.T) {}) }

func TestOnce(t *testing.T) {
	if _, err := os.Stat("seen"); err != nil {
		os.WriteFile("seen", nil, 0o600)
		t.Fatal("the first time")
	}
}

func TestBad(t *testing.T) {
	if os.Getenv("BAD") != "" {
		t.Error("each time")
	}
}
`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	try := func(args ...string) (count, []testName, error) {
		_ = os.Remove(filepath.Join(dir, "seen"))
		return goTest(append(append([]string{"env"}, args...), "go", "test", "-C", dir, "-json", "./..."))
	}
	c, unsteady, err := try("BAD=")
	if (c != count{passed: 4}) || !slices.Equal(unsteady, []testName{{"m", "TestOnce"}}) || err != nil {
		t.Errorf("%v, unsteady %v, %v", c, unsteady, err)
	}
	c, unsteady, err = try("BAD=1")
	if (c != count{passed: 3, failed: 1}) || !slices.Equal(unsteady, []testName{{"m", "TestOnce"}}) || err == nil {
		t.Errorf("%v, unsteady %v, %v", c, unsteady, err)
	}
}
