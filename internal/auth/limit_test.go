package auth

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/wire"
)

// Rule 28: guesses sent all at once are no more than guesses sent one by one, and right ones cost nothing.
func TestTriesAtOnceAreLimited(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.user("ann", access.Operator)
	var guesses atomic.Int64
	var all sync.WaitGroup
	for range 60 {
		all.Go(func() {
			_, _, err := r.Login(t.Context(), "ann@example.com", "wrong", Where{Address: "192.0.2.1"})
			if wire.CodeOf(err) == wire.Unauthenticated {
				guesses.Add(1)
			}
		})
	}
	all.Wait()
	if n := guesses.Load(); n > 11 { // one may come back meanwhile
		t.Errorf("%d guesses were looked at", n)
	}
	r.user("bob", access.Operator)
	for n := range 15 {
		if _, _, err := r.Login(t.Context(), "bob@example.com", password, Where{Address: "192.0.2.2"}); err != nil {
			t.Fatalf("right password, time %d: %v", n, err)
		}
	}
}

// Rule 28: whoever has an IPv6 network has as many tries as whoever has one address.
func TestTriesAreCountedByNetwork(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"192.0.2.1":            "192.0.2.1",
		"::ffff:192.0.2.1":     "::ffff:192.0.2.1",
		"2001:db8:0:1:2:3:4:5": "2001:db8:0:1::/64",
		"2001:db8:0:1:ffff::":  "2001:db8:0:1::/64",
		"fe80::1%eth0":         "fe80::/64",
		"@":                    "@",
	} {
		if got := Network(address); got != want {
			t.Errorf("Network(%q) = %q, want %q", address, got, want)
		}
	}
}

func TestGiveBack(t *testing.T) {
	t.Parallel()
	now := time.Now()
	l := NewLimiter(2, time.Hour, func() time.Time { return now })
	for range 5 {
		if !l.Allow("a") {
			t.Fatal("a try that was given back is gone")
		}
		l.GiveBack("a")
	}
	l.GiveBack("a")
	for n, want := range []bool{true, true, false} {
		if got := l.Allow("a"); got != want {
			t.Errorf("try %d: %v; giving back must make none", n+1, got)
		}
	}
}
