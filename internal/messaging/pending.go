package messaging

import "sync"

// pending are the topics on which answers are awaited, with the topic of each request.
type pending struct {
	mu      sync.Mutex
	waiting map[string]string
}

// maxPending bounds the requests that wait at once: each has a caller of the API behind it.
const maxPending = 256

// add awaits an answer on a topic; it fails where too many wait.
func (p *pending) add(reply, request string) (remove func(), ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) >= maxPending {
		return nil, false
	}
	p.waiting[reply] = request
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.waiting, reply)
	}, true
}

// request is the topic of what is answered on reply.
func (p *pending) request(reply string) (string, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	topic, ok := p.waiting[reply]
	return topic, ok
}
