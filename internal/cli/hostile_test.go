package cli

import (
	"bytes"
	"strings"
	"testing"
	"unicode"

	"github.com/aditdev/adit/internal/api"
)

// What a device or a hub says reaches the terminal as text: no escapes, nothing that turns the line around, one row each.
func TestDevicesAreListedAsText(t *testing.T) {
	t.Parallel()
	hostile := "a\x1b[31m\x1b]0;owned\x07\u202e\u2066\u200b\"><img src=x onerror=alert(1)>\n\rb\u009b2J\xff"
	var b bytes.Buffer
	err := printDevices(&b, []api.Device{{Name: hostile, DefaultLogin: &hostile, Facts: &api.Facts{Os: &hostile},
		Tags: []string{hostile}, Online: true}})
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(b.String(), "\n"); n != 2 {
		t.Errorf("%d lines: %q", n, b.String())
	}
	for _, r := range b.String() {
		if r != '\n' && (!unicode.IsPrint(r) || r == unicode.ReplacementChar) {
			t.Errorf("%U is printed: %q", r, b.String())
		}
	}
	if !strings.Contains(b.String(), `"><img`) {
		t.Errorf("what can be shown is not: %q", b.String())
	}
}
