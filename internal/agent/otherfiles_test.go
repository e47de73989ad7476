package agent

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aditdev/adit/internal/sshdtest"
)

const insideOtherFiles = "ADIT_TEST_INSIDE"

// withFiles runs the test once more, in a process that sees the given texts in place of the machine's own files, and
// says whether this is that process.
func withFiles(t *testing.T, texts map[string]string) (inside bool) {
	t.Helper()
	if os.Getenv(insideOtherFiles) == t.Name() {
		return true
	}
	sshdtest.NeedRoot(t)
	sshdtest.NeedTools(t, "unshare", "mount")
	dir := t.TempDir()
	script := "set -e\n"
	for path, text := range texts {
		ours := filepath.Join(dir, filepath.Base(path))
		if err := os.WriteFile(ours, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		script += "mount --bind " + ours + " " + path + "\n"
	}
	script += `exec "$0" -test.v -test.count=1 -test.run "^$1\$"`
	cmd := exec.CommandContext(t.Context(), "unshare", "--mount", "sh", "-c", script, os.Args[0], t.Name())
	cmd.Env = append(os.Environ(), insideOtherFiles+"="+t.Name())
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}
