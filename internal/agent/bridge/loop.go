package bridge

import (
	"crypto/sha256"
	"slices"
	"strings"
	"time"

	"github.com/aditdev/adit/internal/mqtt"
)

const (
	pathProperty = "adit-path" // user property: the bridges that a message passed, with commas
	maxHops      = 4
	echoFor      = 5 * time.Second
	maxEchoes    = 4096 // that are remembered at once
	breakerCount = 100  // identical messages
	breakerIn    = 10 * time.Second
	breakerPause = 60 * time.Second
)

// pass adds this bridge to the path of a message, as its properties tell it. ok is false where the message has been here, or at
// more bridges than anybody has.
func pass(p mqtt.Properties, self string) (out mqtt.Properties, ok bool) {
	var hops []string
	for _, q := range p {
		if q.ID == mqtt.UserPropertyID && q.Text == pathProperty {
			hops = append(hops, strings.Split(q.Value, ",")...)
			continue
		}
		out = append(out, q)
	}
	if slices.Contains(hops, self) || len(hops) >= maxHops {
		return nil, false
	}
	hops = append(hops, self)
	return append(out, mqtt.Property{ID: mqtt.UserPropertyID, Text: pathProperty, Value: strings.Join(hops, ",")}), true
}

type fingerprint [16]byte

func fingerprintOf(topic string, payload []byte) (f fingerprint) {
	h := sha256.New()
	h.Write([]byte(topic))
	h.Write([]byte{0})
	h.Write(payload)
	copy(f[:], h.Sum(nil))
	return f
}

// echoes remembers what was just handed to a broker that may send it back: one before 5.0 that does not know bridges.
type echoes struct {
	sent  map[fingerprint]int
	order []echo
}

type echo struct {
	f  fingerprint
	at time.Time
}

func (e *echoes) remember(f fingerprint, now time.Time) {
	e.expire(now)
	if e.sent == nil {
		e.sent = map[fingerprint]int{}
	}
	if len(e.order) < maxEchoes {
		e.sent[f]++
		e.order = append(e.order, echo{f, now})
	}
}

// heard reports whether f is an echo; each one that was remembered is one once.
func (e *echoes) heard(f fingerprint, now time.Time) bool {
	e.expire(now)
	if e.sent[f] == 0 {
		return false
	}
	e.forget(f)
	for i, o := range e.order {
		if o.f == f {
			e.order = slices.Delete(e.order, i, i+1)
			break
		}
	}
	return true
}

func (e *echoes) forget(f fingerprint) {
	if e.sent[f]--; e.sent[f] <= 0 {
		delete(e.sent, f)
	}
}

func (e *echoes) expire(now time.Time) {
	for len(e.order) > 0 && now.Sub(e.order[0].at) > echoFor {
		e.forget(e.order[0].f)
		e.order = e.order[1:]
	}
}

// breaker counts identical messages: those that come round and round.
type breaker struct {
	since  time.Time
	counts map[fingerprint]int
}

// trips reports that f came too often.
func (b *breaker) trips(f fingerprint, now time.Time) bool {
	if now.Sub(b.since) > breakerIn || len(b.counts) > maxEchoes {
		b.since, b.counts = now, map[fingerprint]int{}
	}
	b.counts[f]++
	return b.counts[f] > breakerCount
}
