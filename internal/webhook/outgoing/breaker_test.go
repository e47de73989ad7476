package outgoing

import (
	"testing"
	"time"
)

// An endpoint is beyond hope after five days of failures. Days in which nobody tried, since it was paused or the hub was off, are none of them, nor are those that
// a clock skipped that was put right.
func TestHopeless(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		then, every time.Duration // after a minute of failures
		hopeless    bool
	}{
		"failed for days":              {6 * 24 * time.Hour, 29 * time.Hour, true},
		"failed for less":              {4 * 24 * time.Hour, 29 * time.Hour, false},
		"untried for days, then again": {6 * 24 * time.Hour, 6 * 24 * time.Hour, false},
		"the clock was years ahead":    {-10 * 365 * 24 * time.Hour, -10 * 365 * 24 * time.Hour, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var h health
			at := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
			for range 2 * breakAfter {
				at = at.Add(3 * time.Second)
				if h.failed(at, "500") {
					t.Fatal("hopeless within a minute")
				}
			}
			hopeless := false
			for began := at; at.Sub(began).Abs() < c.then.Abs() && !hopeless; {
				at = at.Add(c.every)
				hopeless = h.failed(at, "500")
			}
			if hopeless != c.hopeless {
				t.Errorf("hopeless: %v", hopeless)
			}
			if at := at.Add(5 * 24 * time.Hour); c.every > 30*time.Hour && h.failed(at, "500") {
				t.Error("hopeless without an attempt in five days more")
			}
		})
	}
}
