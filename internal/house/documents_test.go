package house

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// paths in backquotes, as `handlers/tunnel.go` or `internal/seal`.
var namedPath = regexp.MustCompile("`((?:\\.ci|cmd|docs|e2e|handlers|internal|sql|static|tunnelhub)/[\\w./-]*|\\w+\\.go|Makefile|Dockerfile|fly\\.toml)`")

// links of Markdown to files of the tree.
var link = regexp.MustCompile(`\]\(([\w./-]+\.md)\)`)

func TestDocumentsNameWhatExists(t *testing.T) {
	documents, err := filepath.Glob(root + "/docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	documents = append(documents, root+"/README.md", root+"/ARCHITECTURE.md", root+"/CONTRIBUTING.md", root+"/CHANGELOG.md")
	for _, path := range documents {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, m := range namedPath.FindAllSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(root, string(m[1]))); err != nil {
				t.Errorf("%s names %s, which is not there", filepath.Base(path), m[1])
			}
		}
		for _, m := range link.FindAllSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), string(m[1]))); err != nil {
				t.Errorf("%s links to %s, which is not there", filepath.Base(path), m[1])
			}
		}
	}
}

// Each direct dependency has a line in ARCHITECTURE.md that says why.
func TestEveryDependencyHasItsReason(t *testing.T) {
	architecture, err := os.ReadFile(root + "/ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile(root + "/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(bytes.NewReader(mod)); lines.Scan(); {
		fields := strings.Fields(strings.TrimPrefix(lines.Text(), "require "))
		if len(fields) != 2 || !strings.HasPrefix(fields[1], "v") || !strings.Contains(fields[0], ".") {
			continue // indirect ones have a comment behind them
		}
		if !bytes.Contains(architecture, []byte("`"+fields[0]+"`")) {
			t.Errorf("ARCHITECTURE.md does not say why %s is needed", fields[0])
		}
	}
}
