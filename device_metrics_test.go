package main

import (
	"os"
	"path/filepath"
	"testing"
)

// The figures of a real machine come through hub and agent, and asking for them writes nothing on the device.
func TestMetrics(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	paths := s.device(map[string]any{"name": "kitchen"})
	within(t, patience, "online", func() bool { return s.online("kitchen") })
	var raw map[string]any
	if status := s.call(s.owner, "GET", "/api/v1/devices/kitchen/metrics", nil, &raw); status != 200 {
		t.Fatal(status, raw)
	}
	for _, name := range []string{"uptime_seconds", "memory_bytes", "memory_available_bytes", "disk_bytes", "disk_free_bytes", "cpus",
		"agent_memory_bytes", "cpu_busy", "load", "network_in_bytes"} {
		if raw[name] == nil {
			t.Errorf("%s is missing in %v", name, raw)
		}
	}
	if kept, err := os.ReadDir(filepath.Join(paths.Dir, "answers")); err == nil && len(kept) > 0 {
		t.Errorf("asking wrote %d files on the device", len(kept))
	}
}
