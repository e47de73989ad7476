package agent

import (
	"net"
	"net/netip"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aditdev/adit/internal/wire"
)

// Policy is what the device itself allows, whatever the hub says.
type Policy struct {
	// Targets that streams may reach: the named services ssh, mqtt and http; loopback (any port of this machine's
	// own loopback addresses); tcp:HOST:PORT, where HOST or PORT may be *.
	Targets []string
	// Logins are the accounts that may be used; * is every one.
	Logins []string
	Root   bool // whether root is one of them, by any name that it has here
	Rescue bool // whether the built-in SSH server may be reached while sshd exists
	Run    bool // whether the hub may run the commands that agent.toml names, without a person
	Update bool // whether the hub may renew the agent
	// RootPassword is whether the hub may give root a new password, which it then knows.
	RootPassword bool
	// StreamResume is for how many seconds a stream's target stays open after its carrier died.
	StreamResume int
}

const (
	targetLoopback = "loopback"
	localhost      = "localhost"
)

// DefaultPolicy lets people in by SSH as every account, and reach what listens on this machine; nothing beyond it.
func DefaultPolicy() Policy {
	return Policy{
		Targets: []string{"ssh", "mqtt", "http", targetLoopback},
		Logins:  []string{"*"},
		Root:    true, Rescue: true, Update: true,
		StreamResume: 120,
	}
}

func (p Policy) check() error {
	for _, t := range p.Targets {
		if !validPattern(t) {
			return wire.Errorf(wire.Invalid, "policy.targets: %q is neither ssh, mqtt, http, loopback nor tcp:HOST:PORT.", t)
		}
	}
	for _, l := range p.Logins {
		if l != "*" && !wire.ValidLogin(l) {
			return wire.Errorf(wire.Invalid, "policy.logins: %q is no account's name, nor *.", l)
		}
	}
	if p.StreamResume < 0 || p.StreamResume > 3600 {
		return wire.Errorf(wire.Invalid, "policy.stream_resume is %d; it takes 0 to 3600 seconds.", p.StreamResume)
	}
	return nil
}

func validPattern(p string) bool {
	if slices.Contains([]string{"ssh", "mqtt", "http", targetLoopback}, p) {
		return true
	}
	address, ok := strings.CutPrefix(p, "tcp:")
	host, port, err := net.SplitHostPort(address)
	if !ok || err != nil || host == "" {
		return false
	}
	if host == "*" {
		host = "any"
	}
	if port == "*" {
		port = "1"
	}
	_, err = wire.ParseTarget("tcp:" + net.JoinHostPort(host, port))
	return err == nil
}

// Resume is how long a resumable stream's target stays open without a carrier.
func (p Policy) Resume() time.Duration { return time.Duration(p.StreamResume) * time.Second }

// AllowsLogin reports whether the account login may be used.
func (p Policy) AllowsLogin(login string) bool {
	if !p.Root && isRoot(login) {
		return false
	}
	return slices.Contains(p.Logins, "*") || slices.Contains(p.Logins, login)
}

// isRoot reports whether login is an account with uid 0, of which a machine may have several. It asks passwd(5); an
// account that is not there is another than root.
func isRoot(login string) bool {
	if login == "root" {
		return true
	}
	u, err := user.Lookup(login)
	if err != nil {
		return false
	}
	uid, err := strconv.Atoi(u.Uid)
	return err != nil || uid == 0
}

// CheckTarget fails with an Error of code Forbidden, saying what to change, unless target may be reached.
func (p Policy) CheckTarget(target wire.Target) error {
	if target == wire.TargetRescue {
		if p.Rescue {
			return nil
		}
		return wire.Errorf(wire.Forbidden, "The device does not allow rescue shells (policy.rescue in its agent.toml).")
	}
	address, isTCP := target.Address()
	for _, pattern := range p.Targets {
		if pattern == string(target) || isTCP && matchAddress(pattern, address) {
			return nil
		}
	}
	return wire.Errorf(wire.Forbidden,
		"The device does not allow %s. Its owner can add it to policy.targets in its agent.toml.", target)
}

func matchAddress(pattern, address string) bool {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	if pattern == targetLoopback {
		return isLoopbackHost(host)
	}
	rest, ok := strings.CutPrefix(pattern, "tcp:")
	wantHost, wantPort, err := net.SplitHostPort(rest)
	if !ok || err != nil {
		return false
	}
	return (wantPort == "*" || wantPort == port) && (wantHost == "*" || sameHost(wantHost, host))
}

// sameHost compares names without case, and addresses by value.
func sameHost(a, b string) bool {
	ipA, errA := netip.ParseAddr(a)
	ipB, errB := netip.ParseAddr(b)
	if errA == nil && errB == nil {
		return ipA.Unmap() == ipB.Unmap()
	}
	return strings.EqualFold(a, b)
}

// isLoopbackHost reports whether host is this machine's own loopback: the name localhost or an address of it. Names
// that merely resolve to one do not count, since what they resolve to is not ours to say.
func isLoopbackHost(host string) bool {
	if strings.EqualFold(host, localhost) {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Zone() == "" && ip.Unmap().IsLoopback()
}

// allowTargets reads neighbours as ADIT_ALLOW gives them, HOST:PORT, where either may be *, by commas or spaces, and gives
// them as patterns of Policy.Targets. It fails with an Error of code Invalid.
func allowTargets(list string) ([]string, error) {
	var patterns []string
	for _, entry := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' }) {
		pattern := "tcp:" + strings.TrimPrefix(entry, "tcp:")
		if !validPattern(pattern) {
			return nil, wire.Errorf(wire.Invalid, "ADIT_ALLOW: %q is not HOST:PORT, as 192.168.1.10:80.", entry)
		}
		patterns = append(patterns, pattern)
	}
	return patterns, nil
}

// neighbours reads what an install code allows and gives it as patterns of Policy.Targets. Each must be one address:
// whoever took a hub over must not open a whole network by it. It fails with an Error of code Invalid.
func neighbours(list []string) ([]string, error) {
	patterns := make([]string, len(list))
	for i, entry := range list {
		target, err := wire.ParseTarget("tcp:" + entry)
		if err != nil || strings.Contains(entry, "*") {
			return nil, wire.Errorf(wire.Invalid,
				"The install code wants %q to be reachable through this machine, which is not one HOST:PORT. Nothing was changed here.", entry)
		}
		patterns[i] = string(target)
	}
	return patterns, nil
}

// Allow gives p with further targets.
func (p Policy) Allow(patterns []string) Policy {
	targets := slices.Clone(p.Targets)
	for _, pattern := range patterns {
		if !slices.Contains(targets, pattern) {
			targets = append(targets, pattern)
		}
	}
	p.Targets = targets
	return p
}

// loopbackSource is the loopback address from which the streams of one user reach sshd, so that sshd's penalties for
// failures hit nobody else. 127.1.0.0 and 127.1.255.255 are left out.
func loopbackSource(user string) net.IP {
	var h uint32 = 2166136261 // FNV-1a
	for i := range len(user) {
		h = (h ^ uint32(user[i])) * 16777619
	}
	n := h%65534 + 1
	return net.IPv4(127, 1, byte(n>>8), byte(n))
}

func joinPort(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }
