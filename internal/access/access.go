// Package access decides who may do what. It is a pure function of a Policy, a snapshot of users, credentials, devices
// and grants; whoever holds the snapshot sees to it that it is current. Deny wins over allow, and what nothing allows
// is refused.
package access

import (
	"slices"
	"time"
)

// Role is what a user is on this hub.
type Role string

// The roles. Owner and Admin manage everything and reach every device; Operator reaches what is granted; Viewer sees
// what is granted and opens nothing. Only an Owner changes owners.
const (
	Owner    Role = "owner"
	Admin    Role = "admin"
	Operator Role = "operator"
	Viewer   Role = "viewer"
)

// Valid reports whether r is one of the four.
func (r Role) Valid() bool { return slices.Contains([]Role{Owner, Admin, Operator, Viewer}, r) }

// Manages reports whether r manages users, grants, devices and install codes.
func (r Role) Manages() bool { return r == Owner || r == Admin }

// Changes reports whether somebody of role r may give, take or alter role other.
func (r Role) Changes(other Role) bool { return r == Owner || (r == Admin && other != Owner) }

// User is the part of a user that decides.
type User struct {
	Handle   string
	Role     Role
	Disabled bool
}

// Credential is a login session, an API token or an SSH key that lives.
type Credential struct {
	User    string
	Expires time.Time // zero: never
}

// Device is the part of a device that decides.
type Device struct {
	Name    string
	Tags    []string
	Active  bool // not waiting for approval
	SSHPort int  // where its SSH server listens, as it says itself; 0 where that is not known
}

// Grant allows or denies a user some devices: one by id, those with a tag, or all where both are empty.
type Grant struct {
	User, Device, Tag string
	Logins            []string // "*" is every one; none means no SSH for allow, every login for deny
	Targets           []string // as in the API; none means ssh
	Deny              bool
	Way               Way       // by which an account may be entered: this one or one that shows the hub more
	Expires           time.Time // zero: never
}

// Policy is one snapshot. Its maps are keyed by id; nobody changes them once it is made.
type Policy struct {
	Users       map[string]User
	Credentials map[string]Credential
	Devices     map[string]Device
	Grants      map[string][]Grant // by user

	DeviceIDs       map[string]string            // by name
	MQTTCredentials map[string]MQTTCredential    // topics.go
	topicRules      map[topicSubject][]TopicRule // made by hand
}

// Use is one thing that somebody wants to do, or is doing. Login may be empty where the target has none or it is not
// known to the hub; Credential may be empty where the use outlives the sign-in, as a shell does. Way is of ssh and rescue. Manages is of a
// use without a device that is for managers alone.
type Use struct {
	User, Credential, Device, Target, Login string
	Way                                     Way
	Manages                                 bool
}

// Verdict is the answer to a Use.
type Verdict int

// The verdicts. Hidden says that the user must not even learn that the device exists; OtherWay that it would be allowed
// by another Way, which Policy.Way tells.
const (
	Allowed Verdict = iota
	SignedOut
	Hidden
	Waiting
	Forbidden
	OtherWay
)

// Check decides a Use at a moment.
func (p *Policy) Check(u Use, now time.Time) Verdict {
	switch {
	case !p.SignedIn(u.User, u.Credential, now):
		return SignedOut
	case !p.Sees(u.User, u.Device, now):
		return Hidden
	case p.Users[u.User].Role == Viewer:
		return Forbidden
	case !p.Devices[u.Device].Active:
		return Waiting
	case p.denied(u, now):
		return Forbidden
	}
	return p.granted(u, now)
}

// SignedIn reports whether the user exists and may act, by that credential where one is named.
func (p *Policy) SignedIn(user, credential string, now time.Time) bool {
	u, ok := p.Users[user]
	if !ok || u.Disabled {
		return false
	}
	if credential == "" {
		return true
	}
	c, ok := p.Credentials[credential]
	return ok && c.User == user && (c.Expires.IsZero() || now.Before(c.Expires))
}

// Sees reports whether the device is in the user's view: whoever manages sees every device, others those of a grant,
// and nobody but a manager sees one that is denied to them wholly.
func (p *Policy) Sees(user, device string, now time.Time) bool {
	d, exists := p.Devices[device]
	u, ok := p.Users[user]
	if !exists || !ok || u.Disabled {
		return false
	}
	if u.Role.Manages() {
		return true
	}
	seen := false
	for _, g := range p.live(user, device, d, now) {
		if g.Deny && len(g.Logins) == 0 && slices.Contains(g.Targets, "*") {
			return false
		}
		seen = seen || !g.Deny
	}
	return seen
}

// live gives the grants of a user that apply to a device now.
func (p *Policy) live(user, id string, d Device, now time.Time) []Grant {
	var grants []Grant
	for _, g := range p.Grants[user] {
		expired := !g.Expires.IsZero() && !now.Before(g.Expires)
		applies := g.Device == id || (g.Device == "" && g.Tag == "") || (g.Tag != "" && slices.Contains(d.Tags, g.Tag))
		if applies && !expired {
			grants = append(grants, g)
		}
	}
	if p.Users[user].Role.Manages() {
		grants = append(grants, Grant{User: user, Logins: []string{"*"}, Targets: []string{"*"}})
	}
	return grants
}

func (p *Policy) denied(u Use, now time.Time) bool {
	return slices.ContainsFunc(p.live(u.User, u.Device, p.Devices[u.Device], now), func(g Grant) bool {
		return g.Deny && g.covers(u.Target) && (len(g.Logins) == 0 || g.names(u.Login))
	})
}

// names reports whether the grant's logins hold login. An empty login is only held by "*".
func (g Grant) names(login string) bool {
	return slices.Contains(g.Logins, "*") || (login != "" && slices.Contains(g.Logins, login))
}

func (g Grant) covers(target string) bool {
	if len(g.Targets) == 0 {
		return target == "ssh"
	}
	return slices.ContainsFunc(g.Targets, func(pattern string) bool {
		return Covers(pattern, target) || (g.Deny && Covers(ownForm(pattern), ownForm(target)))
	})
}
