package sshkeys

import (
	"net"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aditdev/adit/internal/wire"
)

// Options limit what a key may do at the gate.
type Options struct {
	words []string // as they stood in the line

	from     []string // patterns of the client's address; none means everywhere
	open     []string // HOST:PORT that may be forwarded to, PORT may be *; none means what the grants say
	noPTY    bool
	noTunnel bool // no port forwarding at all
	expires  time.Time
}

// String is the options as they stand in authorized_keys.
func (o Options) String() string { return strings.Join(o.words, ",") }

// Expires is when the key ends; zero for never.
func (o Options) Expires() time.Time { return o.expires }

// PTY reports whether the key may have a terminal.
func (o Options) PTY() bool { return !o.noPTY }

// ParseOptions reads the words of a line, as golang.org/x/crypto/ssh splits them. It fails with Invalid at the first
// that the gate would not honour.
func ParseOptions(words []string) (Options, error) {
	o := Options{words: words}
	for _, word := range words {
		name, value, _ := strings.Cut(word, "=")
		if err := o.set(strings.ToLower(name), strings.Trim(value, `"`)); err != nil {
			return Options{}, err
		}
	}
	return o, nil
}

// Reparse reads what String gave.
func Reparse(text string) (Options, error) {
	if text == "" {
		return Options{}, nil
	}
	return ParseOptions(split(text))
}

// split cuts at commas outside of quotes.
func split(text string) []string {
	var words []string
	quoted, start := false, 0
	for i, r := range text {
		switch {
		case r == '"':
			quoted = !quoted
		case r == ',' && !quoted:
			words = append(words, text[start:i])
			start = i + 1
		}
	}
	return append(words, text[start:])
}

// set takes one option. Agent and X11 forwarding and user rc files are nothing that the gate offers, so forbidding them
// is honoured by itself, and allowing them anew is not.
func (o *Options) set(name, value string) error {
	switch name {
	case "restrict":
		o.noPTY, o.noTunnel = true, true
	case "no-pty":
		o.noPTY = true
	case "pty":
		o.noPTY = false
	case "no-port-forwarding":
		o.noTunnel = true
	case "port-forwarding":
		o.noTunnel = false
	case "no-agent-forwarding", "no-x11-forwarding", "no-user-rc":
	case "from":
		return o.setFrom(value)
	case "permitopen":
		return o.setOpen(value)
	case "expiry-time":
		return o.setExpires(value)
	default:
		return invalid("The option %s is not honoured here, so the key is not taken with it. Known are: restrict, pty, no-pty, "+
			"port-forwarding, no-port-forwarding, no-agent-forwarding, no-X11-forwarding, no-user-rc, from=, permitopen=, expiry-time=",
			wire.Printable(name, 40))
	}
	return nil
}

func (o *Options) setFrom(value string) error {
	for _, pattern := range strings.Split(value, ",") {
		pattern = strings.TrimSpace(pattern)
		if !validFrom(strings.TrimPrefix(pattern, "!")) {
			return invalid("from=%q: addresses, prefixes (192.0.2.0/24) and patterns of addresses (192.0.2.*) are honoured; "+
				"host names are not, the hub looks none up.", wire.Printable(pattern, 60))
		}
		o.from = append(o.from, strings.ToLower(pattern))
	}
	return nil
}

func validFrom(pattern string) bool {
	if _, err := netip.ParsePrefix(pattern); err == nil {
		return true
	}
	return pattern != "" && strings.Trim(strings.ToLower(pattern), "0123456789abcdef.:*?") == "" &&
		strings.ContainsAny(pattern, "0123456789*")
}

func (o *Options) setOpen(value string) error {
	host, port, err := net.SplitHostPort(value)
	if err != nil || host == "" || port != "*" && !validPort(port) {
		return invalid("permitopen=%q: it takes HOST:PORT, as kitchen.adit:22; the port may be *.", wire.Printable(value, 80))
	}
	o.open = append(o.open, strings.ToLower(net.JoinHostPort(host, port)))
	return nil
}

func validPort(port string) bool {
	n, err := net.LookupPort("tcp", port)
	return err == nil && n > 0 && strings.Trim(port, "0123456789") == ""
}

// expiryForms are those of sshd(8): YYYYMMDD[Z] and YYYYMMDDHHMM[SS][Z].
var expiryForms = []string{"20060102", "200601021504", "20060102150405"}

// setExpires reads a time of sshd's option. Without a Z sshd takes the machine's own time zone; a hub has none that its
// people know, so here it is UTC too.
func (o *Options) setExpires(value string) error {
	digits := strings.TrimSuffix(strings.ToUpper(value), "Z")
	for _, form := range expiryForms {
		at, err := time.Parse(form, digits)
		if err != nil || len(digits) != len(form) {
			continue
		}
		if o.expires.IsZero() || at.Before(o.expires) {
			o.expires = at
		}
		return nil
	}
	return invalid("expiry-time=%q: it takes YYYYMMDD or YYYYMMDDHHMM[SS], in UTC.", wire.Printable(value, 40))
}

// AllowsFrom reports whether the key may come from an address. A pattern with ! before it shuts out, whatever else
// matches.
func (o Options) AllowsFrom(address string) bool {
	if len(o.from) == 0 {
		return true
	}
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return false
	}
	ip = ip.Unmap()
	allowed := false
	for _, pattern := range o.from {
		positive, negated := strings.CutPrefix(pattern, "!")
		if !matchesFrom(positive, ip) {
			continue
		}
		if negated {
			return false
		}
		allowed = true
	}
	return allowed
}

func matchesFrom(pattern string, ip netip.Addr) bool {
	if prefix, err := netip.ParsePrefix(pattern); err == nil {
		return prefix.Contains(ip)
	}
	if single, err := netip.ParseAddr(pattern); err == nil {
		return single.Unmap() == ip
	}
	ok, err := path.Match(pattern, ip.String())
	return ok && err == nil
}

// AllowsOpen reports whether the key may forward to a host and port, as the client names them.
func (o Options) AllowsOpen(host string, port uint32) bool {
	if o.noTunnel {
		return false
	}
	if len(o.open) == 0 {
		return true
	}
	host = strings.ToLower(host)
	return slices.Contains(o.open, net.JoinHostPort(host, strconv.FormatUint(uint64(port), 10))) || slices.Contains(o.open, net.JoinHostPort(host, "*"))
}
