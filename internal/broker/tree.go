package broker

import (
	"strings"

	"github.com/aditdev/adit/internal/mqtt"
)

// subscription is one TopicFilter of one MQTT session, or of the hub itself.
type subscription struct {
	mqtt.Subscription
	id      uint32 // Subscription Identifier (MQTT 5.0 §3.8.2.1.2); 0: none
	session *session
	hub     *hubSubscription
}

// tree holds subscriptions by the levels of their filters.
type tree struct {
	root  node
	count int
}

type node struct {
	below map[string]*node
	here  []*subscription
	share map[string]*share // by ShareName
}

// share is the subscriptions of one ShareName to one filter; each message goes to one of them.
type share struct {
	members []*subscription
	next    int // where the round goes on
}

// add puts s in; what its session had under the same filter must have been removed before.
func (t *tree) add(s *subscription) {
	name, filter, shared := mqtt.CutShare(s.Filter)
	n := &t.root
	for level := range strings.SplitSeq(filter, "/") {
		next := n.below[level]
		if next == nil {
			if n.below == nil {
				n.below = map[string]*node{}
			}
			next = &node{}
			n.below[level] = next
		}
		n = next
	}
	t.count++
	if !shared {
		n.here = append(n.here, s)
		return
	}
	if n.share == nil {
		n.share = map[string]*share{}
	}
	if n.share[name] == nil {
		n.share[name] = &share{}
	}
	n.share[name].members = append(n.share[name].members, s)
}

// remove takes s out and cuts what is empty then.
func (t *tree) remove(s *subscription) {
	name, filter, shared := mqtt.CutShare(s.Filter)
	if !shared {
		name = ""
	}
	if t.root.remove(s, name, filter) {
		t.count--
	}
}

func (n *node) remove(s *subscription, name, filter string) (found bool) {
	level, rest, more := strings.Cut(filter, "/")
	next := n.below[level]
	if next == nil {
		return false
	}
	if more {
		found = next.remove(s, name, rest)
	} else {
		found = next.drop(s, name)
	}
	if len(next.below)+len(next.here)+len(next.share) == 0 {
		delete(n.below, level)
	}
	return found
}

func (n *node) drop(s *subscription, name string) bool {
	list := &n.here
	if name != "" {
		if n.share[name] == nil {
			return false
		}
		list = &n.share[name].members
	}
	for i, other := range *list {
		if other == s {
			*list = append((*list)[:i:i], (*list)[i+1:]...)
			if name != "" && len(*list) == 0 {
				delete(n.share, name)
			}
			return true
		}
	}
	return false
}

// match calls fn for each node whose filters match a TopicName. Those that begin with a wildcard do not match names that
// begin with $ (MQTT 5.0 §4.7.2).
func (t *tree) match(topic string, fn func(*node)) {
	t.root.match(topic, strings.HasPrefix(topic, "$"), fn)
}

func (n *node) match(rest string, plain bool, fn func(*node)) {
	level, rest, more := strings.Cut(rest, "/")
	if next := n.below["#"]; next != nil && !plain {
		fn(next)
	}
	n.below[level].step(rest, more, fn)
	if !plain {
		n.below["+"].step(rest, more, fn)
	}
}

func (n *node) step(rest string, more bool, fn func(*node)) {
	switch {
	case n == nil:
	case more:
		n.match(rest, false, fn)
	default:
		fn(n)
		if next := n.below["#"]; next != nil { // a/# matches a itself (§4.7.1.2)
			fn(next)
		}
	}
}
