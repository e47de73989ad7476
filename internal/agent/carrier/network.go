package carrier

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"
)

// clockStep is how far the wall clock must leave the monotonic one, to either side, for it to have been set. It also
// runs ahead in a suspended machine, where the other stands still.
const clockStep = 10 * time.Second

// clock is the machine's wall clock, held against the monotonic one.
type clock struct {
	wall  func() time.Time
	began time.Time // a moment of the monotonic one
}

// origin is what the wall clock makes of the moment began: always the same, until somebody sets it.
func (c clock) origin() time.Time { return c.wall().Round(0).Add(-time.Since(c.began)) }

// watch notices that the machine slept or that its network changed, by looking: at the clocks, the addresses, and the
// default routes where the system shows them in a file.
type watch struct {
	origin    time.Time
	addresses []string
	routes    string
}

// changed reports whether something changed since the last look. A clock that was set forward looks like sleep.
func (w *watch) changed(origin time.Time) bool {
	slept := !w.origin.IsZero() && origin.Sub(w.origin) > clockStep
	addresses, routes := addresses(), defaultRoutes()
	moved := w.addresses != nil && (!slices.Equal(addresses, w.addresses) || routes != w.routes)
	w.origin, w.addresses, w.routes = origin, addresses, routes
	return slept || moved
}

// has reports whether an address is still one of this machine's.
func (w *watch) has(address net.Addr) bool {
	if address == nil {
		return true
	}
	at, err := netip.ParseAddrPort(address.String())
	return err != nil || slices.Contains(w.addresses, at.Addr().Unmap().WithZone("").String())
}

func addresses() []string {
	all, err := net.InterfaceAddrs()
	list := make([]string, 0, len(all))
	for _, a := range all {
		if ip, _, ok := strings.Cut(a.String(), "/"); err == nil && ok {
			list = append(list, ip)
		}
	}
	slices.Sort(list)
	return list
}

// defaultRoutes is the part of the routing table that decides how the hub is reached; empty where there is no file.
func defaultRoutes() string {
	var routes []string
	for _, file := range []string{"/proc/net/route", "/proc/net/ipv6_route"} {
		table, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(table)) {
			f := strings.Fields(line)
			switch {
			case len(f) > 7 && f[1] == "00000000" && f[7] == "00000000":
				routes = append(routes, f[0]+" "+f[2])
			case len(f) > 9 && f[1] == "00" && strings.Trim(f[0], "0") == "":
				routes = append(routes, f[9]+" "+f[4])
			}
		}
	}
	slices.Sort(routes)
	return strings.Join(routes, "\n")
}
