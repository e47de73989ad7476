package bridge

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aditdev/adit/internal/mqtt"
)

// Limits say how much a queue holds, and for how long; beyond them the oldest message goes.
type Limits struct {
	Messages int
	Bytes    int64
	Age      time.Duration
}

// queue keeps messages on disk until they were handed on: files that only grow, each record with its checksum, deleted when
// nothing in them is waited for. What was pushed survives `kill -9` and a power cut from the moment its callback runs.
type queue struct {
	dir    string
	limits Limits

	mu       sync.Mutex
	segments []*segment // by number; the last is written to
	number   uint64     // of the last
	items    []*item    // by sequence; some at the front and in between may be gone
	live     int
	bytes    int64
	sequence uint64
	dropped  int64
	synced   uint64        // the sequence up to which all is on disk
	marks    marks         // what is in flight
	waiting  []func(error) // of what is not on disk yet
	hurry    bool          // somebody waits for the disk alone
	dirty    chan struct{} // something is to be synced
	full     chan struct{} // and no more should come before
	more     chan struct{} // something can be taken
	err      error         // of the disk, until a push succeeds
	closed   bool
	wg       sync.WaitGroup
}

// item is a message in the queue.
type item struct {
	sequence uint64
	segment  *segment
	offset   int64
	length   int
	at       time.Time
	qos      byte
	again    bool // may have been sent by an agent that was killed
	taken    bool // handed to the connection
	gone     bool
}

const (
	segmentBytes = 1 << 20
	maxSegments  = 4096
	groupFor     = 20 * time.Millisecond // so long a sync waits for more to bring to the disk
	groupEnough  = 16                    // unless so many wait for it: brokers send no more than 20 before an acknowledgement
	groupLeast   = 3                     // or so many, and no more came for groupQuiet
	groupQuiet   = time.Millisecond
	inflight     = 20 // messages that wait for the hub's acknowledgement at once
)

// openQueue reads what is in dir, which it makes. A record that is torn, or damaged in its length, ends what is read of its file.
func openQueue(dir string, limits Limits) (*queue, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the queue: %w", err)
	}
	q := &queue{dir: dir, limits: limits, dirty: make(chan struct{}, 1), full: make(chan struct{}, 1), more: make(chan struct{}, 1)}
	names, err := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix))
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	known := map[uint64]*item{}
	for _, name := range names {
		if err := q.load(name, known); err != nil {
			q.closeFiles()
			return nil, err
		}
	}
	all := q.items
	q.items = nil
	for _, i := range all {
		if !i.gone {
			q.items = append(q.items, i)
			q.live++
			q.bytes += int64(i.length)
			i.segment.live++
		}
	}
	for n, i := range q.items {
		i.again = n < inflight
	}
	q.mu.Lock()
	q.synced = q.sequence
	if n := len(q.segments); n > 0 {
		_ = q.begin(q.segments[n-1]) // and what a killed agent did not bring to the disk
	}
	q.trim(time.Now())
	q.mu.Unlock()
	q.wg.Go(q.syncLoop)
	q.signal(q.dirty)
	q.signal(q.more)
	return q, nil
}

func (q *queue) load(name string, known map[uint64]*item) error {
	s, err := openSegment(name)
	if err != nil {
		return err
	}
	q.segments = append(q.segments, s)
	number, _ := strconv.ParseUint(strings.TrimSuffix(filepath.Base(name), segmentSuffix), 16, 64)
	q.number = max(q.number, number)
	return s.read(func(r record, offset int64, length int) {
		q.sequence = max(q.sequence, r.sequence)
		q.marks.replay(r)
		switch {
		case r.isMessage() && len(r.frame) > 0:
			i := &item{sequence: r.sequence, segment: s, offset: offset, length: length, at: r.at, qos: r.frame[0] >> 1 & 3}
			known[r.sequence] = i
			q.items = append(q.items, i) // sequences only grow
		case r.kind == recordGone || r.kind == recordReleased:
			if i := known[r.sequence]; i != nil {
				i.gone = true
			}
		}
	})
}

// push appends a message and calls done when it is safe on disk, or with the error that kept it from there. from is the Packet Identifier
// with which the local broker sent it, where that was with QoS 2: it is known from now on that it came.
func (q *queue) push(p *mqtt.Publish, at time.Time, from uint16, done func(error)) {
	kept := *p
	if kept.QoS > 0 {
		kept.ID = 1 // any: it gets its own on each way out
	}
	frame, err := mqtt.Encode(&kept, mqtt.V5)
	if err != nil {
		done(err)
		return
	}
	q.mu.Lock()
	err = q.append(frame, at, from)
	if err != nil {
		q.err = err
		q.mu.Unlock()
		done(err)
		return
	}
	q.await(done)
	q.trim(time.Now())
	q.mu.Unlock()
	q.signal(q.more)
}

// await has done called when what was written is on disk. mu is held.
func (q *queue) await(done func(error)) {
	q.waiting = append(q.waiting, done)
	q.signal(q.dirty)
	if len(q.waiting) >= groupEnough {
		q.signal(q.full)
	}
}

// append writes a message. mu is held.
func (q *queue) append(frame []byte, at time.Time, from uint16) error {
	r := record{kind: recordMessage, sequence: q.sequence + 1, at: at, frame: frame}
	if from != 0 {
		r.kind, r.from = recordTaken, from
	}
	s, offset, length, err := q.write(r)
	if err != nil {
		return err
	}
	q.sequence++
	q.marks.replay(r)
	q.items = append(q.items, &item{sequence: q.sequence, segment: s, offset: offset, length: length, at: at, qos: frame[0] >> 1 & 3})
	q.live++
	q.bytes += int64(length)
	s.live++
	return nil
}

// write appends a record to the last file. mu is held.
func (q *queue) write(r record) (s *segment, offset int64, length int, err error) {
	if q.closed {
		return nil, 0, 0, os.ErrClosed
	}
	if s, err = q.current(); err != nil {
		return nil, 0, 0, err
	}
	if offset, length, err = s.append(r); err != nil {
		return nil, 0, 0, fmt.Errorf("write the queue: %w", err)
	}
	return s, offset, length, nil
}

// current is the segment to write to. mu is held.
func (q *queue) current() (*segment, error) {
	if n := len(q.segments); n > 0 && q.segments[n-1].size < segmentBytes && !q.segments[n-1].broken {
		return q.segments[n-1], nil
	}
	if len(q.segments) >= maxSegments {
		return nil, errors.New("the queue has too many files")
	}
	number := max(q.sequence, q.number) + 1
	s, err := openSegment(filepath.Join(q.dir, fmt.Sprintf("%016x%s", number, segmentSuffix)))
	if err != nil {
		return nil, err
	}
	if err := q.begin(s); err != nil {
		s.discard()
		return nil, fmt.Errorf("write the queue: %w", err)
	}
	q.number = number
	q.segments = append(q.segments, s)
	q.signal(q.dirty)
	return s, nil
}

// begin writes all marks: older files are not needed for them then. mu is held.
func (q *queue) begin(s *segment) error {
	_, _, err := s.append(record{kind: recordAllMarks, sequence: q.sequence, marks: q.marks.all()})
	s.broken = s.broken || err != nil
	return err
}

// next gives the first message that nobody has taken; ok is false where there is none. One of QoS 2 must be on disk: its Packet
// Identifier comes from its sequence, and must not mean another message after a power cut.
func (q *queue) next() (i *item, p *mqtt.Publish, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.trim(time.Now())
	for _, i := range q.items {
		if i.taken || i.gone {
			continue
		}
		if time.Since(i.at) > q.limits.Age { // behind a younger one: the clock was set
			q.dropped++
			q.remove(i)
			continue
		}
		if i.qos == 2 && i.sequence > q.synced {
			break
		}
		frame, err := i.segment.frame(i.offset, i.length)
		var packet mqtt.Packet
		if err == nil {
			packet, err = mqtt.Decode(frame, mqtt.V5)
		}
		if err != nil { // damaged since it was written
			q.err = err
			q.dropped++
			q.remove(i)
			continue
		}
		i.taken = true
		p = packet.(*mqtt.Publish)
		if p.QoS > 0 {
			p.ID = i.id()
		}
		return i, p, true
	}
	return nil, nil, false
}

// done takes a message out for good; back puts it where it was.
func (q *queue) done(i *item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.remove(i)
	q.clean()
}

func (q *queue) back(i *item) {
	q.mu.Lock()
	i.taken = false
	q.mu.Unlock()
	q.signal(q.more)
}

// remove notes that a message is gone. The note is not synced: where a power cut takes it, the message is sent once more.
func (q *queue) remove(i *item) {
	if i.gone {
		return
	}
	q.drop(i)
	_, _, _, _ = q.write(record{kind: recordGone, sequence: i.sequence})
	q.forget()
}

func (q *queue) drop(i *item) {
	i.gone = true
	q.live--
	q.bytes -= int64(i.length)
	i.segment.live--
}

// forget takes out of memory what is gone. mu is held.
func (q *queue) forget() {
	for len(q.items) > 0 && q.items[0].gone {
		q.items = q.items[1:]
	}
}

// clean deletes the oldest files while nothing in them is waited for: a later one may note what is gone of an earlier one, and the
// last has all marks. mu is held.
func (q *queue) clean() {
	if len(q.segments) == 1 && q.live == 0 && q.segments[0].size >= segmentBytes && !q.closed {
		_, _ = q.current()
	}
	for len(q.segments) > 1 && q.segments[0].live == 0 && !q.segments[0].syncing && q.segments[len(q.segments)-1].safe {
		q.segments[0].discard()
		q.segments = q.segments[1:]
	}
}

// trim drops the oldest beyond the limits, but none that is on its way. mu is held.
func (q *queue) trim(now time.Time) {
	for _, i := range q.items {
		over := q.live > q.limits.Messages || q.bytes > q.limits.Bytes || now.Sub(i.at) > q.limits.Age
		if !over {
			break
		}
		if !i.taken && !i.gone {
			q.dropped++
			q.remove(i)
		}
	}
	q.clean()
}

func (q *queue) signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// syncLoop brings what was written to the disk, in groups.
func (q *queue) syncLoop() {
	for range q.dirty {
		q.gather()
		q.mu.Lock()
		waiting, upTo := q.waiting, q.sequence
		q.waiting, q.hurry = nil, false
		var files []*segment
		for _, s := range q.segments {
			if s.dirty {
				s.dirty = false
				files = append(files, s)
				s.syncing = true
			}
		}
		q.mu.Unlock()
		var err error
		for _, s := range files {
			err = errors.Join(err, s.sync())
		}
		q.mu.Lock()
		q.wasSynced(files, upTo, err)
		q.mu.Unlock()
		for _, done := range waiting {
			done(err)
		}
		q.signal(q.more)
	}
}

// gather waits a moment for more: a disk of flash wears by each sync, and does few in a second. It waits no longer where a group is there
// and nothing follows: the brokers may be waiting for acknowledgements.
func (q *queue) gather() {
	began, before := time.Now(), 0
	for {
		q.mu.Lock()
		n := len(q.waiting)
		enough := q.hurry || q.closed || n >= groupEnough
		q.mu.Unlock()
		if enough || n == before && n >= groupLeast || time.Since(began) >= groupFor {
			return
		}
		before = n
		select {
		case <-q.full:
		case <-time.After(groupQuiet):
		}
	}
}

// wasSynced notes what a sync came to. What it failed to bring to the disk is not in the queue, unless it is on its way already: whoever
// pushed it is told so. mu is held.
func (q *queue) wasSynced(files []*segment, upTo uint64, err error) {
	for _, s := range files {
		s.syncing = false
		s.safe = s.safe || err == nil
		s.broken = s.broken || err != nil // what the system has of it is not known any more
	}
	for _, i := range q.items {
		if err != nil && i.sequence > q.synced && i.sequence <= upTo && !i.taken {
			q.drop(i)
		}
	}
	q.synced, q.err = upTo, err
	q.forget()
	q.clean()
}

// flush waits until what was pushed so far is on disk, and said to be.
func (q *queue) flush() {
	done := make(chan struct{})
	q.mu.Lock()
	closed := q.closed
	if !closed {
		q.hurry = true
		q.await(func(error) { close(done) })
		q.signal(q.full)
	}
	q.mu.Unlock()
	if !closed {
		<-done
	}
}

// state is for people.
func (q *queue) state() (messages int, bytes, dropped int64, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.live, q.bytes, q.dropped, q.err
}

// empty reports that nothing waits that nobody has taken.
func (q *queue) empty() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.live == 0
}

// close waits until what was pushed is on disk.
func (q *queue) close() {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return
	}
	q.closed = true
	q.mu.Unlock()
	q.signal(q.full)
	close(q.dirty)
	q.wg.Wait()
	q.closeFiles()
}

func (q *queue) closeFiles() {
	for _, s := range q.segments {
		_ = s.file.Close()
	}
}

const segmentSuffix = ".queue"
