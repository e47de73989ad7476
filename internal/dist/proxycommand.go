package dist

import (
	"net"
	"net/netip"
	"net/url"
	"strconv"

	"github.com/aditdev/adit/internal/wire"
)

// Form is how the bytes of SSH pass whatever stands before a hub.
type Form string

const (
	FormUpgrade Form = "upgrade" // `Upgrade: ssh`; bytes follow the request at once
	FormPatient Form = "patient" // the same, but nothing follows before the 101: some proxies (Caddy 2.6) lose it
	FormRaw     Form = "raw"     // `Upgrade: websocket`, patient too, for edges that pass no other upgrade
)

// ProxyCommand is the value of ssh's ProxyCommand by which stock OpenSSH reaches the hub's SSH gate with nothing but sh,
// cat, sleep and openssl (1.1.1 or newer); "" where the hub has no TLS. A form that is unknown is FormPatient.
//
// ssh takes the head of the HTTP answer for lines before the banner (RFC 4253 §4.2). Its ends must not outlive each other:
//   - The server closes: openssl ends, which alone holds the pipe that ssh reads (3), so ssh sees the end and goes. The left
//     side closes it by exec, since a shell keeps a copy of what a redirection of the group would hide.
//   - ssh goes and says so by SIGHUP, or is interrupted: the wait ends, and openssl is killed, which would read on and
//     whose write may be stuck in a dead network.
//   - ssh is killed: cat comes to its end and tells the waiting shell ($$), with the same effect.
//
// Single quotes hold it together for every login shell; it has no % for ssh to expand, and host names have no character
// that a shell would read.
func ProxyCommand(hub *url.URL, form Form) string {
	tls := sClient(hub)
	if tls == "" {
		return ""
	}
	request, pause := `GET /ssh HTTP/1.1\r\nHost: `+hub.Host+`\r\nConnection: Upgrade\r\n`, "sleep 1; "
	switch form {
	case FormRaw:
		request = `GET /ssh?raw HTTP/1.1\r\nHost: ` + hub.Host + `\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
			`Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: YWRpdCByYXcgc3NoZ2F0ZQ==\r\n`
	case FormUpgrade:
		request += `Upgrade: ssh\r\n`
		pause = ""
	default:
		request += `Upgrade: ssh\r\n`
	}
	return `sh -c 'exec 3>&1 4<&0 >&2 </dev/null; trap : 1 2 15; ` +
		`{ exec 3>&-; printf "` + request + `\r\n"; ` + pause + `cat <&4; kill $$; } | ` +
		`openssl s_client -quiet ` + tls + ` >&3 3>&- 4<&- & ` +
		`exec 3>&- 4<&-; wait || { trap "" 1 2 15; kill $!; wait; } 2>/dev/null'`
}

// OpenSSLGet is a pipeline of a POSIX shell that writes the body of GET path to its stdout, fetched by openssl alone; ""
// where the hub has no TLS. The body must have no carriage return and come in one piece (Content-Length): whoever runs it
// compares a hash.
func OpenSSLGet(hub *url.URL, path string) string {
	tls := sClient(hub)
	if tls == "" {
		return ""
	}
	return `printf 'GET ` + path + ` HTTP/1.1\r\nHost: ` + hub.Host + `\r\nUser-Agent: openssl\r\nConnection: close\r\n\r\n' | ` +
		`openssl s_client -quiet ` + tls + ` | tr -d '\r' | sed '1,/^$/d'`
}

// sClient are the options of `openssl s_client` that lead to the hub and refuse everybody else; "" where the hub has no
// TLS. They are plain words.
func sClient(hub *url.URL) string {
	host, port := hub.Hostname(), hub.Port()
	if port == "" {
		port = "443"
	}
	number, err := strconv.Atoi(port)
	if err != nil || hub.Scheme != "https" {
		return ""
	}
	if _, err := wire.ParseTarget(string(wire.TCPTarget(host, number))); err != nil {
		return ""
	}
	name := "-verify_hostname " + host + " -servername " + host
	if _, err := netip.ParseAddr(host); err == nil {
		name = "-verify_ip " + host + " -noservername"
	}
	return "-verify_quiet -verify_return_error " + name + " -connect " + net.JoinHostPort(host, port)
}
