package carrier

import "github.com/aditdev/adit/internal/stream"

// Cause is why the hub is not reached, or not fully, in one word.
type Cause = stream.Cause

// The causes, in the order in which a dial meets them.
const (
	CauseNone          = stream.CauseNone
	CauseDNS           = stream.CauseDNS
	CauseTCP           = stream.CauseTCP
	CauseProxy407      = stream.CauseProxy407
	CauseTLSUntrusted  = stream.CauseTLSUntrusted
	CauseClock         = stream.CauseClock
	CauseNot101        = stream.CauseNot101
	CauseCaptivePortal = stream.CauseCaptivePortal
	CauseAuth          = stream.CauseAuth
	CauseHubKey        = stream.CauseHubKey
	CauseConnectionCap = stream.CauseConnectionCap
	CausePending       = stream.CausePending
)

// mayBeCap reports whether a further dial that fails so may have met a limit on connections: it was not let through, or
// whoever answered was busy. Every other cause is one of its own.
func mayBeCap(c Cause) bool { return c == CauseTCP || c == CauseNot101 }

// CauseOf is the cause that err, as Probe returns it, stands for.
func CauseOf(err error) Cause { return stream.CauseOf(err) }
