// Package guard is the one way in which the hub fetches what people name: a webhook's URL. Who writes such a URL must not
// thereby reach what only the hub can reach (loopback, the network around it, the metadata service of its cloud). So the
// address is judged where it is connected to, each time, whatever name stood for it a moment ago; redirects are not followed;
// and no proxy stands between.
package guard

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/aditdev/adit/internal/wire"
)

// setting is what lets the guard pass more. Every refusal names it.
const setting = "ADIT_WEBHOOK_ALLOW"

// Limits of a Client.
const (
	defaultTimeout = 15 * time.Second
	connectTimeout = 5 * time.Second // of the connection, and of the TLS handshake
	maxHeader      = 16 << 10        // bytes of a response's header
	idleFor        = time.Minute
	maxURL         = 2048
)

// Guard says where the hub may send. It never changes.
type Guard struct {
	allow    []netip.Prefix
	resolver *net.Resolver // nil for the system's
}

// New makes a guard that lets addresses of allow pass beside public ones. An address of a private network (see docs/webhooks.md)
// passes where any prefix of allow holds it; a forbidden one, as loopback and link-local, only where a prefix lies wholly within
// that kind of address: 0.0.0.0/0 opens private networks, and neither 127.0.0.1 nor 169.254.169.254.
func New(allow []netip.Prefix) *Guard {
	g := &Guard{}
	for _, p := range allow {
		if addr := p.Addr(); addr.Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(addr.Unmap(), p.Bits()-96)
		}
		if p.IsValid() {
			g.allow = append(g.allow, p.Masked())
		}
	}
	return g
}

// ClientOptions are the limits of a client.
type ClientOptions struct {
	Timeout           time.Duration // of a request in all, reading the response's body included; zero stands for 15 s
	Idle, IdlePerHost int           // connections kept for the next request, in all and to one host; zero stands for any number, and for 2
}

// Client makes an HTTP client behind the guard. It never follows a redirect: a response of 3xx is given as it came. It knows no
// proxy, keeps no cookies, speaks TLS 1.2 or newer and HTTP/1.1 or 2, and unpacks nothing, so that what is read is what came.
// How much of a body is read is for the caller to bound. What is refused at connecting is a wire.Forbidden in the error's chain.
// Whoever has a client calls CloseIdleConnections at its end.
func (g *Guard) Client(o ClientOptions) *http.Client {
	timeout := o.Timeout
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	dialer := &net.Dialer{Timeout: connectTimeout, ControlContext: g.control, Resolver: g.resolver}
	return &http.Client{
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy:                  nil, // said, since http.DefaultTransport has the environment's
			DialContext:            dialer.DialContext,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    connectTimeout,
			ForceAttemptHTTP2:      true,
			DisableCompression:     true,
			MaxResponseHeaderBytes: maxHeader,
			MaxIdleConns:           o.Idle,
			MaxIdleConnsPerHost:    o.IdlePerHost,
			IdleConnTimeout:        idleFor,
			ResponseHeaderTimeout:  timeout,
			ExpectContinueTimeout:  time.Second,
		},
	}
}

// control is called by the dialer with the address that it is about to connect to, behind every name and every try.
func (g *Guard) control(_ context.Context, network, address string, _ syscall.RawConn) error {
	if network != "tcp4" && network != "tcp6" {
		return wire.Errorf(wire.Forbidden, "The hub sends by TCP, not by %s.", network)
	}
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return wire.Wrap(err, wire.Forbidden, "The hub cannot read the address %q that it should connect to.", address)
	}
	return g.Check(to.Addr())
}

// Check is nil where the hub may connect to addr, and else a wire.Forbidden that says what kind of address it is, and what
// setting would let it pass.
func (g *Guard) Check(addr netip.Addr) error {
	addr = addr.WithZone("").Unmap() // a prefix never holds an address with a zone
	if !addr.IsValid() {
		return wire.Errorf(wire.Forbidden, "There is no address to connect to.")
	}
	seen := addr
	if inner, ok := translated(addr); ok {
		addr = inner // judged by where it comes out
	}
	k := kindOf(addr)
	if k == nil || g.allowed(addr, *k) {
		return g.checkLocalTranslation(addr)
	}
	return refusal(seen, addr, *k)
}

// allowed reports whether the setting names addr, for its kind closely enough.
func (g *Guard) allowed(addr netip.Addr, k kind) bool {
	for _, p := range g.allow {
		if p.Contains(addr) && (k.private || within(p, k.prefix)) {
			return true
		}
	}
	return false
}

func within(inner, outer netip.Prefix) bool {
	return inner.Bits() >= outer.Bits() && outer.Contains(inner.Addr())
}

// checkLocalTranslation judges the IPv4 address inside one of 64:ff9b:1::/48 (RFC 8215). Where in it that address stands depends
// on the length of the translator's prefix (RFC 6052 §2.2), which is that of the setting.
func (g *Guard) checkLocalTranslation(addr netip.Addr) error {
	if !localTranslation.Contains(addr) {
		return nil
	}
	for _, p := range g.allow {
		if p.Contains(addr) && within(p, localTranslation) {
			inner, ok := embedded(addr, p.Bits())
			if !ok {
				return nil // a single address, or a length that no translator has: as the setting says
			}
			return g.Check(inner)
		}
	}
	return nil
}

func refusal(seen, addr netip.Addr, k kind) error {
	what := addr.String()
	if seen != addr {
		what = seen.String() + " leads to " + what + ", which"
	}
	words := addr.String()
	switch {
	case k.private:
		words += ", a range such as " + k.prefix.String() + ", or the word private"
	case k.loopback:
		words += " or the word loopback"
	}
	return wire.Errorf(wire.Forbidden, "%s is %s. The hub sends there only where its setting %s names it: %s.", what, k.name, setting, words)
}

// CheckURL looks at a URL before it is kept, so that a mistake is said to whoever makes it: http or https, a host, nobody's
// password, and where the host is an address, one that Check lets pass. What a name leads to is seen at each connection. The error is
// wire.Invalid or wire.Forbidden.
func (g *Guard) CheckURL(raw string) error {
	if len(raw) > maxURL {
		return wire.Errorf(wire.Invalid, "A URL has at most %d characters.", maxURL)
	}
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Opaque != "" {
		return wire.Errorf(wire.Invalid, "A URL begins with https:// or http://, as https://example.com/hook.")
	}
	if u.User != nil {
		return wire.Errorf(wire.Invalid, "A URL holds no user and password: they would stand in every log. Use a header for them.")
	}
	if u.Fragment != "" || strings.Contains(raw, "#") {
		return wire.Errorf(wire.Invalid, "What follows # in a URL is never sent. Leave it out.")
	}
	if port := u.Port(); port != "" || strings.HasSuffix(u.Host, ":") {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return wire.Errorf(wire.Invalid, "%q is no port.", port)
		}
	}
	return g.checkHost(u.Hostname())
}

func (g *Guard) checkHost(host string) error {
	if addr, err := netip.ParseAddr(host); err == nil {
		return g.Check(addr)
	}
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	labels := strings.Split(name, ".")
	last := labels[len(labels)-1]
	switch {
	case name == "":
		return wire.Errorf(wire.Invalid, "The URL names no host.")
	case strings.IndexFunc(name, badInName) >= 0:
		return wire.Errorf(wire.Invalid, "A host name has letters, digits, dots and dashes; one with others is written as xn--….")
	case last == "localhost":
		return g.Check(netip.AddrFrom4([4]byte{127, 0, 0, 1}))
	case slices.Contains(labels, "") || len(name) > 253:
		return wire.Errorf(wire.Invalid, "%q is no host name.", wire.Printable(host, 64))
	case strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x"):
		return wire.Errorf(wire.Invalid, "%q is no host name. An IPv4 address is written as four decimal numbers, as 192.0.2.1.", wire.Printable(host, 64))
	}
	return nil
}

func badInName(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == '_')
}
