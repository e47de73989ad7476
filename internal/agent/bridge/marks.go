package bridge

import (
	"cmp"
	"encoding/binary"
	"maps"
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
type mark struct {
	at way
	id uint16
}

// way is what a mark is of.
type way byte

const (
	localIn way = 1 + iota
	localOut
	hubIn
	hubOut
)

const (
	markBytes     = 3 // one byte way, or its complement for a mark that is taken back, two bytes Packet Identifier
	takenBack way = 0xff
)

// id is the Packet Identifier of a message on its way to the hub.
func (i *item) id() uint16 { return idOf(i.sequence) }

func idOf(sequence uint64) uint16 { return uint16(sequence%65535) + 1 }

func (m mark) append(b []byte) []byte {
	return binary.BigEndian.AppendUint16(append(b, byte(m.at)), m.id)
}

type marks map[mark]bool

// replay does to marks what a record says.
func (s marks) replay(r record) {
	switch r.kind {
	case recordTaken:
		s[mark{localIn, r.from}] = true
	case recordReleased:
		s[mark{hubOut, idOf(r.sequence)}] = true
	case recordAllMarks:
		clear(s)
	}
	for b := r.marks; len(b) >= markBytes; b = b[markBytes:] {
		m := mark{way(b[0]), binary.BigEndian.Uint16(b[1:])}
		if m.at > hubOut {
			m.at ^= takenBack
			delete(s, m)
		} else {
			s[m] = true
		}
	}
}

func (s marks) all() (b []byte) {
	for m := range s {
		b = m.append(b)
	}
	return b
}

// restore puts what is marked back into the sessions of both links.
func (q *queue) restore(local, hub *mqtt.Session) {
	byID := func(a, b mark) int { return cmp.Compare(a.id, b.id) }
	for _, m := range slices.SortedFunc(maps.Keys(q.marks), byID) {
		session, out := local, m.at == localOut || m.at == hubOut
		if m.at == hubIn || m.at == hubOut {
			session = hub
		}
		frame, err := mqtt.Encode(&mqtt.Ack{Kind: mqtt.PUBREL, ID: m.id}, mqtt.V311) // the same in each version
		if err == nil {
			session.Restore(out, m.id, frame, nil)
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
	return q.marks[m]
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
		m := mark{s.in, id}
		return s.queue.marked(m) || s.queue.note(m.append(nil), safe)
	case mqtt.Type(frame[0]>>4) != mqtt.PUBREL: // repeated from the queue, or by the hub
		return true
	case s.out == hubOut:
		return s.queue.release(id, safe)
	}
	return s.queue.note(mark{hubIn, id}.append(mark{localOut, id}.append(nil)), safe)
}

// Forget is called by the link's session, see mqtt.Store.
func (s store) Forget(outgoing bool, id uint16, safe func()) (already bool) {
	m := mark{s.in, id}
	if outgoing {
		m.at = s.out
	}
	if !s.queue.marked(m) {
		return true
	}
	m.at ^= takenBack
	return s.queue.note(m.append(nil), safe)
}
