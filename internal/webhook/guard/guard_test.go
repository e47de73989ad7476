package guard

import (
	"net/netip"
	"strings"
	"testing"

	"code.dny.dev/ssrf"

	"github.com/aditdev/adit/internal/wire"
)

func prefixes(texts ...string) (all []netip.Prefix) {
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

var privateWord = prefixes("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "100.64.0.0/10")

func TestEveryKindOfAddress(t *testing.T) {
	t.Parallel()
	const public = ""
	for _, test := range []struct{ addr, says string }{
		{"1.1.1.1", public}, {"8.8.8.8", public}, {"93.184.216.34", public}, {"100.63.255.255", public}, {"100.128.0.0", public},
		{"11.0.0.0", public}, {"172.15.255.255", public}, {"172.32.0.0", public}, {"192.167.255.255", public}, {"223.255.255.255", public},
		{"2606:4700:4700::1111", public}, {"2a00:1450:4001::200e", public}, {"::ffff:8.8.8.8", public}, {"64:ff9b::808:808", public},
		{"127.0.0.1", "loopback"}, {"127.255.255.254", "loopback"}, {"::1", "loopback"}, {"::ffff:127.0.0.1", "loopback"},
		{"::ffff:7f00:1", "loopback"}, {"64:ff9b::127.0.0.1", "leads to 127.0.0.1"}, {"64:ff9b::a9fe:a9fe", "metadata"},
		{"10.0.0.1", "private"}, {"10.255.255.255", "private"}, {"172.16.0.1", "private"}, {"172.31.255.255", "private"},
		{"192.168.1.1", "private"}, {"100.64.0.1", "private"}, {"100.127.255.255", "private"}, {"fc00::1", "private"}, {"fd12:3456::1", "private"},
		{"::ffff:10.0.0.1", "private"}, {"64:ff9b::a00:1", "private"}, {"fdff:ffff::1", "private"},
		{"169.254.169.254", "metadata"}, {"::ffff:169.254.169.254", "metadata"}, {"169.254.170.2", "metadata"}, {"fd00:ec2::254", "metadata"},
		{"100.100.100.200", "metadata"}, {"192.0.0.192", "metadata"}, {"168.63.129.16", "metadata"}, {"fd20:ce::254", "metadata"},
		{"169.254.0.1", "link-local"}, {"fe80::1", "link-local"}, {"fe80::1%eth0", "link-local"}, {"febf::1", "link-local"},
		{"0.0.0.0", "unspecified"}, {"0.1.2.3", "unspecified"}, {"::", "unspecified"}, {"::ffff:0.0.0.0", "unspecified"},
		{"224.0.0.1", "multicast"}, {"239.255.255.255", "multicast"}, {"ff02::1", "multicast"}, {"ff0e::1", "multicast"},
		{"255.255.255.255", "broadcast"}, {"240.0.0.1", "reserved"}, {"254.1.2.3", "reserved"}, {"198.18.0.1", "reserved"},
		{"192.0.2.1", "documentation"}, {"198.51.100.1", "documentation"}, {"203.0.113.1", "documentation"}, {"2001:db8::1", "documentation"}, {"3fff::1", "documentation"},
		{"2002:7f00:1::", "tunnel"}, {"2002:808:808::1", "tunnel"}, {"2001::1", "tunnel"}, {"2001:0:4136:e378:8000:63bf:3fff:fdd2", "tunnel"}, {"192.88.99.1", "tunnel"},
		{"64:ff9b:1::7f00:1", "translator"}, {"64:ff9b:1::808:808", "translator"},
		{"::127.0.0.1", "reserved"}, {"::ffff:0:127.0.0.1", "reserved"}, {"fec0::1", "reserved"}, {"100::1", "reserved"}, {"5f00::1", "reserved"},
		{"4000::1", "reserved"}, {"64:ff9b:0:0:0:1:808:808", "reserved"}, {"2001:10::1", "reserved"}, {"2001:20::1", "reserved"},
	} {
		err := New(nil).Check(netip.MustParseAddr(test.addr))
		if test.says == public {
			if err != nil {
				t.Errorf("%s: %v", test.addr, err)
			}
			continue
		}
		if wire.CodeOf(err) != wire.Forbidden || !strings.Contains(wire.MessageOf(err), test.says) || !strings.Contains(wire.MessageOf(err), setting) {
			t.Errorf("%s: %v, not %s", test.addr, err, test.says)
		}
	}
	if err := New(nil).Check(netip.Addr{}); wire.CodeOf(err) != wire.Forbidden {
		t.Errorf("no address: %v", err)
	}
}

func TestAllow(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		allow []netip.Prefix
		addr  string
		may   bool
	}{
		{privateWord, "10.1.2.3", true}, {privateWord, "fd12::1", true}, {privateWord, "100.64.1.1", true}, {privateWord, "::ffff:192.168.0.1", true},
		{privateWord, "64:ff9b::a01:203", true}, // a translator on the way to it
		// The word private is no way to a metadata service in those ranges.
		{privateWord, "100.100.100.200", false}, {privateWord, "fd00:ec2::254", false}, {privateWord, "fd20:ce::254", false},
		{privateWord, "127.0.0.1", false}, {privateWord, "169.254.169.254", false},
		{prefixes("10.1.2.3/32"), "10.1.2.3", true}, {prefixes("10.1.2.3/32"), "10.1.2.4", false}, {prefixes("10.1.2.3/8"), "10.9.9.9", true},
		// What holds everything opens private networks, and none of the forbidden.
		{prefixes("0.0.0.0/0", "::/0"), "10.1.2.3", true}, {prefixes("0.0.0.0/0", "::/0"), "fd12::1", true},
		{prefixes("0.0.0.0/0", "::/0"), "127.0.0.1", false}, {prefixes("0.0.0.0/0", "::/0"), "169.254.169.254", false},
		{prefixes("0.0.0.0/0", "::/0"), "::1", false}, {prefixes("0.0.0.0/0", "::/0"), "fe80::1", false}, {prefixes("0.0.0.0/0", "::/0"), "64:ff9b::7f00:1", false},
		{prefixes("127.0.0.0/8", "::1/128"), "127.0.0.1", true}, {prefixes("127.0.0.0/8", "::1/128"), "::1", true},
		{prefixes("127.0.0.0/8"), "::ffff:127.0.0.1", true}, {prefixes("127.0.0.0/8"), "10.0.0.1", false}, {prefixes("127.0.0.1/32"), "127.0.0.2", false},
		{prefixes("::ffff:127.0.0.1/128"), "127.0.0.1", true}, {prefixes("::ffff:10.0.0.0/104"), "10.2.3.4", true},
		{prefixes("169.254.0.0/16"), "169.254.1.1", true}, {prefixes("169.254.0.0/16"), "169.254.169.254", false},
		{prefixes("169.254.169.254/32"), "169.254.169.254", true}, {prefixes("fe80::/10"), "fe80::1%eth0", true},
		{prefixes("2002::/16"), "2002:7f00:1::", true}, // exactly named
		// A translator of one's own: what comes out is judged as well (RFC 6052 §2.2).
		{prefixes("64:ff9b:1::/96"), "64:ff9b:1::808:808", true}, {prefixes("64:ff9b:1::/96"), "64:ff9b:1::7f00:1", false},
		{prefixes("64:ff9b:1::/96", "10.0.0.0/8"), "64:ff9b:1::a00:1", true},
		{prefixes("64:ff9b:1::/48"), "64:ff9b:1:808:8:800::", true}, {prefixes("64:ff9b:1::/48"), "64:ff9b:1:7f00:0:100::", false},
		{prefixes("64:ff9b:1::/48"), "64:ff9b:1:a9fe:a9:fe00::", false},
		{[]netip.Prefix{{}}, "10.0.0.1", false},
	} {
		if err := New(test.allow).Check(netip.MustParseAddr(test.addr)); (err == nil) != test.may {
			t.Errorf("%v, %s: %v", test.allow, test.addr, err)
		}
	}
}

// What another reader of IANA's registries refuses, this guard refuses too.
func TestKindsHoldTheRegistries(t *testing.T) {
	t.Parallel()
	ends := func(p netip.Prefix) [2]netip.Addr {
		raw := p.Masked().Addr().AsSlice()
		for i := range raw {
			for bit := range 8 {
				if i*8+bit >= p.Bits() {
					raw[i] |= 0x80 >> bit
				}
			}
		}
		last, _ := netip.AddrFromSlice(raw)
		return [2]netip.Addr{p.Masked().Addr(), last}
	}
	all := append(append([]netip.Prefix{}, ssrf.IPv4DeniedPrefixes...), ssrf.IPv6DeniedPrefixes...)
	for _, p := range all {
		for _, addr := range ends(p) {
			if New(nil).Check(addr) == nil {
				t.Errorf("%s of %s passes", addr, p)
			}
		}
	}
	theirs := ssrf.New(ssrf.WithAnyPort())
	for first := range 256 { // one address of each /8, and of each /16 of IPv6's first half
		for _, addr := range []netip.Addr{netip.AddrFrom4([4]byte{byte(first), 1, 2, 3}), netip.AddrFrom16([16]byte{byte(first), 7, 1, 15: 1})} {
			if theirs.SafeAddr(addr) != nil && New(nil).Check(addr) == nil {
				t.Errorf("%s passes", addr)
			}
		}
	}
}

func TestCheckURL(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		url  string
		code wire.Code
		says string
	}{
		{"https://example.com/hook?x=1", "", ""}, {"http://example.com:8080", "", ""}, {"https://EXAMPLE.com.", "", ""}, {"http://nodered:1880/in", "", ""},
		{"https://8.8.8.8/", "", ""}, {"https://[2606:4700:4700::1111]:8443/", "", ""}, {"https://xn--bcher-kva.example/", "", ""}, {"https://a_b.example/", "", ""},
		{"", wire.Invalid, "https://"}, {"example.com", wire.Invalid, "https://"}, {"ftp://example.com", wire.Invalid, "https://"}, {"file:///etc/passwd", wire.Invalid, "https://"},
		{"gopher://127.0.0.1:6379/_x", wire.Invalid, "https://"}, {"https:example.com", wire.Invalid, "https://"}, {"//example.com", wire.Invalid, "https://"},
		{"https://", wire.Invalid, "no host"}, {"https:///path", wire.Invalid, "no host"}, {"https://:443/", wire.Invalid, "no host"},
		{"https://user:pass@example.com/", wire.Invalid, "no user"}, {"https://user@example.com/", wire.Invalid, "no user"},
		{"https://example.com/#x", wire.Invalid, "#"}, {"https://example.com/#", wire.Invalid, "#"},
		{"https://example.com:0/", wire.Invalid, "no port"}, {"https://example.com:99999/", wire.Invalid, "no port"}, {"https://example.com:/", wire.Invalid, "no port"},
		{"https://exa mple.com/", wire.Invalid, ""}, {"https://example.com/\r\nX: y", wire.Invalid, ""}, {"https://bücher.example/", wire.Invalid, "xn--"},
		{"https://127。0。0。1/", wire.Invalid, "xn--"}, {"https://a..b/", wire.Invalid, "no host name"}, {"https://.example/", wire.Invalid, "no host name"},
		{"https://" + strings.Repeat("a", 2048), wire.Invalid, "2048"},
		// Forms of an address that some resolvers read and people do not.
		{"http://2130706433/", wire.Invalid, "four decimal"}, {"http://0x7f000001/", wire.Invalid, "four decimal"}, {"http://127.1/", wire.Invalid, "four decimal"},
		{"http://0177.0.0.1/", wire.Invalid, "four decimal"}, {"http://0x7f.0.0.0x1/", wire.Invalid, "four decimal"}, {"http://127.0.0.1./", wire.Invalid, "four decimal"},
		{"http://127.0.0.1/", wire.Forbidden, "loopback"}, {"http://[::1]/", wire.Forbidden, "loopback"}, {"http://[::ffff:127.0.0.1]/", wire.Forbidden, "loopback"},
		{"http://localhost:8080/", wire.Forbidden, "loopback"}, {"http://LOCALHOST./", wire.Forbidden, "loopback"}, {"http://a.localhost/", wire.Forbidden, "loopback"},
		{"http://169.254.169.254/latest/meta-data/", wire.Forbidden, "metadata"}, {"http://[fe80::1%25eth0]/", wire.Forbidden, "link-local"},
		{"http://10.0.0.1/", wire.Forbidden, "10.0.0.1, a range such as 10.0.0.0/8, or the word private"},
	} {
		err := New(nil).CheckURL(test.url)
		if test.code == "" {
			if err != nil {
				t.Errorf("%s: %v", test.url, err)
			}
		} else if err == nil || wire.CodeOf(err) != test.code || !strings.Contains(wire.MessageOf(err), test.says) {
			t.Errorf("%s: %v", test.url, err)
		}
	}
	if err := New(prefixes("127.0.0.0/8")).CheckURL("http://localhost:3000/"); err != nil {
		t.Error(err)
	}
}
