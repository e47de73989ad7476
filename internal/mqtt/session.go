package mqtt

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"sync"
)

// Store keeps what is in flight of a Session where it outlives the process. It is called with the Session's lock held, so it
// must be quick; what it cannot keep costs a duplicate, or a QoS 2 message that comes twice, after a restart.
type Store interface {
	// Save keeps, or replaces, what is under way with a Packet Identifier: outgoing the PUBLISH or PUBREL as written, incoming
	// nothing but the fact.
	Save(outgoing bool, id uint16, frame []byte)
	Forget(outgoing bool, id uint16)
}

// Session is an MQTT session as the client keeps it (5.0 §4.1): it outlives connections.
type Session struct {
	mu       sync.Mutex
	store    Store
	last     uint16 // Packet Identifier given out last
	sequence uint64
	out      map[uint16]*outgoing
	in       map[uint16]*incoming
	client   *Client // the connection that has it
}

// outgoing is a PUBLISH of QoS 1 or 2 until all of its acknowledgements came.
type outgoing struct {
	sequence uint64
	frame    []byte // nil of SUBSCRIBE and UNSUBSCRIBE, which a new connection does not repeat
	released bool   // PUBREC came: what is repeated is PUBREL
	done     func(Packet, error)
}

// incoming is a PUBLISH of QoS 1 or 2 until its handler has it, of QoS 2 until PUBREL.
type incoming struct {
	qos   byte
	acked bool
}

// NewSession makes an empty Session. store may be nil.
func NewSession(store Store) *Session {
	return &Session{store: store, out: map[uint16]*outgoing{}, in: map[uint16]*incoming{}}
}

// Restore puts back what a Store kept, in the order in which it was first saved, before the first connection. done is called
// when an outgoing one is through; it may be nil.
func (s *Session) Restore(outgoingPacket bool, id uint16, frame []byte, done func(ReasonCode)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !outgoingPacket {
		s.in[id] = &incoming{qos: 2, acked: true}
		return
	}
	s.sequence++
	o := &outgoing{sequence: s.sequence, frame: frame, released: Type(frame[0]>>4) == PUBREL}
	if done != nil {
		o.done = func(p Packet, err error) { done(codeOf(p, err)) }
	}
	s.out[id] = o
}

func codeOf(p Packet, err error) ReasonCode {
	if a, ok := p.(*Ack); ok && err == nil {
		return a.Code
	}
	return Unspecified
}

// Inflight counts the messages that wait for acknowledgements.
func (s *Session) Inflight() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.out {
		if o.frame != nil {
			n++
		}
	}
	return n
}

// add gives a Packet Identifier to what build makes a packet of. mu is held.
func (s *Session) add(done func(Packet, error), build func(id uint16) ([]byte, error), repeat bool) ([]byte, error) {
	id := s.last
	for range 65536 {
		if id++; id != 0 && s.out[id] == nil {
			break
		}
	}
	frame, err := build(id)
	if err != nil {
		return nil, err
	}
	s.last = id
	s.sequence++
	o := &outgoing{sequence: s.sequence, done: done}
	if repeat {
		o.frame = frame
		if s.store != nil {
			s.store.Save(true, id, frame)
		}
	}
	s.out[id] = o
	return frame, nil
}

// finish takes what waited under id out. mu is held.
func (s *Session) finish(id uint16) *outgoing {
	o := s.out[id]
	if o == nil {
		return nil
	}
	delete(s.out, id)
	if s.store != nil && o.frame != nil {
		s.store.Forget(true, id)
	}
	return o
}

// resume is what a new connection repeats, in order. A server that lost its session gets unreleased messages as new ones;
// of released ones it has said that it had them.
func (s *Session) resume(present bool) (frames [][]byte, through []*outgoing) {
	if !present {
		for id := range s.in {
			s.forgetIncoming(id)
		}
	}
	for _, id := range slices.SortedFunc(maps.Keys(s.out), func(a, b uint16) int { return cmp.Compare(s.out[a].sequence, s.out[b].sequence) }) {
		o := s.out[id]
		switch {
		case o.frame == nil:
			s.finish(id)
		case !present && o.released:
			through = append(through, s.finish(id))
		default:
			frame := bytes.Clone(o.frame)
			if !o.released && present {
				frame[0] |= 8 // DUP
			}
			frames = append(frames, frame)
		}
	}
	return frames, through
}

func (s *Session) forgetIncoming(id uint16) {
	if p := s.in[id]; p != nil && p.qos == 2 && s.store != nil {
		s.store.Forget(false, id)
	}
	delete(s.in, id)
}
