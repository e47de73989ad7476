package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/aditdev/adit/internal/api"
	"github.com/aditdev/adit/internal/command"
)

// What a device or a hub says reaches the terminal as text: no escapes, nothing that turns the line around, one row each.
func TestDevicesAreListedAsText(t *testing.T) {
	t.Parallel()
	hostile := hostile
	var b bytes.Buffer
	err := printDevices(&b, []api.Device{{Name: hostile, DefaultLogin: &hostile, Facts: &api.Facts{Os: &hostile},
		Tags: []string{hostile}, Online: true}})
	if err != nil {
		t.Fatal(err)
	}
	isText(t, b.String())
}

const hostile = "a\x1b[31m\x1b]0;owned\x07\u202e\u2066\u200b\"><img src=x onerror=alert(1)>\n\rb\u009b2J\xff"

// isText checks a table of a head and one row with hostile in it.
func isText(t *testing.T, printed string) {
	t.Helper()
	if n := strings.Count(printed, "\n"); n != 2 {
		t.Errorf("%d lines: %q", n, printed)
	}
	for _, r := range printed {
		if r != '\n' && (!unicode.IsPrint(r) || r == unicode.ReplacementChar) {
			t.Errorf("%U is printed: %q", r, printed)
		}
	}
	if !strings.Contains(printed, `"><img`) {
		t.Errorf("what can be shown is not: %q", printed)
	}
}

// The same for the lists of streams and ports.
func TestListsAreText(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	streams := []api.Stream{{ID: "1", DeviceName: hostile, UserHandle: hostile, Target: hostile, Via: hostile}}
	if err := printList(command.Stdio{Out: &b}, false, streams, streamRows(streams, time.Now()), ""); err != nil {
		t.Fatal(err)
	}
	isText(t, b.String())
}
