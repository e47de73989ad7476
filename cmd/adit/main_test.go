package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/aditdev/adit/internal/command"
	"github.com/aditdev/adit/internal/wire"
)

func TestRun(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args        []string
		status      int
		out, stderr string
	}{
		{args: []string{"version"}, out: "adit devel"},
		{args: []string{"version", "--json"}, out: `"version": "devel`},
		{args: []string{"version", "--json"}, out: `"platform": "` + command.Platform() + `"`},
		{args: []string{"version", "x"}, status: 2, stderr: `adit: invalid: adit version does not know what to do with "x"`},
		{args: []string{"--help"}, out: "Usage: adit COMMAND"},
		{args: nil, status: 2, stderr: "Usage: adit COMMAND"},
		{args: []string{"agnet"}, status: 2, stderr: "Did you mean `adit agent`?"},
		{args: []string{"agent", "--help"}, out: "install-service"},
		{args: []string{"agent", "status", "--help"}, out: "Usage: adit agent status"},
		{args: []string{"agent", "status", "--dir", "/nonexistent"}, status: wire.NotFound.ExitCode(), stderr: "adit: not_found: "},
		{args: []string{"agent", "stauts"}, status: 2, stderr: "Did you mean `adit agent status`?"},
	} {
		var out, stderr bytes.Buffer
		status := run(t.Context(), c.args, command.Stdio{In: strings.NewReader(""), Out: &out, Err: &stderr})
		if status != c.status || !strings.Contains(out.String(), c.out) || !strings.Contains(stderr.String(), c.stderr) {
			t.Errorf("%q: status %d\nstdout: %s\nstderr: %s", c.args, status, &out, &stderr)
		}
	}
}

// Every command that people are shown explains itself, and no two rows share a name.
func TestEveryCommandHasHelp(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, c := range table() {
		if seen[c.Name] {
			t.Errorf("%s is there twice", c.Name)
		}
		seen[c.Name] = true
		if c.Name == "agent" || c.Summary == "" {
			continue
		}
		var out bytes.Buffer
		status := run(t.Context(), []string{c.Name, "--help"}, command.Stdio{Out: &out, Err: &out})
		if status != 0 || !strings.HasPrefix(out.String(), "Usage: adit "+c.Name) {
			t.Errorf("%s: status %d, %s", c.Name, status, &out)
		}
	}
}
