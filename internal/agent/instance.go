package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"
)

// nextInstance raises the boot counter on disk and gives it. The hub lets a higher counter replace a lower one, so
// the file is synced before the number is used.
func nextInstance(path string) (uint64, error) {
	last, err := readNumber(path)
	if err != nil {
		return 0, fmt.Errorf("read the boot counter: %w", err)
	}
	next := last + 1
	return next, writeFile(path, []byte(strconv.FormatUint(next, 10)+"\n"), 0o600)
}

// readNumber gives 0 for a file that is not there or was never finished: a damaged counter must not keep the device
// away, and the hub then sees a low counter and asks a person.
func readNumber(path string) (uint64, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(data)), 10, 64)
	if err != nil {
		return 0, nil
	}
	return n, nil
}

// readHubTime is the last time of day heard from the hub, or zero: a lower bound for clocks that start in 1970.
func readHubTime(path string) time.Time {
	data, err := os.ReadFile(path)
	var t time.Time
	if err != nil || json.Unmarshal(data, &t) != nil {
		return time.Time{}
	}
	return t
}

func writeHubTime(path string, t time.Time) error {
	data, err := json.Marshal(t.UTC())
	if err != nil {
		return err
	}
	return writeFile(path, data, 0o600)
}
