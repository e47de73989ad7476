package main

import (
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
	if want := (count{passed: 1, failed: 1}); got != want {
		t.Errorf("counted %v, want %v", got, want)
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
