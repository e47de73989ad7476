package agent

import (
	"os"
	"strings"
	"time"
)

// readHubTime is the last time of day heard from the hub, or zero: a lower bound for clocks that start in 1970.
func readHubTime(path string) time.Time {
	data, err := os.ReadFile(path)
	if err != nil {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, strings.TrimSpace(string(data)))
	if err != nil {
		return time.Time{}
	}
	return t
}

func writeHubTime(path string, t time.Time) error {
	return writeFile(path, []byte(t.UTC().Format(time.RFC3339)+"\n"), 0o600)
}
