//go:build unix

package cli

import (
	"testing"
	"time"

	"github.com/aditdev/adit/internal/wire"
)

func TestTimeAgo(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.Local)
	for text, want := range map[string]time.Time{
		"1h": now.Add(-time.Hour), "90m": now.Add(-90 * time.Minute), "2d": now.Add(-48 * time.Hour), "0s": now,
		"2026-01-31":           time.Date(2026, 1, 31, 0, 0, 0, 0, time.Local),
		"2026-01-31 18:00":     time.Date(2026, 1, 31, 18, 0, 0, 0, time.Local),
		"2026-01-31T18:00:05":  time.Date(2026, 1, 31, 18, 0, 5, 0, time.Local),
		"2026-01-31T18:00:00Z": time.Date(2026, 1, 31, 18, 0, 0, 0, time.UTC),
	} {
		if got, err := timeAgo(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "-1h", "d", "xd", "1", "yesterday", "2026-13-01", "1h2"} {
		if got, err := timeAgo(text, now); wire.CodeOf(err) != wire.Invalid {
			t.Errorf("%q is taken for %v", text, got)
		}
	}
}
