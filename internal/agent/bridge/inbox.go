package bridge

import (
	"sync"

	"github.com/aditdev/adit/internal/mqtt"
)

// inbox holds the hub's messages until the local broker takes them. A hub has at most a few thousand under way for one session; some
// brokers send all of them at once to a client that comes back, whatever it asked for.
type inbox struct {
	mu    sync.Mutex
	list  []arrival
	bytes int
	more  chan struct{} // something can be taken
}

// arrival is a message of the hub on its way to the local broker.
type arrival struct {
	p     *mqtt.Publish
	ack   func()
	known bool // to the breaker
}

const (
	inboxMost  = 10_000
	inboxBytes = 32 << 20
	inboxQoS0  = 900 // messages, beyond which one of QoS 0 is not taken
)

func newInbox() *inbox { return &inbox{more: make(chan struct{}, 1)} }

// put says whether there was room.
func (i *inbox) put(a arrival) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	most := inboxMost
	if a.p.QoS == 0 {
		most = inboxQoS0
	}
	if len(i.list) >= most || i.bytes+len(a.p.Payload) > inboxBytes {
		return false
	}
	i.list = append(i.list, a)
	i.bytes += len(a.p.Payload)
	select {
	case i.more <- struct{}{}:
	default:
	}
	return true
}

// take gives the first; ok is false where there is none.
func (i *inbox) take() (a arrival, ok bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.list) == 0 {
		return a, false
	}
	a, i.list[0] = i.list[0], arrival{}
	i.list = i.list[1:]
	i.bytes -= len(a.p.Payload)
	return a, true
}

// back makes a the first again.
func (i *inbox) back(a arrival) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.list = append([]arrival{a}, i.list...)
	i.bytes += len(a.p.Payload)
}
