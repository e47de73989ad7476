package agent

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"io"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/aditdev/adit/internal/api"
)

// socket is one listening TCP socket. PID is 0 where its process cannot be seen.
type socket struct {
	address netip.AddrPort
	inode   string
	pid     int
	uid     int    // that the process runs as; -1 where its process cannot be seen
	program string // base name of the executable
}

// listeningSockets reads /proc/net/tcp and tcp6; it gives nothing on systems without them.
func listeningSockets() []socket {
	var all []socket
	for _, path := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		all = append(all, parseListening(f)...)
		_ = f.Close()
	}
	owners := socketOwners()
	for i := range all {
		if pid, ok := owners[all[i].inode]; ok {
			all[i].pid, all[i].uid, all[i].program = pid, uidOf(pid), programOf(pid)
		}
	}
	return all
}

const stateListen = "0A" // TCP_LISTEN in include/net/tcp_states.h

// parseListening reads the table that proc_net_tcp(5) describes.
func parseListening(r io.Reader) []socket {
	var out []socket
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 10 || fields[3] != stateListen {
			continue
		}
		if address, ok := parseHexAddress(fields[1]); ok {
			out = append(out, socket{address: address, inode: fields[9], uid: -1})
		}
	}
	return out
}

// parseHexAddress reads ADDRESS:PORT, the address in 32-bit words of the machine's byte order, the port as a number.
func parseHexAddress(s string) (netip.AddrPort, bool) {
	address, port, ok := strings.Cut(s, ":")
	raw, err := hex.DecodeString(address)
	n, errPort := strconv.ParseUint(port, 16, 16)
	if !ok || err != nil || errPort != nil || len(raw)%4 != 0 {
		return netip.AddrPort{}, false
	}
	if binary.NativeEndian.Uint16([]byte{1, 0}) == 1 {
		for i := 0; i < len(raw); i += 4 {
			slices.Reverse(raw[i : i+4])
		}
	}
	ip, ok := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(ip.Unmap(), uint16(n)), ok
}

// socketOwners maps socket inodes to processes, as far as this user may see.
func socketOwners() map[string]int {
	owners := map[string]int{}
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, link := range links {
		name, err := os.Readlink(link)
		if err != nil {
			continue
		}
		inode, ok := strings.CutPrefix(name, "socket:[")
		if !ok {
			continue
		}
		if pid, err := strconv.Atoi(strings.Split(link, "/")[2]); err == nil {
			owners[strings.TrimSuffix(inode, "]")] = pid
		}
	}
	return owners
}

// isSystems is false where the socket's process is seen to be another user's than root or the agent's own. Anybody may
// call a program sshd and listen; the agent runs the sshd that it finds, to ask for its settings, and must not run that.
func (s socket) isSystems() bool { return s.pid == 0 || s.uid == 0 || s.uid == os.Geteuid() }

// uidOf is the real user of a process; -1 where that cannot be read. The owner of its directory in /proc is not asked: a
// process can make that root.
func uidOf(pid int) int {
	data, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "Uid:" {
			if uid, err := strconv.Atoi(fields[1]); err == nil {
				return uid
			}
		}
	}
	return -1
}

func programOf(pid int) string {
	exe, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "exe"))
	if err != nil {
		return firstFile(filepath.Join("/proc", strconv.Itoa(pid), "comm"))
	}
	return filepath.Base(strings.TrimSuffix(exe, " (deleted)"))
}

const maxServices = 64

// services are the listening ports as the device page shows them: one for each port, by port.
func services(sockets []socket) []api.Service {
	byPort := map[int]socket{}
	for _, s := range sockets {
		if _, seen := byPort[int(s.address.Port())]; !seen {
			byPort[int(s.address.Port())] = s
		}
	}
	out := []api.Service{}
	for _, port := range slices.Sorted(maps.Keys(byPort)) {
		s := byPort[port]
		out = append(out, api.Service{
			Port: port, Address: new(s.address.Addr().String()), Protocol: protocolOf(port, s.program), Process: optional(s.program),
		})
	}
	return out[:min(len(out), maxServices)]
}

// protocolOf guesses what speaks on a port from its program and number. Nothing is probed.
func protocolOf(port int, program string) api.ServiceProtocol {
	switch {
	case program == "sshd", program == "dropbear", port == 22:
		return api.ServiceProtocolSSH
	case program == "mosquitto", port == 1883:
		return api.ServiceProtocolMqtt
	case port == 443, port == 8443:
		return api.ServiceProtocolHTTPS
	case port == 80, port == 8080, port == 8000, port == 3000, port == 8123, port == 9090:
		return api.ServiceProtocolHTTP
	}
	return api.ServiceProtocolTCP
}

// dialable is where to connect to reach a socket that listens on address: a wildcard is reached by loopback.
func dialable(address netip.AddrPort) string {
	ip := address.Addr()
	if ip.IsUnspecified() {
		ip = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return net.JoinHostPort(ip.String(), strconv.Itoa(int(address.Port())))
}
