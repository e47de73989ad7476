package access

import "slices"

// Scope is what an API token may do of what its user may. Each holds what the one before it does.
type Scope string

// ScopeRead sees and changes nothing: devices, known hosts, events. ScopeConnect opens streams, shells and certificates
// too. ScopeAll is whatever the user may, as somebody has who signed in.
const (
	ScopeRead    Scope = "read"
	ScopeConnect Scope = "connect"
	ScopeAll     Scope = "all"
)

// Valid reports whether s is one of the three.
func (s Scope) Valid() bool { return s.rank() >= 0 }

// Holds reports whether s may what takes least. What is no scope holds nothing, and is held by nothing.
func (s Scope) Holds(least Scope) bool { return least.Valid() && s.rank() >= least.rank() }

// rank orders them; it is negative for what is no scope.
func (s Scope) rank() int { return slices.Index([]Scope{ScopeRead, ScopeConnect, ScopeAll}, s) }
