//go:build linux

package e2e

import (
	"bytes"
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
