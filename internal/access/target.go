package access

import (
	"net/netip"
	"strings"
)

// takesLogin reports whether a target is entered as a Unix account.
func takesLogin(target string) bool { return target == "ssh" || target == "rescue" }

// Covers reports whether a grant's target pattern holds target: the same, "*" for everything, "tcp:*" for every
// address, and "tcp:HOST:PORT" with "*" for host or port.
func Covers(pattern, target string) bool {
	if pattern == target || pattern == "*" {
		return true
	}
	want, ok := strings.CutPrefix(pattern, "tcp:")
	have, isTCP := strings.CutPrefix(target, "tcp:")
	if !ok || !isTCP {
		return false
	}
	if want == "*" {
		return true
	}
	wantHost, wantPort := cutPort(want)
	haveHost, havePort := cutPort(have)
	return (wantHost == "*" || wantHost == haveHost) && (wantPort == "*" || wantPort == havePort)
}

// cutPort cuts at the last colon, since an IPv6 host has more.
func cutPort(address string) (host, port string) {
	i := strings.LastIndexByte(address, ':')
	if i < 0 {
		return address, ""
	}
	return address[:i], address[i+1:]
}

// ownForm writes every name and address by which a device reaches itself as one: who is denied one of them is not let
// through by another. It is for denying only: to allow one is not to allow all.
func ownForm(target string) string {
	address, isTCP := strings.CutPrefix(target, "tcp:")
	host, port := cutPort(strings.ToLower(address))
	if host = strings.TrimSuffix(host, "."); !isTCP || host == "*" {
		return target
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	if ip = ip.Unmap(); host == "localhost" || (err == nil && (ip.IsLoopback() || ip.IsUnspecified())) {
		host = "127.0.0.1"
	}
	return "tcp:" + host + ":" + port
}
