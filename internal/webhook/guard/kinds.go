package guard

import "net/netip"

// kind is a range of addresses that are no part of the public internet.
type kind struct {
	prefix   netip.Prefix
	name     string // behind "is"
	private  bool   // the second tier: any prefix of the setting opens it
	loopback bool
}

// Kinds of addresses, the narrow before the wide that hold them. After IANA's special-purpose registries for IPv4 and IPv6,
// in which everything counts as refused that is not plainly somebody's server, and the metadata services of clouds, which
// give out credentials to whoever asks from inside.
var kinds = func() []kind {
	of := func(name string, texts ...string) (all []kind) {
		for _, text := range texts {
			all = append(all, kind{prefix: netip.MustParsePrefix(text), name: name})
		}
		return all
	}
	var all []kind
	all = append(all, of("the metadata service of a cloud",
		"169.254.169.254/32", "169.254.170.2/32", "169.254.170.23/32", "100.100.100.200/32", "192.0.0.192/32", "168.63.129.16/32",
		"fd00:ec2::254/128", "fd00:ec2::23/128", "fd20:ce::254/128")...)
	loopback := of("the hub's own machine (loopback)", "127.0.0.0/8", "::1/128")
	for i := range loopback {
		loopback[i].loopback = true
	}
	all = append(all, loopback...)
	private := of("an address of a private network", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
	for i := range private {
		private[i].private = true
	}
	all = append(all, private...)
	all = append(all, of("no address of a machine (unspecified)", "0.0.0.0/8", "::/128")...)
	all = append(all, of("a link-local address", "169.254.0.0/16", "fe80::/10")...)
	all = append(all, of("a multicast address", "224.0.0.0/4", "ff00::/8")...)
	all = append(all, of("the broadcast address", "255.255.255.255/32")...)
	all = append(all, of("an address for documentation", "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20")...)
	all = append(all, of("an address of a tunnel (Teredo, 6to4)", "2001::/32", "2002::/16", "192.88.99.0/24")...)
	all = append(all, of("an address of this network's own translator (NAT64)", localTranslation.String())...)
	all = append(all, of("a reserved address", "192.0.0.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.175.48.0/24", "198.18.0.0/15", "240.0.0.0/4",
		"2001::/23", "2620:4f:8000::/48",
		// all of IPv6 but 2000::/3, which is what has been given out: so also ::/96, fec0::/10, 5f00::/16, 100::/64
		"::/3", "4000::/2", "8000::/1")...)
	return all
}()

// kindOf is the kind of addr; nil where it is public.
func kindOf(addr netip.Addr) *kind {
	for i := range kinds {
		if kinds[i].prefix.Contains(addr) {
			return &kinds[i]
		}
	}
	return nil
}

var (
	translation      = netip.MustParsePrefix("64:ff9b::/96")   // RFC 6052: the well-known one
	localTranslation = netip.MustParsePrefix("64:ff9b:1::/48") // RFC 8215: each network's own
)

// translated gives the IPv4 address at which a connection to addr comes out, where addr says so by itself.
func translated(addr netip.Addr) (netip.Addr, bool) {
	if !translation.Contains(addr) {
		return addr, false
	}
	return embedded(addr, translation.Bits())
}

// embedded takes the IPv4 address out of one that a translator with a prefix of so many bits has made (RFC 6052 §2.2). The
// octet at bits 64 to 71 is skipped.
func embedded(addr netip.Addr, bits int) (netip.Addr, bool) {
	switch bits {
	case 32, 40, 48, 56, 64, 96:
	default:
		return netip.Addr{}, false
	}
	raw, out := addr.As16(), [4]byte{}
	at := bits / 8
	for i := range out {
		if at == 8 {
			at++
		}
		out[i] = raw[at]
		at++
	}
	return netip.AddrFrom4(out), true
}
