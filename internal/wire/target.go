package wire

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Target is one thing on a device that a stream may reach: a named service, or `tcp:HOST:PORT` as seen from the device.
type Target string

// The named services. What each one is on a device, the device decides.
const (
	TargetSSH    Target = "ssh"    // its SSH server: sshd where there is one, else the agent's own
	TargetMQTT   Target = "mqtt"   // its local MQTT broker
	TargetHTTP   Target = "http"   // its web server
	TargetRescue Target = "rescue" // the agent's built-in SSH server, also where sshd exists but is broken
)

// ParseTarget checks s and gives its canonical form. A bare port means `tcp:127.0.0.1:PORT`.
// It fails with an Error of code Invalid.
func ParseTarget(s string) (Target, error) {
	switch Target(s) {
	case TargetSSH, TargetMQTT, TargetHTTP, TargetRescue:
		return Target(s), nil
	}
	if port, err := strconv.ParseUint(s, 10, 16); err == nil && port > 0 {
		return TCPTarget("127.0.0.1", int(port)), nil
	}
	address, ok := strings.CutPrefix(s, "tcp:")
	if !ok {
		return "", Errorf(Invalid, "%q is no target. Write ssh, mqtt, http or tcp:HOST:PORT, as tcp:127.0.0.1:1883.", s)
	}
	host, port, err := net.SplitHostPort(address)
	n, errPort := strconv.ParseUint(port, 10, 16)
	if err != nil || errPort != nil || n == 0 || !validHost(host) {
		return "", Errorf(Invalid, "%q is no target. After tcp: comes HOST:PORT, as tcp:127.0.0.1:1883 or tcp:[::1]:80.", s)
	}
	return TCPTarget(host, int(n)), nil
}

// TCPTarget is the target of a host and port as seen from the device. An address is written in one way only: grants
// that deny it must meet it.
func TCPTarget(host string, port int) Target {
	if ip, err := netip.ParseAddr(host); err == nil {
		host = ip.Unmap().String()
	}
	return Target("tcp:" + net.JoinHostPort(strings.ToLower(host), strconv.Itoa(port)))
}

// Address is the HOST:PORT of a tcp target; ok is false for a named service.
func (t Target) Address() (address string, ok bool) { return strings.CutPrefix(string(t), "tcp:") }

// validHost accepts IP addresses and DNS names, nothing that a resolver or a shell could read otherwise.
func validHost(host string) bool {
	if net.ParseIP(host) != nil {
		return true
	}
	if host == "" || len(host) > 253 || host[0] == '-' || endsInNumber(host) {
		return false
	}
	for _, r := range host {
		if r != '-' && r != '.' && r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') {
			return false
		}
	}
	return true
}

// endsInNumber reports whether some resolvers would take a name for an IPv4 address: 127.1, 0x7f.1, 2130706433 (WHATWG
// URL, "ends in a number checker"). No name on the Internet does.
func endsInNumber(host string) bool {
	host = strings.TrimSuffix(host, ".")
	last := strings.ToLower(host[strings.LastIndexByte(host, '.')+1:])
	if hex, ok := strings.CutPrefix(last, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return last != "" && strings.Trim(last, "0123456789") == ""
}
