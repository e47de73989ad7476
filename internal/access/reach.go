package access

import (
	"slices"
	"time"
)

// Reach is what a user may use on a device: login and target patterns of the grants, without what is denied wholly. Held
// are the logins of Logins for which the hub must end SSH, and Gate is the way in where the login is not told before, as at
// the SSH gate. It is for showing; Check decides.
type Reach struct {
	Logins, Targets, Held []string
	Gate                  Way
}

// Reach lists what a user may use on a device.
func (p *Policy) Reach(user, device string, now time.Time) Reach {
	r := Reach{Logins: []string{}, Targets: []string{}, Held: []string{}}
	if !p.Sees(user, device, now) || p.Users[user].Role == Viewer {
		return r
	}
	grants := p.live(user, device, p.Devices[device], now)
	for _, g := range grants {
		if g.Deny {
			continue
		}
		for _, target := range orSSH(g.Targets) {
			if !deniedWholly(grants, target) {
				r.Targets = append(r.Targets, target)
			}
		}
		for _, login := range g.Logins {
			if g.covers("ssh") && !deniedLogin(grants, login) {
				r.Logins = append(r.Logins, login)
			}
		}
	}
	r.Logins, r.Targets = unique(r.Logins), unique(r.Targets)
	for _, login := range r.Logins {
		if loginWay(grants, login) == Held {
			r.Held = append(r.Held, login)
		}
	}
	if len(r.Logins) > 0 {
		r.Gate = p.Way(Use{User: user, Device: device, Target: "ssh"}, now)
	}
	return r
}

// Forwards reports whether a certificate for this login may carry the right to forward ports: sshd cannot limit it to
// addresses, so only a grant of every address gives it. One of them is sshd's own, so nobody has it whom the hub has to
// lead into some account.
func (p *Policy) Forwards(user, device, login string, now time.Time) bool {
	grants := p.live(user, device, p.Devices[device], now)
	for _, g := range grants {
		if g.Deny && slices.ContainsFunc(orSSH(g.Targets), func(t string) bool { return t == "*" || Covers("tcp:*", t) }) {
			return false
		}
	}
	return strictest(grants) == Raw && slices.ContainsFunc(grants, func(g Grant) bool {
		return !g.Deny && g.covers("tcp:*:*") && (len(g.Logins) == 0 || g.names(login))
	})
}

// NextExpiry is the first moment after now at which a grant or credential ends; zero where none does.
func (p *Policy) NextExpiry(now time.Time) time.Time {
	var next time.Time
	consider := func(t time.Time) {
		if t.After(now) && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	for _, c := range p.Credentials {
		consider(c.Expires)
	}
	for _, c := range p.MQTTCredentials {
		consider(c.Expires)
	}
	for _, grants := range p.Grants {
		for _, g := range grants {
			consider(g.Expires)
		}
	}
	return next
}

func orSSH(targets []string) []string {
	if len(targets) == 0 {
		return []string{"ssh"}
	}
	return targets
}

func deniedWholly(grants []Grant, target string) bool {
	return slices.ContainsFunc(grants, func(g Grant) bool {
		return g.Deny && g.covers(target) && (len(g.Logins) == 0 || slices.Contains(g.Logins, "*"))
	})
}

func deniedLogin(grants []Grant, login string) bool {
	return slices.ContainsFunc(grants, func(g Grant) bool {
		return g.Deny && g.covers("ssh") && (len(g.Logins) == 0 || slices.Contains(g.Logins, "*") ||
			slices.Contains(g.Logins, login))
	})
}

func unique(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}
