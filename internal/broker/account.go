package broker

import "strings"

// account is what is retained for one owner, so that none takes all the room that there is.
type account struct {
	topics int
	bytes  int64
	told   bool // the log has that it is full
}

// ownerOf is whose account a message is on: a device's things are the device's, since it names them itself. People by the API,
// hooks and what else is no MQTT client go by their names; the hub itself has no account.
func ownerOf(m *message) string {
	if principal := m.origin.principal; principal != "" {
		device, _, _ := strings.Cut(principal, "/")
		return device
	}
	if m.from != "" {
		return "by " + m.from
	}
	return ""
}

// most is how many messages and bytes an owner may have retained.
func most(owner string) (topics int, bytes int64) {
	switch {
	case owner == "":
		return maxRetained, maxRetainedBytes
	case strings.HasPrefix(owner, "dev_"):
		return maxRetainedByDevice, maxRetainedBytesByDevice
	}
	return maxRetainedByOther, maxRetainedBytesByOther
}

// charge says on whose account m goes, in place of old if that is not nil; false where there is no room. Who has no room for another
// topic may still write those that are there: they stay on the account on which they are.
func (r *retained) charge(m, old *message) bool {
	if r.fits(m, old) {
		return true
	}
	if old == nil || old.owner == m.owner {
		return false
	}
	m.owner = old.owner
	return r.fits(m, old)
}

// fits reports whether m has room on its owner's account. What takes no more than what it replaces there always has.
func (r *retained) fits(m, old *message) bool {
	topics, bytes := 1, m.size()
	if old != nil && old.owner == m.owner {
		topics, bytes = 0, bytes-old.size()
	}
	a := r.accounts[m.owner]
	if a == nil {
		return true
	}
	mostTopics, mostBytes := most(m.owner)
	return (topics == 0 || a.topics < mostTopics) && (bytes <= 0 || a.bytes+int64(bytes) <= mostBytes)
}

// count adds m to its owner's account, or takes it off.
func (r *retained) count(m *message, sign int) {
	a := r.accounts[m.owner]
	if a == nil {
		a = &account{}
		r.accounts[m.owner] = a
	}
	a.topics += sign
	a.bytes += int64(sign * m.size())
	switch mostTopics, mostBytes := most(m.owner); {
	case a.topics == 0:
		delete(r.accounts, m.owner)
	case a.topics < mostTopics/2 && a.bytes < mostBytes/2:
		a.told = false
	}
}

// unkept counts a message that was to be retained and is not, and tells the log once that an account is full: older versions
// than 5.0 cannot be told themselves.
func (b *Broker) unkept(m *message, why fate) {
	b.stats.unkept++
	a := b.retained.accounts[m.owner]
	if why != overQuota || a == nil || a.told {
		return
	}
	a.told = true
	b.log.Warn("mqtt: no more is retained for this sender until some of it is cleared; what it sends is delivered only",
		"name", m.from, "topic", m.Topic, "retained", a.topics, "bytes", a.bytes)
}
