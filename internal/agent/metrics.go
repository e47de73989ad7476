package agent

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aditdev/adit/internal/api"
)

const (
	metricsFresh = time.Second            // an answer is given again to whoever asks within
	sampleOld    = time.Minute            // a sample of the processors that says nothing of now any more
	sampleFor    = 250 * time.Millisecond // that a first sample takes
)

// gauge measures the machine. Several pages may ask: one measures, and the others get the same answer.
type gauge struct {
	root string // in front of every path; "" but in tests

	mu   sync.Mutex
	cpu  cpuTime
	at   time.Time // of cpu
	last api.Metrics
}

// cpuTime is what all processors together did since the start, in ticks.
type cpuTime struct{ busy, all uint64 }

// read measures. It waits a moment where the processors were last looked at long ago, at most until ctx ends.
func (g *gauge) read(ctx context.Context) api.Metrics {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.at.IsZero() && time.Since(g.at) < metricsFresh {
		return g.last
	}
	if g.at.IsZero() || time.Since(g.at) > sampleOld {
		g.cpu = g.processors()
		select {
		case <-ctx.Done():
		case <-time.After(sampleFor):
		}
	}
	m := api.Metrics{Cpus: new(runtime.NumCPU()), UptimeSeconds: g.uptime(), Load: g.load(), TemperatureCelsius: g.temperature(),
		AgentMemoryBytes: g.resident()}
	now := g.processors()
	m.CPUBusy = busyBetween(g.cpu, now)
	g.memory(&m)
	g.disk(&m)
	g.network(&m)
	g.cpu, g.at, g.last = now, time.Now(), m
	return m
}

// busyBetween is the share of the time that was busy; nil where no time passed or nothing is known.
func busyBetween(a, b cpuTime) *float64 {
	if b.all <= a.all || b.busy < a.busy {
		return nil
	}
	return new(min(1, float64(b.busy-a.busy)/float64(b.all-a.all)))
}

// text is a file, "" where it cannot be read.
func (g *gauge) text(path string) string {
	data, err := os.ReadFile(g.root + path)
	if err != nil {
		return ""
	}
	return string(data)
}

func (g *gauge) uptime() *float64 {
	first, _, _ := strings.Cut(g.text("/proc/uptime"), " ")
	return number(first)
}

func number(s string) *float64 {
	f, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	if err != nil {
		return nil
	}
	return &f
}

func (g *gauge) load() *[]float64 {
	fields := strings.Fields(g.text("/proc/loadavg"))
	var out []float64
	for _, f := range fields[:min(3, len(fields))] {
		if n := number(f); n != nil {
			out = append(out, *n)
		}
	}
	if len(out) != 3 {
		return nil
	}
	return &out
}

// processors reads the first line of /proc/stat (proc_stat(5)): user nice system idle iowait irq softirq steal, behind
// which stands time of guests that is counted in the first two already.
func (g *gauge) processors() (t cpuTime) {
	line, _, _ := strings.Cut(g.text("/proc/stat"), "\n")
	for i, field := range strings.Fields(line) {
		n, err := strconv.ParseUint(field, 10, 64)
		if err != nil || i == 0 || i > 8 {
			continue
		}
		t.all += n
		if i != 4 && i != 5 {
			t.busy += n
		}
	}
	return t
}

// memory fills in what /proc/meminfo says. Kernels before 3.14 have no MemAvailable.
func (g *gauge) memory(m *api.Metrics) {
	known := map[string]**int64{"MemTotal:": &m.MemoryBytes, "MemAvailable:": &m.MemoryAvailableBytes,
		"SwapTotal:": &m.SwapBytes, "SwapFree:": &m.SwapFreeBytes}
	for line := range strings.Lines(g.text("/proc/meminfo")) {
		fields := strings.Fields(line)
		if len(fields) < 2 || known[fields[0]] == nil {
			continue
		}
		if kib, err := strconv.ParseInt(fields[1], 10, 64); err == nil {
			*known[fields[0]] = new(kib << 10)
		}
	}
}

func (g *gauge) disk(m *api.Metrics) {
	var st unix.Statfs_t
	if unix.Statfs("/", &st) != nil {
		return
	}
	size := int64(st.Bsize)
	m.DiskBytes, m.DiskFreeBytes = new(int64(st.Blocks)*size), new(int64(st.Bavail)*size)
}

// network sums /proc/net/dev (proc_pid_net(5)) over what is hardware: bytes through a bridge or a tunnel are counted
// there already. Where nothing is, as in a container, all but loopback counts.
func (g *gauge) network(m *api.Metrics) {
	var hard, all [2]int64
	anyHard, found := false, false
	for line := range strings.Lines(g.text("/proc/net/dev")) {
		name, counts, ok := strings.Cut(strings.TrimSpace(line), ":")
		fields := strings.Fields(counts)
		if !ok || len(fields) < 9 || name == "lo" {
			continue
		}
		in, errIn := strconv.ParseInt(fields[0], 10, 64)
		out, errOut := strconv.ParseInt(fields[8], 10, 64)
		if errIn != nil || errOut != nil {
			continue
		}
		found = true
		all[0], all[1] = all[0]+in, all[1]+out
		if exists(g.root + "/sys/class/net/" + name + "/device") {
			anyHard = true
			hard[0], hard[1] = hard[0]+in, hard[1]+out
		}
	}
	if !found {
		return
	}
	if !anyHard {
		hard = all
	}
	m.NetworkInBytes, m.NetworkOutBytes = &hard[0], &hard[1]
}

// temperature is the hottest of the sensors that tell something likely: many boards have one that is not connected.
func (g *gauge) temperature() (hottest *float64) {
	for _, pattern := range []string{"/sys/class/thermal/thermal_zone*/temp", "/sys/class/hwmon/hwmon*/temp*_input"} {
		paths, _ := filepath.Glob(g.root + pattern) // the patterns are well-formed
		for _, path := range paths {
			milli := number(firstFile(path))
			if milli == nil || *milli <= -40_000 || *milli >= 150_000 {
				continue
			}
			if c := *milli / 1000; hottest == nil || c > *hottest {
				hottest = &c
			}
		}
		if hottest != nil {
			return hottest
		}
	}
	return nil
}

// resident reads the second number of /proc/self/statm (proc_pid_statm(5)), which is in pages.
func (g *gauge) resident() *int64 {
	fields := strings.Fields(g.text("/proc/self/statm"))
	if len(fields) < 2 {
		return nil
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return nil
	}
	return new(pages * int64(os.Getpagesize()))
}
