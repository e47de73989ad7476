package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// The test binary is the demo where it is told to be.
func TestMain(m *testing.M) {
	if os.Getenv("ADIT_TEST_DEMO") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// Whoever asks for help, or mistypes, starts nothing and leaves nothing behind. It began a hub, whatever was asked.
func TestArguments(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		args     []string
		status   int
		out, err string
	}{
		{[]string{"--help"}, 0, "Usage: adit-demo", ""},
		{[]string{"-h"}, 0, "Usage: adit-demo", ""},
		{[]string{"--port", "1"}, 2, "", "--port"},
		{[]string{"-h", "x"}, 2, "", "no arguments"},
		{[]string{"help"}, 2, "", "--help"},
	} {
		var out, errs strings.Builder
		cmd := exec.CommandContext(t.Context(), os.Args[0], row.args...)
		cmd.Dir, cmd.Stdout, cmd.Stderr = t.TempDir(), &out, &errs
		cmd.Env = append(os.Environ(), "ADIT_TEST_DEMO=1", "ADIT_DATA=")
		_ = cmd.Run()
		if cmd.ProcessState.ExitCode() != row.status || !strings.Contains(out.String(), row.out) || !strings.Contains(errs.String(), row.err) || (out.Len() > 0) == (errs.Len() > 0) {
			t.Errorf("%v: %v\n%s%s", row.args, cmd.ProcessState, &out, &errs)
		}
		if left, err := os.ReadDir(cmd.Dir); err != nil || len(left) != 0 {
			t.Errorf("%v leaves %v, %v", row.args, left, err)
		}
	}
}
