package messaging

import (
	"container/list"
	"strings"
	"sync"

	"github.com/aditdev/adit/internal/access"
)

// What is kept of the last message of each topic, by the hub and for each reader of a tap.
const (
	maxTopics  = 20_000
	maxKept    = 32 << 20 // bytes
	maxPreview = 4 << 10  // bytes of a payload
	perTopic   = 300      // bytes that an entry takes beside its texts, about
)

// Sample is a message as pages see it: its payload may be cut.
type Sample struct {
	Received
	Bytes int // of the whole payload
	order uint64
}

// SampleOf cuts a message. What is not cut is shared, since nobody changes a message.
func SampleOf(m Received) Sample {
	s := Sample{Received: m, Bytes: len(m.Payload)}
	if len(m.Payload) > maxPreview {
		s.Payload = append(make([]byte, 0, maxPreview), m.Payload[:maxPreview]...)
	}
	return s
}

func (s *Sample) cost() int {
	n := perTopic + len(s.Topic) + len(s.Payload) + len(s.ContentType) + len(s.ResponseTopic) + len(s.Correlation)
	for _, p := range s.UserProperties {
		n += len(p.Name) + len(p.Value)
	}
	return n
}

// lastValues has the last message of each topic. When there are too many, those go that were silent longest.
type lastValues struct {
	mu      sync.Mutex
	byTopic map[string]*list.Element
	byAge   *list.List // of *Sample, the newest first
	bytes   int
}

func newLastValues() *lastValues {
	return &lastValues{byTopic: map[string]*list.Element{}, byAge: list.New()}
}

func (l *lastValues) put(s Sample) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.byTopic[s.Topic]; ok {
		l.bytes -= e.Value.(*Sample).cost()
		e.Value = &s
		l.byAge.MoveToFront(e)
	} else {
		l.byTopic[s.Topic] = l.byAge.PushFront(&s)
	}
	l.bytes += s.cost()
	for len(l.byTopic) > maxTopics || l.bytes > maxKept {
		l.removeLocked(l.byAge.Back())
	}
}

func (l *lastValues) removeLocked(e *list.Element) {
	s := e.Value.(*Sample)
	l.bytes -= s.cost()
	delete(l.byTopic, s.Topic)
	l.byAge.Remove(e)
}

// matching gives the messages of topics that filter matches and may allows, the newest first, at most limit.
func (l *lastValues) matching(filter string, limit int, may func(topic string) bool) []Sample {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []Sample
	for e := l.byAge.Front(); e != nil && len(out) < limit; e = e.Next() {
		if s := e.Value.(*Sample); access.ContainsTopics(filter, s.Topic) && (may == nil || may(s.Topic)) {
			out = append(out, *s)
		}
	}
	return out
}

// forget drops a topic and all below it.
func (l *lastValues) forget(root string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for topic, e := range l.byTopic {
		if topic == root || strings.HasPrefix(topic, root+"/") {
			l.removeLocked(e)
		}
	}
}
