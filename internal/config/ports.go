package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// TCPPorts are the TCP ports that devices may be given, on one address of this machine. The zero value is none.
type TCPPorts struct {
	Address     netip.Addr
	First, Last int
}

// Has reports whether port is one of them.
func (p TCPPorts) Has(port int) bool { return p.First > 0 && p.First <= port && port <= p.Last }

// Len is how many there are.
func (p TCPPorts) Len() int {
	if p.First == 0 {
		return 0
	}
	return p.Last - p.First + 1
}

// String is ADDRESS:FIRST-LAST; empty where there are none.
func (p TCPPorts) String() string {
	if p.First == 0 {
		return ""
	}
	first := netip.AddrPortFrom(p.Address, uint16(p.First)).String()
	return first + "-" + strconv.Itoa(p.Last)
}

// setTCPPorts reads [ADDRESS:]FIRST-LAST. Whoever names no address gets loopback: a port that the whole network reaches
// is a decision.
func (c *Config) setTCPPorts(value string) error {
	if value == "" {
		return nil
	}
	first, last, ok := strings.Cut(value, "-")
	address := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if at, err := netip.ParseAddrPort(first); err == nil {
		address, first = at.Addr().Unmap(), strconv.Itoa(int(at.Port()))
	}
	from, errFrom := parsePort(first)
	to, errTo := parsePort(last)
	if !ok || errFrom != nil || errTo != nil || address.Zone() != "" {
		return fmt.Errorf("%q is no range of ports such as 20000-20999, or 0.0.0.0:20000-20999 to be reached from elsewhere", value)
	}
	if from > to {
		return fmt.Errorf("%q ends before it begins", value)
	}
	for name, listen := range map[string]string{"PORT": c.Listen, "ADIT_SSH_ADDR": c.SSHListen, "ADIT_MQTT_ADDR": c.MQTTListen} {
		if own, err := parsePort(listen[strings.LastIndexByte(listen, ':')+1:]); err == nil && from <= own && own <= to {
			return fmt.Errorf("%q holds %d, which is the hub's own (%s)", value, own, name)
		}
	}
	c.TCPPorts = TCPPorts{Address: address, First: from, Last: to}
	return nil
}

func parsePort(text string) (int, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != text {
		return 0, errors.New("no port")
	}
	return int(n), nil
}
