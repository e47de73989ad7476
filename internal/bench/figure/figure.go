// Package figure is what the measurements share: medians, the memory of a process, and how a row with its bound is printed.
package figure

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Median sorts values, of which there must be one at least.
func Median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

// Resident is a process's resident memory in KiB; 0 where it is gone.
func Resident(pid int) float64 {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kib
		}
	}
	return 0
}

// Row is what was measured, its value, what it stands beside and its bound, and whether that is met.
func Row(what, value, beside, bound string, met bool) string {
	verdict := "ok"
	if !met {
		verdict = "NOT MET"
	}
	return fmt.Sprintf("%-38s %14s   %-52s %-14s %s", what, value, beside, bound, verdict)
}

// Pause waits for d, or until ctx ends.
func Pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
