package house

import (
	"os"
	"regexp"
	"testing"
)

var (
	namedTest   = regexp.MustCompile("`((?:Test|Fuzz)[A-Z][A-Za-z0-9]*)`")
	writtenTest = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)[A-Z][A-Za-z0-9]*)\(`)
)

// What docs/security.md promises is proven by tests; each that it names must exist.
func TestSecurityPageNamesRealTests(t *testing.T) {
	page, err := os.ReadFile(root + "/docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	written := map[string]bool{}
	for _, source := range sources(t) {
		for _, m := range writtenTest.FindAllSubmatch(source, -1) {
			written[string(m[1])] = true
		}
	}
	named := namedTest.FindAllSubmatch(page, -1)
	if len(named) < 40 {
		t.Errorf("only %d tests are named", len(named))
	}
	for _, m := range named {
		if !written[string(m[1])] {
			t.Errorf("docs/security.md names %s, which is not written", m[1])
		}
	}
}
