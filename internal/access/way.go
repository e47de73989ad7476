package access

import (
	"slices"
	"strconv"
	"time"
)

// Way is how an account of a device is entered. The later one shows the hub more, so a grant of the former allows it too;
// where several grants apply, the one that asks least decides.
type Way int

// The ways. Raw: SSH runs from the person's machine to the device's server, and the hub carries what it cannot read.
// Held: the hub ends SSH, and sees to it that the login is one of the grant's.
const (
	Raw Way = iota
	Held
)

// granted decides by the grants that allow.
func (p *Policy) granted(u Use, now time.Time) Verdict {
	least, ok := p.least(u, now)
	switch {
	case !ok:
		return Forbidden
	case u.Way < least:
		return OtherWay
	}
	return Allowed
}

// Way is the way that shows the hub least, of those by which grants allow this use. It is Held where none does.
func (p *Policy) Way(u Use, now time.Time) Way {
	least, _ := p.least(u, now)
	return least
}

// least is Way; ok is false where no grant allows the use in any way.
func (p *Policy) least(u Use, now time.Time) (least Way, ok bool) {
	d := p.Devices[u.Device]
	grants := p.live(u.User, u.Device, d, now)
	allow := slices.DeleteFunc(slices.Clone(grants), func(g Grant) bool { return g.Deny || !g.covers(u.Target) || !g.enters(u) })
	switch {
	case len(allow) == 0:
		return Held, false
	case takesLogin(u.Target):
		least = leastOf(allow)
		if u.Login == "" { // it may be any that they have
			least = max(least, strictest(grants))
		}
	case d.serves(u.Target) && !slices.ContainsFunc(allow, func(g Grant) bool { return g.Way == Raw && g.namesNeighbour(u.Target) }):
		least = strictest(grants)
	}
	return least, true
}

func leastOf(grants []Grant) Way {
	least := Held
	for _, g := range grants {
		least = min(least, g.Way)
	}
	return least
}

// enters reports whether the grant's logins let the use in. Where the login is not known to the hub, any will do.
func (g Grant) enters(u Use) bool {
	return !takesLogin(u.Target) || g.names(u.Login) || (u.Login == "" && len(g.Logins) > 0)
}

// strictest is the way that the login needs which needs most, of all that the grants name: whoever reaches the device's
// SSH server itself could be any of them.
func strictest(grants []Grant) Way {
	most := Raw
	for _, g := range grants {
		for _, login := range g.Logins {
			if !g.Deny && g.Way > most && g.opensAccounts() {
				most = max(most, loginWay(grants, login))
			}
		}
	}
	return most
}

// loginWay is the least that any grant asks for a login, or for every one where it is "*".
func loginWay(grants []Grant, login string) Way {
	least := Held
	for _, g := range grants {
		if !g.Deny && g.opensAccounts() && g.names(login) {
			least = min(least, g.Way)
		}
	}
	return least
}

func (g Grant) opensAccounts() bool { return g.covers("ssh") || g.covers("rescue") }

// serves reports whether a target may be the device's own SSH server by its address: its port on whatever host, since a
// device has more addresses than the hub knows.
func (d Device) serves(target string) bool {
	if !Covers("tcp:*", target) {
		return false
	}
	_, port := cutPort(target)
	return port == "22" || (d.SSHPort != 0 && port == strconv.Itoa(d.SSHPort))
}

// namesNeighbour reports whether the grant names the target's host, and that is not the device by a name for itself: then
// somebody meant that other machine.
func (g Grant) namesNeighbour(target string) bool {
	if host, _ := cutPort(ownForm(target)); host == "tcp:127.0.0.1" {
		return false
	}
	return slices.ContainsFunc(g.Targets, func(pattern string) bool {
		host, _ := cutPort(pattern)
		return host != "*" && host != "tcp" && host != "tcp:*" && Covers(pattern, target)
	})
}
