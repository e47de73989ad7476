package broker

import (
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/aditdev/adit/internal/mqtt"
)

// retained holds the last message of each topic that has one, with the topics in order: filters mostly begin with levels
// without wildcards, and what they can match stands together.
type retained struct {
	messages map[string]*message
	topics   []string
	bytes    int64
	accounts map[string]*account // by owner
}

// set keeps m, whose payload is not empty, where there is room for it, and on its owner's account.
func (r *retained) set(m *message) fate {
	old := r.messages[m.Topic]
	more := m.size()
	if old != nil {
		more -= old.size()
	}
	if len(m.Payload) > maxRetainedPayload || r.bytes+int64(more) > maxRetainedBytes || old == nil && len(r.topics) >= maxRetained {
		return notKept
	}
	if !r.charge(m, old) {
		return overQuota
	}
	r.put(m)
	return routed
}

// put keeps m whether there is room or not: it had room before.
func (r *retained) put(m *message) {
	old := r.messages[m.Topic]
	if old == nil {
		at := sort.SearchStrings(r.topics, m.Topic)
		r.topics = slices.Insert(r.topics, at, m.Topic)
	} else {
		r.bytes -= int64(old.size())
		r.count(old, -1)
	}
	r.messages[m.Topic] = m
	r.bytes += int64(m.size())
	r.count(m, 1)
}

// remove forgets a topic's message and reports whether there was one.
func (r *retained) remove(topic string) bool {
	old := r.messages[topic]
	if old == nil {
		return false
	}
	at := sort.SearchStrings(r.topics, topic)
	r.topics = slices.Delete(r.topics, at, at+1)
	delete(r.messages, topic)
	r.bytes -= int64(old.size())
	r.count(old, -1)
	return true
}

// match calls fn for the messages that a filter matches and that have not expired, by topic, until fn returns false.
func (r *retained) match(filter string, now time.Time, fn func(*message) bool) {
	prefix := filter
	if at := strings.IndexAny(filter, "+#"); at >= 0 {
		prefix = strings.TrimSuffix(filter[:at], "/") // a/# matches a itself
	}
	for _, topic := range r.topics[sort.SearchStrings(r.topics, prefix):] {
		if !strings.HasPrefix(topic, prefix) {
			return
		}
		if m := r.messages[topic]; mqtt.Match(filter, topic) && !m.expired(now) && !fn(m) {
			return
		}
	}
}
