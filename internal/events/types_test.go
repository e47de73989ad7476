package events_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/wire"
)

// parsed is every Go file of the module that is no test and was written by hand, by its path.
func parsed(t *testing.T) map[string]*ast.File {
	t.Helper()
	const root = "../.."
	files := map[string]*ast.File{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || d.Name() == "testdata" || d.Name() == ".git"):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.Contains(path, "gen.go"):
			return nil
		}
		files[path], err = parser.ParseFile(token.NewFileSet(), path, nil, 0)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// constants are the types that the package names, by the name of the constant.
func constants(t *testing.T, files map[string]*ast.File) map[string]string {
	t.Helper()
	out := map[string]string{}
	for path, file := range files {
		if filepath.Base(filepath.Dir(path)) != "events" || filepath.Base(path) != "types.go" {
			continue
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if v, ok := n.(*ast.ValueSpec); ok && len(v.Values) == 1 {
				if text, ok := v.Values[0].(*ast.BasicLit); ok {
					out[v.Names[0].Name], _ = strconv.Unquote(text.Value)
				}
			}
			return true
		})
	}
	return out
}

// The catalogue has every type once, and each has a name of the one form.
func TestCatalogue(t *testing.T) {
	t.Parallel()
	named, seen := constants(t, parsed(t)), map[string]bool{}
	for _, c := range events.Types() {
		group, what, ok := strings.Cut(c.Name, ".")
		if !ok || seen[c.Name] || strings.Trim(group+what, "abcdefghijklmnopqrstuvwxyz_") != "" {
			t.Errorf("%q: twice, or not group.what", c.Name)
		}
		seen[c.Name] = true
	}
	for name, kind := range named {
		if !seen[kind] {
			t.Errorf("%s = %q is not in Types", name, kind)
		}
	}
	if len(named) < 60 || len(named) != len(seen) {
		t.Errorf("%d constants, %d types", len(named), len(seen))
	}
}

// docs/events.md has a line for each type, with its members.
func TestDocumentHasTheCatalogue(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range events.Types() {
		if line := "| `" + c.Name + "` | `" + strings.Join(c.Data, "` `") + "` |"; !strings.Contains(string(text), line) {
			t.Errorf("docs/events.md has no line that begins %s", line)
		}
	}
}

// Whatever the hub writes, it writes under a constant's name, with members that the catalogue has.
func TestEveryTypeWrittenIsInTheCatalogue(t *testing.T) {
	t.Parallel()
	files := parsed(t)
	named, members := constants(t, files), map[string][]string{}
	for _, c := range events.Types() {
		members[c.Name] = c.Data
	}
	written := 0
	for path, file := range files {
		ast.Inspect(file, func(n ast.Node) bool {
			l, ok := n.(*ast.CompositeLit)
			if !ok || !isSelector(l.Type, "Event") {
				return true
			}
			kind, data := fieldsOf(l)
			if text, ok := kind.(*ast.BasicLit); ok {
				t.Errorf("%s: the type %s is spelled out; it has or wants a constant in types.go", path, text.Value)
			}
			s, ok := kind.(*ast.SelectorExpr)
			if !ok {
				return true // a parameter, whose callers name a constant
			}
			written++
			name, ok := named[s.Sel.Name]
			if !ok {
				t.Errorf("%s: events.%s is no type", path, s.Sel.Name)
			}
			for _, key := range data {
				if !slices.Contains(members[name], key) {
					t.Errorf("%s: %s has no member %q in Types", path, name, key)
				}
			}
			return true
		})
	}
	if written < 30 {
		t.Errorf("found %d events: does this test look at the right thing?", written)
	}
}

// isSelector reports whether e is events.name.
func isSelector(e ast.Expr, name string) bool {
	s, ok := e.(*ast.SelectorExpr)
	if !ok || s.Sel.Name != name {
		return false
	}
	x, ok := s.X.(*ast.Ident)
	return ok && x.Name == "events"
}

// fieldsOf is the type of an Event that is written out, and the keys of its data.
func fieldsOf(l *ast.CompositeLit) (kind ast.Expr, keys []string) {
	for _, e := range l.Elts {
		kv, ok := e.(*ast.KeyValueExpr)
		if !ok {
			continue
		}
		switch kv.Key.(*ast.Ident).Name {
		case "Type":
			kind = kv.Value
		case "Data":
			data, _ := kv.Value.(*ast.CompositeLit)
			if data == nil {
				continue
			}
			for _, m := range data.Elts {
				if text, ok := m.(*ast.KeyValueExpr).Key.(*ast.BasicLit); ok {
					key, _ := strconv.Unquote(text.Value)
					keys = append(keys, key)
				}
			}
		}
	}
	return kind, keys
}

func TestMatch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, kind string
		want          bool
	}{
		{"device.online", "device.online", true}, {"device.online", "device.offline", false}, {"device.*", "device.online", true},
		{"device.*", "devices.online", false}, {"*", "anything", true}, {"", "", true}, {"", "device.online", false}, {"d*e", "dee", false},
	} {
		if got := events.Match([]string{"none", c.pattern}, c.kind); got != c.want {
			t.Errorf("%q %q: %v", c.pattern, c.kind, got)
		}
	}
	if events.Match(nil, "device.online") {
		t.Error("no pattern matches")
	}
}

// A type that no hub writes is refused with the one that was meant.
func TestCheckPattern(t *testing.T) {
	t.Parallel()
	for pattern, says := range map[string]string{
		"device.online": "", "device.*": "", "*": "", "device.on*": "", "hook.test": "",
		"device.onlin": "There is no event type device.onlin. Did you mean device.online?",
		"devce.*":      "There is no event type devce.*. Did you mean device.*?",
		"none.such":    "There is no event type none.such. docs/events.md lists them.",
		"device.x*":    "There is no event type device.x*. Did you mean device.*?",
		"":             "There is no event type . docs/events.md lists them.",
	} {
		if got := wire.MessageOf(events.CheckPattern(pattern)); got != says && (says != "" || events.CheckPattern(pattern) != nil) {
			t.Errorf("%q: %q, want %q", pattern, got, says)
		}
	}
}
