package agent

import (
	"net"
	"testing"
)

// localhost is this machine by both of its addresses, even where the hosts file lacks it or leads elsewhere.
func TestLocalhostIsNeverResolved(t *testing.T) {
	if !withFiles(t, map[string]string{"/etc/hosts": "192.0.2.1 localhost\n"}) {
		return
	}
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Logf("not tried: %v", err) // a machine without IPv6
			continue
		}
		_, port, _ := net.SplitHostPort(l.Addr().String())
		for _, user := range []string{"", "usr_1"} {
			conn, err := dialTCP(t.Context(), user, "LocalHost:"+port)
			if err != nil {
				t.Errorf("%s as %q: %v", address, user, err)
				continue
			}
			_ = conn.Close()
		}
		_ = l.Close()
	}
}
