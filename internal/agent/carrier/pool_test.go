package carrier

import (
	"fmt"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
)

// alive is a pool with so many carriers that are ready.
func alive(n int) *Pool {
	p := New(Config{})
	for i := range n {
		nonce := fmt.Sprint(i)
		p.carriers[nonce] = &carrier{pool: p, nonce: nonce, ready: true, born: time.Now().Add(-2 * longLife)}
	}
	p.parked = n
	return p
}

// A further dial that fails has met a limit on connections only where nothing else explains it: a cause that names
// itself is said as it is, and the hub hears of no limit.
func TestConnectionCap(t *testing.T) {
	for cause, limit := range map[Cause]bool{
		CauseTCP: true, CauseNot101: true,
		CauseDNS: false, CauseProxy407: false, CauseTLSUntrusted: false, CauseClock: false, CauseCaptivePortal: false,
		CauseAuth: false, CauseHubKey: false, CausePending: false, causeClone: false,
	} {
		for _, others := range []int{0, 2} {
			p := alive(others)
			p.failedLocked(&stream.DialError{Cause: cause, Err: wire.Errorf(wire.Offline, "no")})
			want, capped := cause, 0
			if limit && others > 0 {
				want, capped = CauseConnectionCap, others
			}
			if p.status.Cause != want || p.cap != capped {
				t.Errorf("%s beside %d others: cause %s, cap %d", cause, others, p.status.Cause, p.cap)
			}
		}
	}
	p := alive(1)
	p.proving = 1
	p.failedLocked(&stream.DialError{Cause: CauseTCP, Err: wire.Errorf(wire.Offline, "no")})
	if p.status.Cause != CauseTCP || p.cap != 0 {
		t.Errorf("just woken: cause %s, cap %d", p.status.Cause, p.cap)
	}
}

// One carrier that ends badly holds no dial up while another lives: parking waits for nothing.
func TestLostBesideOthers(t *testing.T) {
	p := alive(2)
	lost := wire.Errorf(wire.Offline, "lost")
	p.lostLocked(p.carriers["0"], lost)
	if !p.redial.at.IsZero() {
		t.Errorf("the next dial waits %v", time.Until(p.redial.at))
	}
	p.lostLocked(p.carriers["1"], lost)
	if p.redial.at.IsZero() {
		t.Error("nothing is left, and the next dial comes at once")
	}
}
