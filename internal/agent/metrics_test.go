package agent

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aditdev/adit/internal/api"
)

// machineOf writes what a kernel shows below a directory, for a gauge to read.
func machineOf(t *testing.T, files map[string]string) *gauge {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return &gauge{root: root}
}

const netDev = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:    7000      10    0    0    0     0          0         0     7000      10    0    0    0     0       0          0
  eth0:     100      10    0    0    0     0          0         0       10      10    0    0    0     0       0          0
 wlan0:200 10 0 0 0 0 0 0 20 10 0 0 0 0 0 0
docker0:    5000      10    0    0    0     0          0         0     5000      10    0    0    0     0       0          0
`

func TestMetricsOfAMachine(t *testing.T) {
	t.Parallel()
	g := machineOf(t, map[string]string{
		"/proc/uptime":  "3723.50 14000.00\n",
		"/proc/loadavg": "0.10 1.25 2.00 1/312 4711\n",
		"/proc/meminfo": "MemTotal:        1000 kB\nMemFree:          10 kB\nMemAvailable:     400 kB\nSwapTotal:        100 kB\nSwapFree:          50 kB\n",
		"/proc/net/dev": netDev, "/sys/class/net/eth0/device": "", "/sys/class/net/wlan0/device": "", "/sys/class/net/docker0/type": "1\n",
		"/sys/class/thermal/thermal_zone0/temp": "-274000\n", "/sys/class/thermal/thermal_zone1/temp": "41500\n",
		"/sys/class/thermal/thermal_zone2/temp": "38000\n", "/proc/self/statm": "2000 3 1 1 0 1 0\n",
	})
	got := g.read(t.Context())
	got.Cpus, got.DiskBytes, got.DiskFreeBytes = nil, nil, nil // the test machine's own
	want := api.Metrics{
		UptimeSeconds: new(3723.5), Load: &[]float64{0.1, 1.25, 2}, MemoryBytes: new(int64(1000 << 10)), MemoryAvailableBytes: new(int64(400 << 10)),
		SwapBytes: new(int64(100 << 10)), SwapFreeBytes: new(int64(50 << 10)), NetworkInBytes: new(int64(300)), NetworkOutBytes: new(int64(30)),
		TemperatureCelsius: new(41.5), AgentMemoryBytes: new(int64(3 * os.Getpagesize())),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A container has interfaces that are no hardware; a machine without /proc, as macOS, has fewer figures and no error.
func TestMetricsWithLess(t *testing.T) {
	t.Parallel()
	m := machineOf(t, map[string]string{"/proc/net/dev": netDev}).read(t.Context())
	if m.NetworkInBytes == nil || *m.NetworkInBytes != 5300 {
		t.Errorf("without hardware: %v", m.NetworkInBytes)
	}
	m = machineOf(t, map[string]string{"/proc/loadavg": "0.1 word\n", "/proc/stat": "cpu\n", "/proc/uptime": "", "/proc/self/statm": "x y"}).read(t.Context())
	if m.DiskBytes == nil || *m.DiskBytes <= 0 || *m.DiskFreeBytes > *m.DiskBytes {
		t.Errorf("the disk: %+v", m)
	}
	m.Cpus, m.DiskBytes, m.DiskFreeBytes = nil, nil, nil
	if diff := cmp.Diff(api.Metrics{}, m); diff != "" {
		t.Error(diff)
	}
}

func TestBusyBetween(t *testing.T) {
	t.Parallel()
	g := machineOf(t, map[string]string{"/proc/stat": "cpu  10 1 4 100 20 2 3 5 9 9\ncpu0 1 1 1 1 1 1 1 1 1 1\n"})
	if got, want := g.processors(), (cpuTime{busy: 25, all: 145}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if b := busyBetween(cpuTime{25, 145}, cpuTime{75, 245}); b == nil || *b != 0.5 {
		t.Errorf("half busy: %v", b)
	}
	for name, pair := range map[string][2]cpuTime{"no time passed": {{1, 2}, {1, 2}}, "counters went back": {{9, 10}, {1, 12}}, "nothing known": {}} {
		if b := busyBetween(pair[0], pair[1]); b != nil {
			t.Errorf("%s: %v", name, *b)
		}
	}
}
