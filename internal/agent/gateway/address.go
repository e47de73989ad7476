package gateway

import (
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/aditdev/adit/internal/wire"
)

const localhost = "localhost"

// CheckAddress checks an entry of `[mqtt] listen`: HOST:PORT with an IP address, or INTERFACE:PORT, as 192.168.1.5:1883 or
// eth0:1883. One that others can reach needs users. Errors are of code Invalid.
func CheckAddress(entry string, users int) error {
	host, port, err := net.SplitHostPort(entry)
	if n, bad := net.LookupPort("tcp", port); err != nil || bad != nil || n == 0 && port != "0" || host == "" && strings.HasPrefix(entry, ":") || strings.ContainsAny(host, " /") {
		return wire.Errorf(wire.Invalid, `mqtt.listen %q is neither ADDRESS:PORT nor INTERFACE:PORT. For this machine alone write "127.0.0.1:1883", `+
			`for a network of it as "eth0:1883".`, entry)
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() || host == "*" {
		return wire.Errorf(wire.Invalid, `mqtt.listen %q would listen in every network, those of guests and providers too. Name one, as "eth0:%s" or "192.168.1.5:%s".`,
			entry, port, port)
	}
	if !isLoopback(host) && users == 0 {
		return wire.Errorf(wire.Invalid, "mqtt.listen %q can be reached by others, and there is no [[mqtt.user]]. `adit agent mqtt-user add NAME` makes one.", entry)
	}
	return nil
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == localhost || host == "lo" || err == nil && ip.Unmap().IsLoopback()
}

// resolve gives the addresses to listen on now: of an interface all but those that only links know.
func resolve(entry string) ([]string, error) {
	host, port, err := net.SplitHostPort(entry)
	if err != nil {
		return nil, err
	}
	if host == localhost {
		host = "127.0.0.1"
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return []string{net.JoinHostPort(host, port)}, nil
	}
	network, err := net.InterfaceByName(host)
	if err != nil {
		return nil, wire.Wrap(err, wire.NotFound, "There is no network interface %s here", host)
	}
	addresses, err := network.Addrs()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, a := range addresses {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && !prefix.Addr().IsLinkLocalUnicast() {
			out = append(out, net.JoinHostPort(prefix.Addr().String(), port))
		}
	}
	if len(out) == 0 {
		return nil, wire.Errorf(wire.Offline, "The network interface %s has no address yet.", host)
	}
	slices.Sort(out)
	return out, nil
}
