package access

import (
	"iter"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// SpeakerKind says what somebody who speaks MQTT is.
type SpeakerKind string

// The kinds.
const (
	SpeaksAsDevice      SpeakerKind = "device"
	SpeaksAsThing       SpeakerKind = "thing" // something behind a device
	SpeaksAsUser        SpeakerKind = "user"
	SpeaksAsApplication SpeakerKind = "application"
)

// Speaker is who speaks MQTT. Device, User and Credential are ids; Credential is that of a login session, token or MQTT
// credential, empty for a device's own carrier.
type Speaker struct {
	Kind                            SpeakerKind
	Device, Thing, User, Credential string
	ClientID                        string
}

// MQTTCredential is the part of a username and password for MQTT that decides.
type MQTTCredential struct {
	Username            string
	Kind                SpeakerKind
	User, Device, Thing string
	Expires             time.Time // zero: never
}

// TopicAccess is what a TopicRule says of its topics.
type TopicAccess string

// The accesses. Of rules that apply, TopicDeny wins.
const (
	TopicRead      TopicAccess = "read"
	TopicWrite     TopicAccess = "write"
	TopicReadWrite TopicAccess = "readwrite"
	TopicDeny      TopicAccess = "deny"
)

// Valid reports whether a is one of the four.
func (a TopicAccess) Valid() bool {
	return slices.Contains([]TopicAccess{TopicRead, TopicWrite, TopicReadWrite, TopicDeny}, a)
}

func (a TopicAccess) holds(write bool) bool {
	return a == TopicReadWrite || (write && a == TopicWrite) || (!write && a == TopicRead)
}

// TopicRule allows or denies topics. Subject is everybody, devices, things, role:ROLE, tag:TAG, user:ID, device:ID or
// credential:ID; a device's and a tag's hold for the things behind the device too. In Filter %n is the device's name, %d
// its id, %t the thing, %u the username and %c the ClientID.
type TopicRule struct {
	Subject string
	Access  TopicAccess
	Filter  string
}

// What a topic may be: 256 bytes serve every convention in use, and bound what a rule costs.
const (
	MaxTopic       = 256 // bytes
	MaxTopicLevels = 16
)

// BuiltinTopicRules are the rules of roles, for showing; MayPublish and MaySubscribe have them in code. An operator's hold
// for devices whose target mqtt is granted, a viewer's for those in their view.
func BuiltinTopicRules() []TopicRule {
	return []TopicRule{
		{"devices", TopicWrite, "devices/%n/#"}, {"devices", TopicRead, "cmds/%n/#"},
		{"things", TopicWrite, "devices/%n/%t/#"}, {"things", TopicRead, "cmds/%n/%t/#"},
		{"role:owner", TopicReadWrite, "#"}, {"role:owner", TopicRead, "$SYS/#"},
		{"role:admin", TopicReadWrite, "#"}, {"role:admin", TopicRead, "$SYS/#"},
		{"role:operator", TopicRead, "devices/%n/#"}, {"role:operator", TopicReadWrite, "cmds/%n/#"},
		{"role:viewer", TopicRead, "devices/%n/#"},
	}
}

// MayPublish reports whether s may write a TopicName.
func (p *Policy) MayPublish(s Speaker, topic string, now time.Time) bool {
	if strings.ContainsAny(topic, "+#") || underSystem(topic) || underShare(topic) {
		return false
	}
	return p.topicAllowed(s, true, topic, now)
}

// MayReceive reports whether s may be given a message of that TopicName.
func (p *Policy) MayReceive(s Speaker, topic string, now time.Time) bool {
	return !strings.ContainsAny(topic, "+#") && p.MaySubscribe(s, topic, now)
}

// MaySubscribe reports whether s may subscribe to a TopicFilter, or to that of a shared subscription: something allowed
// must contain all of what it matches, and nothing that denies may. What else is denied inside of it, MayReceive holds back.
func (p *Policy) MaySubscribe(s Speaker, filter string, now time.Time) bool {
	filter, ok := Unshared(filter)
	if !ok || (underSystem(filter) && !p.managesTopics(s)) {
		return false
	}
	return p.topicAllowed(s, false, filter, now)
}

// Unshared is the filter behind $share/NAME/ (MQTT 5.0 §4.8.2), or filter itself; it fails for one that is not well made.
func Unshared(filter string) (string, bool) {
	if !underShare(filter) {
		return filter, true
	}
	name, rest, _ := strings.Cut(strings.TrimPrefix(filter, "$share/"), "/")
	ok := name != "" && rest != "" && !strings.ContainsAny(name, "+#") && filter != "$share" && !underShare(rest)
	return rest, ok
}

func underSystem(filter string) bool { first, _, _ := strings.Cut(filter, "/"); return first == "$SYS" }
func underShare(filter string) bool {
	first, _, _ := strings.Cut(filter, "/")
	return first == "$share"
}

// Speaks reports whether s may speak at all: what it is of exists, waits for nothing, and is not disabled.
func (p *Policy) Speaks(s Speaker, now time.Time) bool {
	if strings.HasPrefix(s.Credential, "mqc_") {
		c, ok := p.MQTTCredentials[s.Credential]
		if !ok || (!c.Expires.IsZero() && !now.Before(c.Expires)) {
			return false
		}
	}
	switch s.Kind {
	case SpeaksAsDevice, SpeaksAsThing:
		return p.Devices[s.Device].Active
	case SpeaksAsUser:
		if strings.HasPrefix(s.Credential, "mqc_") {
			return p.SignedIn(s.User, "", now)
		}
		return p.SignedIn(s.User, s.Credential, now)
	case SpeaksAsApplication:
		return s.Credential != ""
	}
	return false
}

func (p *Policy) managesTopics(s Speaker) bool {
	return s.Kind == SpeaksAsUser && p.Users[s.User].Role.Manages()
}

// topicAllowed decides for a filter of which a topic is the narrowest.
func (p *Policy) topicAllowed(s Speaker, write bool, filter string, now time.Time) bool {
	if !ValidTopic(filter) || !p.Speaks(s, now) {
		return false
	}
	allowed := p.builtinAllows(s, write, filter, now)
	for rules := range p.rulesOf(s) {
		for _, r := range rules {
			if allowed && r.Access != TopicDeny {
				continue
			}
			own, ok := p.fill(r.Filter, s)
			if !ok || !ContainsTopics(own, filter) {
				continue
			}
			if r.Access == TopicDeny {
				return false
			}
			allowed = allowed || r.Access.holds(write)
		}
	}
	return allowed
}

// ValidTopic reports whether text is a TopicName or a TopicFilter (MQTT 5.0 §4.7) that this hub takes.
func ValidTopic(text string) bool {
	if text == "" || len(text) > MaxTopic || !utf8.ValidString(text) {
		return false
	}
	levels := 1
	for i := range len(text) {
		switch text[i] {
		case 0:
			return false
		case '/':
			levels++
		case '+', '#': // alone in its level, # in the last only
			first, last := i == 0 || text[i-1] == '/', i == len(text)-1
			if !first || (!last && (text[i] == '#' || text[i+1] != '/')) {
				return false
			}
		}
	}
	return levels <= MaxTopicLevels
}

func (p *Policy) builtinAllows(s Speaker, write bool, filter string, now time.Time) bool {
	tree := "cmds"
	if write {
		tree = "devices"
	}
	switch s.Kind {
	case SpeaksAsDevice:
		return below(filter, tree, p.Devices[s.Device].Name)
	case SpeaksAsThing:
		return below(filter, tree, p.Devices[s.Device].Name, s.Thing)
	case SpeaksAsUser:
		return p.roleAllows(s.User, write, filter, now)
	}
	return false
}

// below reports whether all that filter matches lies at or below the topic of these levels.
func below(filter string, levels ...string) bool {
	for i, level := range levels {
		own, rest, more := strings.Cut(filter, "/")
		if own != level || !plain(level) || (!more && i < len(levels)-1) {
			return false
		}
		filter = rest
	}
	return true
}

// plain reports whether text may stand for a placeholder.
func plain(text string) bool { return text != "" && !strings.ContainsAny(text, "+#/") }

func (p *Policy) roleAllows(user string, write bool, filter string, now time.Time) bool {
	role := p.Users[user].Role
	if role.Manages() {
		return filter[0] != '$' || (!write && underSystem(filter))
	}
	tree, rest, _ := strings.Cut(filter, "/")
	name, _, _ := strings.Cut(rest, "/")
	device, ok := p.DeviceIDs[name]
	switch {
	case !ok || (tree != "devices" && tree != "cmds"):
		return false
	case role == Viewer:
		return tree == "devices" && !write && p.Sees(user, device, now)
	}
	return (tree == "cmds" || !write) && p.Check(Use{User: user, Device: device, Target: "mqtt"}, now) == Allowed
}

// topicSubject is a rule's subject, apart: role and viewer, of everybody the second is empty.
type topicSubject struct{ kind, name string }

// AddTopicRule adds a rule made by hand to a policy that is being made.
func (p *Policy) AddTopicRule(r TopicRule) {
	kind, name, _ := strings.Cut(r.Subject, ":")
	if p.topicRules == nil {
		p.topicRules = map[topicSubject][]TopicRule{}
	}
	subject := topicSubject{kind, name}
	p.topicRules[subject] = append(p.topicRules[subject], r)
}

// rulesOf gives the rules whose subjects name s: there may be thousands for others, and each message is asked about.
func (p *Policy) rulesOf(s Speaker) iter.Seq[[]TopicRule] {
	return func(yield func([]TopicRule) bool) {
		if len(p.topicRules) == 0 {
			return
		}
		subjects := [...]topicSubject{{"everybody", ""}, {"credential", s.Credential}, {"device", s.Device}, {}, {}}
		switch s.Kind {
		case SpeaksAsDevice:
			subjects[3].kind = "devices"
		case SpeaksAsThing:
			subjects[3].kind = "things"
		case SpeaksAsUser:
			subjects[3], subjects[4] = topicSubject{"role", string(p.Users[s.User].Role)}, topicSubject{"user", s.User}
		}
		for _, subject := range subjects {
			if rules := p.topicRules[subject]; len(rules) > 0 && !yield(rules) {
				return
			}
		}
		for _, tag := range p.Devices[s.Device].Tags {
			if rules := p.topicRules[topicSubject{"tag", tag}]; len(rules) > 0 && !yield(rules) {
				return
			}
		}
	}
}

// fill puts what is known of s in the place of a filter's placeholders, all at once. It fails where one has no value, or
// a value that would widen the filter: such a rule matches nothing.
func (p *Policy) fill(filter string, s Speaker) (string, bool) {
	if !strings.Contains(filter, "%") {
		return filter, true
	}
	var out strings.Builder
	for {
		before, after, found := strings.Cut(filter, "%")
		out.WriteString(before)
		if !found {
			return out.String(), true
		}
		value, known := "", false
		if after != "" {
			value, known = p.placeholder(after[0], s)
		}
		if !known { // a percent sign of its own
			out.WriteByte('%')
			filter = after
			continue
		}
		if !plain(value) {
			return "", false
		}
		out.WriteString(value)
		filter = after[1:]
	}
}

func (p *Policy) placeholder(letter byte, s Speaker) (value string, known bool) {
	switch letter {
	case 'n':
		return p.Devices[s.Device].Name, true
	case 'd':
		return s.Device, true
	case 't':
		return s.Thing, true
	case 'u':
		return p.username(s), true
	case 'c':
		return s.ClientID, true
	}
	return "", false
}

// username is what s signed in under, or would have: a person's handle, the name of a thing or device.
func (p *Policy) username(s Speaker) string {
	if c, ok := p.MQTTCredentials[s.Credential]; ok {
		return c.Username
	}
	switch s.Kind {
	case SpeaksAsUser:
		return p.Users[s.User].Handle
	case SpeaksAsThing:
		return s.Thing
	}
	return p.Devices[s.Device].Name
}

// ContainsTopics reports whether every topic that filter matches is matched by outer too. A topic is a filter that matches
// itself. A wildcard in the first level matches no topic that begins with $ (MQTT 5.0 §4.7.2).
func ContainsTopics(outer, filter string) bool {
	if strings.HasPrefix(filter, "$") && (strings.HasPrefix(outer, "+") || strings.HasPrefix(outer, "#")) {
		return false
	}
	for {
		want, outerRest, outerMore := strings.Cut(outer, "/")
		have, rest, more := strings.Cut(filter, "/")
		switch {
		case want == "#":
			return true
		case have == "#" || (want != "+" && want != have):
			return false
		case !outerMore:
			return !more
		case !more:
			return outerRest == "#" // the parent level too (§4.7.1.2)
		}
		outer, filter = outerRest, rest
	}
}
