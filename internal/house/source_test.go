package house

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

// How long things may grow. A longer function says "Long because …" in its doc comment.
const (
	maxFileLines     = 600
	maxFunctionLines = 60
)

// Written in two halves, so that this file does not find itself.
var forbidden = []struct{ pattern, reason string }{
	{"Insecure" + "IgnoreHostKey", "host keys are pinned, always"},
	{"Insecure" + "SkipVerify", "TLS is verified, always; a test makes its own CA"},
}

var sleepInTest = regexp.MustCompile(`\btime\.` + `Sleep\(`)

func TestNothingForbiddenIsWritten(t *testing.T) {
	for path, source := range sources(t) {
		for _, f := range forbidden {
			if bytes.Contains(source, []byte(f.pattern)) {
				t.Errorf("%s has %s: %s", path, f.pattern, f.reason)
			}
		}
		if strings.HasSuffix(path, "_test.go") && sleepInTest.Match(source) {
			t.Errorf("%s sleeps: wait for the thing itself, or use testing/synctest", path)
		}
	}
}

var queryName = regexp.MustCompile(`(?m)^-- name: (\w+) :`)

// A query that nobody calls is read, migrated and explained for nothing.
func TestEveryQueryIsUsed(t *testing.T) {
	var called []byte
	for path, source := range sources(t) {
		if !strings.HasSuffix(path, ".sql_gen.go") && !strings.HasSuffix(path, "_test.go") {
			called = append(called, source...)
		}
	}
	files, err := filepath.Glob(root + "/sql/queries/*.sql")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range queryName.FindAllSubmatch(text, -1) {
			if !regexp.MustCompile(`\.` + string(m[1]) + `\b`).Match(called) {
				t.Errorf("%s: nobody calls %s", path, m[1])
			}
		}
	}
}

func TestNothingGrowsTooLong(t *testing.T) {
	var files, functions []int
	for path, source := range sources(t) {
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, source, parser.ParseComments)
		if err != nil {
			t.Error(err)
			continue
		}
		if ast.IsGenerated(file) {
			continue
		}
		lines := bytes.Count(source, []byte("\n"))
		files = append(files, lines)
		if lines > maxFileLines {
			t.Errorf("%s has %d lines, at most %d: is it one thing?", path, lines, maxFileLines)
		}
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			length := set.Position(f.End()).Line - set.Position(f.Pos()).Line + 1
			functions = append(functions, length)
			if length > maxFunctionLines && !strings.Contains(f.Doc.Text(), "Long because") {
				t.Errorf("%s: %s has %d lines, at most %d, or say \"Long because …\" above it",
					set.Position(f.Pos()), f.Name.Name, length, maxFunctionLines)
			}
		}
	}
	t.Logf("%d files, lines: median %d, p90 %d, longest %d", len(files), at(files, 50), at(files, 90), at(files, 100))
	t.Logf("%d functions, lines: median %d, p90 %d, longest %d", len(functions), at(functions, 50), at(functions, 90), at(functions, 100))
}

func at(values []int, percent int) int {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[(len(values)-1)*percent/100]
}

// sources reads every Go file of the tree.
func sources(t *testing.T) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && path != root && (name == "node_modules" || name == "bin" || name == "data" || name[0] == '.') {
			return filepath.SkipDir
		}
		if filepath.Ext(name) == ".go" {
			all[strings.TrimPrefix(path, root+"/")], err = os.ReadFile(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
