//go:build unix

package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/api"
	"github.com/aditdev/adit/internal/wire"
)

func TestTimeAgo(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.Local)
	for text, want := range map[string]time.Time{
		"1h": now.Add(-time.Hour), "90m": now.Add(-90 * time.Minute), "7d": now.AddDate(0, 0, -7), "0s": now,
		"2026-01-31":           time.Date(2026, 1, 31, 0, 0, 0, 0, time.Local),
		"2026-01-31 18:00":     time.Date(2026, 1, 31, 18, 0, 0, 0, time.Local),
		"2026-01-31T18:00:05":  time.Date(2026, 1, 31, 18, 0, 5, 0, time.Local),
		"2026-01-31T18:00:00Z": time.Date(2026, 1, 31, 18, 0, 0, 0, time.UTC), "2026-01-02T03:04:05+01:00": time.Date(2026, 1, 2, 2, 4, 5, 0, time.UTC),
	} {
		if got, err := timeAgo("since", text, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "-1h", "-2d", "d", "xd", "1", "5", "yesterday", "2026-13-01", "1h2"} {
		if got, err := timeAgo("since", text, now); wire.CodeOf(err) != wire.Invalid {
			t.Errorf("%q is taken for %v", text, got)
		}
	}
}

// A line of adit events has names where there are some, ids where not, whole numbers as such, and nothing that is empty or said already.
func TestPrintEvent(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 31, 18, 0, 5, 0, time.Local)
	for want, e := range map[string]api.Event{
		`7  2026-01-31 18:00:05  stream.closed  device=kitchen  user=ann  bytes_in=12345678  seconds=0.5  target="ssh"`: {Type: "stream.closed", DeviceName: new("kitchen"),
			DeviceID: new("dev_1"), UserID: new("usr_1"), UserHandle: new("ann"), Data: map[string]any{"bytes_in": 12345678.0, "seconds": 0.5, "target": "ssh", "name": "kitchen"}},
		`7  2026-01-31 18:00:05  device.removed  device=dev_1  user=usr_1  name="attic"`: {Type: "device.removed", DeviceID: new("dev_1"), UserID: new("usr_1"),
			Data: map[string]any{"name": "attic"}},
		`7  2026-01-31 18:00:05  hook.received  hook=GitHub  request_id="req_1"`: {Type: "hook.received", HookName: new("GitHub"),
			Data: map[string]any{"source": "src_1", "request_id": "req_1", "topic": "", "hops": nil}},
		`7  2026-01-31 18:00:05  hook.received  hook="door  user=ann"`: {Type: "hook.received", HookName: new("door  user=ann")},
		`7  2026-01-31 18:00:05  hook.source_removed  source="src_1"`:  {Type: "hook.source_removed", Data: map[string]any{"source": "src_1"}},
		`7  2026-01-31 18:00:05  hook.source_removed  name="garage"  source="src_1"`: {Type: "hook.source_removed",
			Data: map[string]any{"source": "src_1", "name": "garage"}},
		`7  2026-01-31 18:00:05  hook.source_changed  hook=garage  changed=["rate"]`: {Type: "hook.source_changed", HookName: new("garage"),
			Data: map[string]any{"source": "src_1", "name": "garage", "changed": []any{"rate"}}},
		`7  2026-01-31 18:00:05  grant.added  logins=["root","pi"]  strict=true`: {Type: "grant.added", Data: map[string]any{"logins": []any{"root", "pi"}, "strict": true}},
		`7  2026-01-31 18:00:05  install.step  device_name="a\"b[2J"`:            {Type: "install.step", Data: map[string]any{"device_name": "a\"b\x1b[2J"}},
	} {
		var out strings.Builder
		e.ID, e.At = 7, at
		if err := printEvent(&out, e); err != nil || out.String() != want+"\n" {
			t.Errorf("%v\n%s, want\n%s", err, out.String(), want)
		}
	}
}
