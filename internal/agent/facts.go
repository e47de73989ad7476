package agent

import (
	"bufio"
	"context"
	"net"
	"os"
	"os/user"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aditdev/adit/internal/api"
	"github.com/aditdev/adit/internal/wire"
)

// collectFacts is what the device tells of itself. Whatever cannot be read is left out.
func collectFacts(ctx context.Context, p Paths, c Config, s survey) api.Facts {
	facts := machineFacts()
	facts.Addresses = optionalList(addresses())
	facts.Install = new(installKind(p))
	if p.User {
		if u, err := user.Current(); err == nil {
			facts.Login = optional(u.Username)
		}
	}
	if path, err := os.Executable(); err == nil {
		facts.AgentPath = optional(path)
	}
	facts.SSH = new(sshFacts(ctx, p, c, s.sshd))
	facts.Services = new(services(s.sockets))
	facts.Policy = &api.DevicePolicy{
		Targets: &c.Policy.Targets, Logins: &c.Policy.Logins, Root: &c.Policy.Root,
		Rescue: &c.Policy.Rescue, Run: &c.Policy.Run, Update: &c.Policy.Update, RootPassword: &c.Policy.RootPassword,
	}
	facts.Commands = commandFacts(c)
	return facts
}

func machineFacts() api.Facts {
	hostname, _ := os.Hostname()
	return api.Facts{
		Hostname:    optional(wire.Printable(hostname, 253)),
		Os:          optional(osName()),
		Kernel:      optional(kernel()),
		Arch:        optional(arch()),
		Model:       optional(firstFile("/proc/device-tree/model", "/tmp/sysinfo/model", "/sys/class/dmi/id/product_name")),
		Serial:      optional(firstFile("/proc/device-tree/serial-number", "/sys/class/dmi/id/product_serial")),
		MachineID:   optional(firstFile("/etc/machine-id", "/var/lib/dbus/machine-id")),
		Cpus:        new(runtime.NumCPU()),
		MemoryBytes: memory(),
		BootTime:    bootTime(),
	}
}

func installKind(p Paths) api.FactsInstall {
	if _, err := os.Stat(p.Service()); err != nil {
		return api.FactsInstallNone
	}
	if p.User {
		return api.FactsInstallUser
	}
	return api.FactsInstallSystem
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func optionalList(s []string) *[]string {
	if len(s) == 0 {
		return nil
	}
	return &s
}

// firstFile is the first of paths that has a line of text, cut to what a page can show.
func firstFile(paths ...string) string {
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		if s := strings.TrimSpace(wire.Printable(string(data), 120)); s != "" {
			return s
		}
	}
	return ""
}

func osName() string {
	for _, path := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		name := releaseField(bufio.NewScanner(f), "PRETTY_NAME")
		_ = f.Close()
		if name != "" {
			return name
		}
	}
	return runtime.GOOS
}

func releaseField(lines *bufio.Scanner, key string) string {
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), key+"="); ok {
			return wire.Printable(strings.Trim(value, `"'`), 120)
		}
	}
	return ""
}

func kernel() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
}

func arch() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return runtime.GOARCH
	}
	return unix.ByteSliceToString(u.Machine[:])
}

func memory() *int64 {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) >= 2 && fields[0] == "MemTotal:" {
			if kib, err := strconv.ParseInt(fields[1], 10, 64); err == nil {
				return new(kib << 10)
			}
		}
	}
	return nil
}

func bootTime() *time.Time {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, "btime "); ok {
			if s, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64); err == nil {
				return new(time.Unix(s, 0).UTC())
			}
		}
	}
	return nil
}

// addresses are the machine's own, without loopback and link-local ones, sorted so that reports compare equal.
func addresses() []string {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var out []string
	for _, a := range list {
		n, ok := a.(*net.IPNet)
		if ok && !n.IP.IsLoopback() && !n.IP.IsLinkLocalUnicast() && !slices.Contains(out, n.IP.String()) {
			out = append(out, n.IP.String())
		}
	}
	slices.Sort(out)
	return out[:min(len(out), 16)]
}
