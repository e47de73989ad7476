package mqtt

import (
	"bytes"
	"sync"
)

// Store keeps what is in flight of a Session where it outlives the process. It is called with the Session's lock held, so it
// must be quick. Either it says at once that all is safe as it is, or it calls safe later, once, from a goroutine of its own: what the
// other end is told waits for that. What it cannot keep costs a duplicate, or a QoS 2 message that comes twice, after a restart.
type Store interface {
	// Save keeps, or replaces, what is under way with a Packet Identifier: outgoing the PUBLISH or PUBREL as written, incoming
	// nothing but the fact. For a PUBLISH nobody waits: safe is nil.
	Save(outgoing bool, id uint16, frame []byte, safe func()) (already bool)
	// Forget is called when an identifier is free again. For an outgoing one nobody waits: safe is nil.
	Forget(outgoing bool, id uint16, safe func()) (already bool)
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

// add gives a Packet Identifier, want where it is not 0, to what build makes a packet of. mu is held.
func (s *Session) add(want uint16, done func(Packet, error), build func(id uint16) ([]byte, error), repeat bool) ([]byte, error) {
	id := want
	if want == 0 {
		id = s.free()
	} else if s.out[want] != nil {
		return nil, Errorf(PacketIDInUse, "Packet Identifier %d is in use", want)
	}
	frame, err := build(id)
	if err != nil {
		return nil, err
	}
	s.sequence++
	o := &outgoing{sequence: s.sequence, done: done}
	if repeat {
		o.frame = frame
		if s.store != nil {
			s.store.Save(true, id, frame, nil)
		}
	}
	s.out[id] = o
	return frame, nil
}

// free is a Packet Identifier that is not in use. mu is held.
func (s *Session) free() uint16 {
	for range 65536 {
		if s.last++; s.last != 0 && s.out[s.last] == nil {
			break
		}
	}
	return s.last
}

// finish takes what waited under id out. mu is held.
func (s *Session) finish(id uint16) *outgoing {
	o := s.out[id]
	if o == nil {
		return nil
	}
	delete(s.out, id)
	if s.store != nil && o.frame != nil {
		s.store.Forget(true, id, nil)
	}
	return o
}

// resume is what a new connection repeats, in order. A server that lost its session gets unreleased messages as new ones;
// of released ones it has said that it had them.
func (s *Session) resume(present bool) (frames [][]byte, through []*outgoing) {
	if !present {
		for id := range s.in {
			s.forgetIncoming(id, func() {})
		}
	}
	for _, id := range s.inOrder() {
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

// inOrder are the identifiers of what is on its way out; they are few.
func (s *Session) inOrder() (ids []uint16) {
	for id, o := range s.out {
		at := len(ids)
		for at > 0 && s.out[ids[at-1]].sequence > o.sequence {
			at--
		}
		ids = append(ids, 0)
		copy(ids[at+1:], ids[at:])
		ids[at] = id
	}
	return ids
}

// forgetIncoming makes an identifier free again; where that is not safe yet, safe is called when it is. mu is held.
func (s *Session) forgetIncoming(id uint16, safe func()) (already bool) {
	p := s.in[id]
	delete(s.in, id)
	return p == nil || p.qos != 2 || s.store == nil || s.store.Forget(false, id, safe)
}
