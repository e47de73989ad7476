//go:build linux

package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"testing"
)

// A cli is a command of a person's.
type cli struct{ *exec.Cmd }

// text runs the command to its end and gives its standard output; a failure fails the test.
func (c *cli) text(t testing.TB) string {
	t.Helper()
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil {
		t.Fatalf("%v: %v\n%s%s", c.Args[len(c.Args)-3:], err, &out, &errs)
	}
	return out.String()
}

// pipe runs the command with its output going into another one here, and gives what that one says.
func (c *cli) pipe(t testing.TB, program string) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = w, &errs
	sink := exec.Command(program)
	sink.Stdin, sink.Stdout = r, &out
	if err := sink.Start(); err != nil {
		t.Fatal(err)
	}
	err = c.Run()
	w.Close()
	r.Close()
	if end := sink.Wait(); err != nil || end != nil {
		t.Fatalf("%v: %v, %s: %v\n%s", c.Args[len(c.Args)-3:], err, program, end, &errs)
	}
	return out.String()
}
