// Package porttest finds TCP ports for programs that must be told theirs before they listen.
package porttest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"testing"
)

// Where ports are looked for, if the kernel gives out none of these by itself: one of its own might be somebody else's by the time
// that the program listens, or, while nobody does, become the near end of a connection to itself.
const first, last = 10_000, 30_000

// Free is a port of 127.0.0.1 that nobody listens on.
func Free(t testing.TB) int {
	t.Helper()
	return Row(t, 1)
}

// Address is a loopback address that nobody listens on.
func Address(t testing.TB) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", Free(t))
}

// Row is the first of n ports, each behind the one before, that nobody listens on.
func Row(t testing.TB, n int) int {
	t.Helper()
	end := last
	var given int
	if text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		if _, err := fmt.Sscan(string(text), &given); err == nil && given > first+1000 {
			end = min(end, given)
		}
	}
	for range 1000 {
		if port := first + rand.IntN(end-first-n); free(port, n) {
			return port
		}
	}
	t.Fatalf("no %d free ports in a row", n)
	return 0
}

func free(port, n int) bool {
	for i := range n {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port+i))
		if err != nil {
			return false
		}
		_ = l.Close()
	}
	return true
}
