package conformance

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// How many statements the standards number.
var numbered = map[string]int{"4": 141, "5": 251}

var (
	documentLine = regexp.MustCompile(`^\| ([0-9.]+-[0-9]+) \| (.+) \| (.+) \|$`)
	hostileLine  = regexp.MustCompile("^\\| `(hostile/[a-z0-9-]+)` \\| (.+) \\|$")
	quoted       = regexp.MustCompile("`([^`]+)`")
	testFunction = regexp.MustCompile(`(?m)^func (Test\w+)\(`)
)

// proofs reads docs/mqtt-conformance.md: by version and statement, what is quoted in its last column.
func proofs(t *testing.T) (all map[string]map[string][]string, hostile []string) {
	t.Helper()
	text, err := os.ReadFile("../../../docs/mqtt-conformance.md")
	if err != nil {
		t.Fatal(err)
	}
	all = map[string]map[string][]string{"4": {}, "5": {}}
	version := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if title, ok := strings.CutPrefix(line, "## "); ok {
			version = map[string]string{"MQTT 3.1.1": "4", "MQTT 5.0": "5"}[title]
		}
		if m := hostileLine.FindStringSubmatch(line); m != nil {
			hostile = append(hostile, m[1])
		}
		m := documentLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		if _, twice := all[version][m[1]]; twice || version == "" {
			t.Errorf("%s stands twice, or in no version's table", m[1])
		}
		all[version][m[1]] = []string{}
		for _, q := range quoted.FindAllStringSubmatch(m[3], -1) {
			all[version][m[1]] = append(all[version][m[1]], q[1])
		}
	}
	return all, hostile
}

// The document and the tests say the same: every statement has its line, what a line names exists and proves it, every row is named.
func TestDocumentAndRowsAgree(t *testing.T) {
	t.Parallel()
	documented, hostile := proofs(t)
	written := tests(t)
	byName := map[string]row{}
	for _, w := range append(rows(t, "rows"), rows(t, "hostile")...) {
		if _, twice := byName[w.name]; twice || w.words == "" || len(w.steps) == 0 {
			t.Errorf("%s stands twice, or has no words or no steps", w.name)
		}
		byName[w.name] = w
	}
	for version, lines := range documented {
		if len(lines) != numbered[version] {
			t.Errorf("version %s has %d lines, want %d", version, len(lines), numbered[version])
		}
		for statement, proofs := range lines {
			for _, name := range proofs {
				if _, ok := byName[name]; !ok && !written[name] {
					t.Errorf("%s names %s, which is not there", statement, name)
				}
			}
		}
	}
	for name, w := range byName {
		for version, list := range w.statements {
			for _, statement := range list {
				if statement != "-" && !slices.Contains(documented[version][statement], name) {
					t.Errorf("%s proves %s of version %s, and the document does not say so", name, statement, version)
				}
			}
		}
		if strings.HasPrefix(name, "hostile/") && !slices.Contains(hostile, name) {
			t.Errorf("the document has no line for %s", name)
		}
	}
	for _, name := range hostile {
		if _, ok := byName[name]; !ok {
			t.Errorf("the document names %s, which is not there", name)
		}
	}
}

// tests are the test functions of this package and of the broker.
func tests(t *testing.T) map[string]bool {
	t.Helper()
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob("../*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	written := map[string]bool{}
	for _, file := range append(files, more...) {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range testFunction.FindAllSubmatch(source, -1) {
			written[string(m[1])] = true
		}
	}
	return written
}

// The reader of rows refuses what it does not understand: a row with a slip must not pass as an empty one.
func TestRowsWithSlipsAreRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"connect a", "== x\nconnect a", "== x 4:1.1-1\nWords.\nconnect a\nconect a", "== x 4:1.1-1\na> 30 \"open", "== x 4:1.1-1\na> [01"} {
		if _, err := parse("own", text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
	w := words{version: "5", seen: map[string][]byte{}}
	packet := []byte("\x40\x03\x00\x01\x10")
	for expected, ok := range map[string]bool{"40 . 0001 ?00|10": true, "40 . 0001 ?00|87": false, "40 . 0001 10": true, "40 . 0001": false, "40 ..": true,
		"40 . 0002 ..": false, "40 . @m 10": true, "40 . 0001 10 []": false, "50 ..": false, "40 03|04 ?? ?? ??": true} {
		tokens, err := tokenize(expected)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.match(tokens, packet); (err == nil) != ok {
			t.Errorf("%q against % x: %v", expected, packet, err)
		}
	}
}
