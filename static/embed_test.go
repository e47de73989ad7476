package static

import (
	"io/fs"
	"regexp"
	"strings"
	"testing"
)

// Both pages must be there in a fresh clone, where dist holds nothing, and after a build.
func TestFilesHasThePages(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"index.html", "app.html"} {
		page, err := fs.ReadFile(Files(), name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(page), "<title>") {
			t.Errorf("%s has no title", name)
		}
	}
}

// The CSP allows no inline script or style, so a page that has one would be broken in every browser.
func TestPagesAreFitForTheCSP(t *testing.T) {
	t.Parallel()
	inline := regexp.MustCompile(`(?i)<script(?:\s+(?:type|crossorigin|blocking)(?:="[^"]*")?)*\s*>|<style|\sstyle=|\son[a-z]+=`)
	for _, name := range []string{"index.html", "app.html"} {
		page, err := fs.ReadFile(Files(), name)
		if err != nil {
			t.Fatal(err)
		}
		if found := inline.Find(page); found != nil {
			t.Errorf("%s has inline code or style: %s", name, found)
		}
	}
}

// The landing page works without JavaScript, and so loads none.
func TestLandingHasNoScript(t *testing.T) {
	t.Parallel()
	page, err := fs.ReadFile(Files(), "index.html")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(strings.ToLower(string(page)), "<script") {
		t.Error("index.html has a script")
	}
}

// A page names its bundles by hash: one that is missing would be a page that never starts.
func TestPagesNameOnlyFilesThatExist(t *testing.T) {
	t.Parallel()
	link := regexp.MustCompile(`(?:src|href)="/((?:assets/|favicon)[^"]+)"`)
	for _, name := range []string{"index.html", "app.html"} {
		page, err := fs.ReadFile(Files(), name)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range link.FindAllSubmatch(page, -1) {
			if _, err := fs.Stat(Files(), string(match[1])); err != nil {
				t.Errorf("%s names %s: %v", name, match[1], err)
			}
		}
	}
}
