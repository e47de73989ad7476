package auth

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Limiter counts tries by key: a burst at once, then one in each interval. It remembers a bounded number of keys; when
// there are more, those are forgotten first that have their whole burst again.
type Limiter struct {
	every time.Duration
	burst int
	max   int
	now   func() time.Time

	mu   sync.Mutex
	keys map[string]*rate.Limiter
}

// NewLimiter allows burst tries of a key at once and one more every interval.
func NewLimiter(burst int, every time.Duration, now func() time.Time) *Limiter {
	return &Limiter{every: every, burst: burst, max: 10_000, now: now, keys: map[string]*rate.Limiter{}}
}

// Allow takes one try of key, and reports whether there was one.
func (l *Limiter) Allow(key string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.of(key).AllowN(l.now(), 1)
}

// GiveBack returns a try that Allow took and that turned out well. A try is taken before its answer is known, so that
// many at once are no more than many one after the other.
func (l *Limiter) GiveBack(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.of(key).AllowN(l.now(), -1)
}

// Network is the key under which the tries of a client's address are counted: an IPv6 host has 2⁶⁴ addresses to itself,
// so its network counts as one.
func Network(address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil || ip.Unmap().Is4() {
		return address
	}
	prefix, err := ip.WithZone("").Prefix(64)
	if err != nil {
		return address
	}
	return prefix.String()
}

func (l *Limiter) of(key string) *rate.Limiter {
	if k, ok := l.keys[key]; ok {
		return k
	}
	if len(l.keys) >= l.max {
		l.forget()
	}
	k := rate.NewLimiter(rate.Every(l.every), l.burst)
	l.keys[key] = k
	return k
}

// forget drops the rested keys, and where all are busy, any tenth: memory stays bounded whatever strangers send.
func (l *Limiter) forget() {
	now, spare := l.now(), l.max/10
	for key, k := range l.keys {
		if k.TokensAt(now) >= float64(l.burst) {
			delete(l.keys, key)
		}
	}
	for key := range l.keys {
		if len(l.keys) <= l.max-spare {
			return
		}
		delete(l.keys, key)
	}
}
