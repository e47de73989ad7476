package house

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What `adit` for linux/amd64 may weigh, in bytes: people fetch it over mobile links and keep it on small flash.
const (
	maxBinary     = 9_000_000
	maxCompressed = 3_600_000
)

// A program that looks methods up by name (reflect, templates, many command-line libraries) makes the linker keep every
// exported method of every type: two megabytes here.
func TestAgentBinaryIsSmall(t *testing.T) {
	file := filepath.Join(t.TempDir(), "adit")
	flags, err := exec.Command("make", "-s", "-C", root, "adit-flags").Output()
	if err != nil {
		t.Fatalf("make adit-flags: %v", err)
	}
	args := append([]string{"build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid= -dumpdep", "-o", file}, strings.Fields(string(flags))...)
	cmd := exec.Command("go", append(args, "./cmd/adit")...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("go build ./cmd/adit: %v\n%.2000s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "<ReflectMethod>") {
			t.Errorf("keeps every exported method alive: %s", line)
		}
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	compressed, err := exec.Command("gzip", "-9nc", file).Output() // as make does; Go's own is 2 % larger
	if err != nil {
		t.Fatalf("gzip: %v", err)
	}
	t.Logf("adit for linux/amd64: %d bytes, %d compressed", info.Size(), len(compressed))
	if info.Size() > maxBinary || len(compressed) > maxCompressed {
		t.Errorf("adit is %d bytes (at most %d), %d compressed (at most %d)", info.Size(), maxBinary, len(compressed), maxCompressed)
	}
}
