package bridge

import (
	"encoding/binary"
	"slices"

	"github.com/aditdev/adit/internal/mqtt"
)

// mark is a message of QoS 2 that is between its acknowledgements, by its Packet Identifier at one of the brokers. Marks are kept with
// the queue, so that nothing comes twice where an agent is killed:
//
//   - A message of the local broker's is marked in the record that has it, before PUBREC, until PUBREL.
//   - On its way to the hub it has a Packet Identifier made of its sequence, so an agent that starts again repeats it under the
//     same. When PUBREC comes it is gone and marked, in one record, before PUBREL, until PUBCOMP.
//   - A message of the hub's goes to the local broker with the hub's Packet Identifier, and again under the same. When PUBREC comes
//     it is marked for both sides, in one record: here until PUBCOMP, there until the hub's PUBREL.
//
// What is under way when the agent is killed is therefore either repeated under the identifier that the other side knows it by, or marked.
type mark uint32 // way and Packet Identifier

func markOf(at way, id uint16) mark { return mark(at)<<16 | mark(id) }

// way is what a mark is of.
type way byte

const (
	localIn way = 1 + iota
	localOut
	hubIn
	hubOut
)

const (
	markBytes      = 3 // one byte way, or its complement for a mark that is taken back, two bytes Packet Identifier
	takenBack mark = 0xff << 16
)

// id is the Packet Identifier of a message on its way to the hub.
func (i *item) id() uint16 { return idOf(i.sequence) }

func idOf(sequence uint64) uint16 { return uint16(sequence%65535) + 1 }

func (m mark) way() way   { return way(m >> 16) }
func (m mark) id() uint16 { return uint16(m) }

func (m mark) append(b []byte) []byte { return append(b, byte(m>>16), byte(m>>8), byte(m)) }

// marks are few, and in the order in which they were made: PUBREL is repeated in that of the messages.
type marks []mark

// replay does to marks what a record says.
func (s *marks) replay(r record) {
	switch r.kind {
	case recordTaken:
		s.set(markOf(localIn, r.from))
	case recordReleased:
		s.set(markOf(hubOut, idOf(r.sequence)))
	case recordAllMarks:
		*s = nil
	}
	for b := r.marks; len(b) >= markBytes; b = b[markBytes:] {
		s.set(markOf(way(b[0]), binary.BigEndian.Uint16(b[1:])))
	}
}

// set makes a mark, or takes it back.
func (s *marks) set(m mark) {
	back := m.way() > hubOut
	if back {
		m ^= takenBack
	}
	if at := slices.Index(*s, m); at >= 0 {
		*s = append((*s)[:at], (*s)[at+1:]...)
	}
	if !back {
		*s = append(*s, m)
	}
}

func (s marks) all() (b []byte) {
	for _, m := range s {
		b = m.append(b)
	}
	return b
}

// restore puts what is marked back into the sessions of both links.
func (q *queue) restore(local, hub *mqtt.Session) {
	for _, m := range q.marks {
		session, out := local, m.way() == localOut || m.way() == hubOut
		if m.way() == hubIn || m.way() == hubOut {
			session = hub
		}
		frame, err := mqtt.Encode(&mqtt.Ack{Kind: mqtt.PUBREL, ID: m.id()}, mqtt.V311) // the same in each version
		if err == nil {
			session.Restore(out, m.id(), frame, nil)
		}
	}
}

// note writes that marks were made or taken back; safe, unless it is nil, is called when that is on disk. Where the disk takes nothing
// it says that all is safe: the worst is a message that comes twice.
func (q *queue) note(list []byte, safe func()) (already bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	r := record{kind: recordMarks, sequence: q.sequence, marks: list}
	if _, _, _, err := q.write(r); err != nil {
		return true
	}
	q.marks.replay(r)
	if safe != nil {
		q.await(func(error) { safe() })
	}
	return false
}

func (q *queue) marked(m mark) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Contains(q.marks, m)
}

// release takes the message with a Packet Identifier at the hub out, and marks it.
func (q *queue) release(id uint16, safe func()) (already bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, i := range q.items {
		if !i.taken || i.gone || i.id() != id {
			continue
		}
		r := record{kind: recordReleased, sequence: i.sequence}
		if _, _, _, err := q.write(r); err != nil {
			return true
		}
		q.marks.replay(r)
		q.drop(i)
		q.forget()
		q.await(func(error) { safe() })
		return false
	}
	return true
}

// store is the mqtt.Store of a link.
type store struct {
	queue   *queue
	in, out way
}

// Save is called by the link's session, see mqtt.Store.
func (s store) Save(outgoing bool, id uint16, frame []byte, safe func()) (already bool) {
	switch {
	case !outgoing:
		m := markOf(s.in, id)
		return s.queue.marked(m) || s.queue.note(m.append(nil), safe)
	case mqtt.Type(frame[0]>>4) != mqtt.PUBREL: // repeated from the queue, or by the hub
		return true
	case s.out == hubOut:
		return s.queue.release(id, safe)
	}
	return s.queue.note(markOf(hubIn, id).append(markOf(localOut, id).append(nil)), safe)
}

// Forget is called by the link's session, see mqtt.Store.
func (s store) Forget(outgoing bool, id uint16, safe func()) (already bool) {
	m := markOf(s.in, id)
	if outgoing {
		m = markOf(s.out, id)
	}
	if !s.queue.marked(m) {
		return true
	}
	return s.queue.note((m ^ takenBack).append(nil), safe)
}
