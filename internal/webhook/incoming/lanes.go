package incoming

import "sync"

// lanes are slots, so many in all and so many of one key.
type lanes struct {
	mu       sync.Mutex
	all, one int
	taken    int
	by       map[string]int
}

func newLanes(all, one int) *lanes { return &lanes{all: all, one: one, by: map[string]int{}} }

func (l *lanes) take(key string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.taken >= l.all || l.by[key] >= l.one {
		return false
	}
	l.taken++
	l.by[key]++
	return true
}

// fullOf reports whether all slots of a key are taken.
func (l *lanes) fullOf(key string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.by[key] >= l.one
}

func (l *lanes) give(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.taken--
	if l.by[key]--; l.by[key] == 0 {
		delete(l.by, key)
	}
}
