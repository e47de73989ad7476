package messaging

import "sync"

// pending are the topics on which answers are awaited, with the topic of each request.
type pending struct {
	mu      sync.Mutex
	waiting map[string]string
	people  int // how many of waiting are people's
	byUser  map[string]int
}

// Bounds on the requests that wait at once: each has a caller of the API behind it.
const (
	maxPending       = 256
	maxPendingByUser = 32
)

// add awaits an answer of a user's on a topic; it fails where too many wait.
func (p *pending) add(user, reply, request string) (remove func(), ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.people >= maxPending || p.byUser[user] >= maxPendingByUser {
		return nil, false
	}
	p.waiting[reply] = request
	p.people++
	p.byUser[user]++
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.waiting, reply)
		p.people--
		if p.byUser[user]--; p.byUser[user] == 0 {
			delete(p.byUser, user)
		}
	}, true
}

// allow is add for a caller that counts by itself.
func (p *pending) allow(reply, request string) (remove func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting[reply] = request
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.waiting, reply)
	}
}

// request is the topic of what is answered on reply.
func (p *pending) request(reply string) (string, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	topic, ok := p.waiting[reply]
	return topic, ok
}
