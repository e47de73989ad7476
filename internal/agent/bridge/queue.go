package bridge

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
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
	items    []*item    // by sequence; some at the front and in between may be gone
	live     int
	bytes    int64
	sequence uint64
	dropped  int64
	waiting  []func(error) // of pushes that are not on disk yet
	dirty    chan struct{} // something is to be synced
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
	taken    bool // handed to the connection
	gone     bool
}

const (
	segmentBytes = 1 << 20
	maxSegments  = 4096
)

// openQueue reads what is in dir, which it makes. A record that is torn or damaged ends what is read of its file.
func openQueue(dir string, limits Limits) (*queue, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the queue: %w", err)
	}
	q := &queue{dir: dir, limits: limits, dirty: make(chan struct{}, 1), more: make(chan struct{}, 1)}
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
	for _, i := range known {
		if !i.gone {
			q.items = append(q.items, i)
			q.live++
			q.bytes += int64(i.length)
			i.segment.live++
		}
	}
	slices.SortFunc(q.items, func(a, b *item) int { return int(a.sequence) - int(b.sequence) })
	q.mu.Lock()
	q.trim(time.Now())
	q.clean()
	q.mu.Unlock()
	q.wg.Go(q.syncLoop)
	q.signal(q.more)
	return q, nil
}

func (q *queue) load(name string, known map[uint64]*item) error {
	s, err := openSegment(name)
	if err != nil {
		return err
	}
	q.segments = append(q.segments, s)
	return s.read(func(r record, offset int64, length int) {
		q.sequence = max(q.sequence, r.sequence)
		if r.kind == recordGone {
			if i := known[r.sequence]; i != nil {
				i.gone = true
			}
			return
		}
		known[r.sequence] = &item{sequence: r.sequence, segment: s, offset: offset, length: length, at: r.at}
	})
}

// push appends a message and calls done when it is safe on disk, or with the error that kept it from there.
func (q *queue) push(p *mqtt.Publish, at time.Time, done func(error)) {
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
	err = q.append(frame, at)
	if err != nil {
		q.err = err
		q.mu.Unlock()
		done(err)
		return
	}
	q.waiting = append(q.waiting, done)
	q.trim(time.Now())
	q.mu.Unlock()
	q.signal(q.dirty)
	q.signal(q.more)
}

// append writes a record. mu is held.
func (q *queue) append(frame []byte, at time.Time) error {
	if q.closed {
		return os.ErrClosed
	}
	s, err := q.current()
	if err != nil {
		return err
	}
	r := record{kind: recordMessage, sequence: q.sequence + 1, at: at, frame: frame}
	offset, length, err := s.append(r)
	if err != nil {
		return fmt.Errorf("write the queue: %w", err)
	}
	q.sequence++
	q.items = append(q.items, &item{sequence: q.sequence, segment: s, offset: offset, length: length, at: at})
	q.live++
	q.bytes += int64(length)
	s.live++
	return nil
}

// current is the segment to write to. mu is held.
func (q *queue) current() (*segment, error) {
	if n := len(q.segments); n > 0 && q.segments[n-1].size < segmentBytes && !q.segments[n-1].broken {
		return q.segments[n-1], nil
	}
	if len(q.segments) >= maxSegments {
		return nil, errors.New("the queue has too many files")
	}
	s, err := openSegment(filepath.Join(q.dir, fmt.Sprintf("%016x%s", q.sequence+1, segmentSuffix)))
	if err != nil {
		return nil, err
	}
	q.segments = append(q.segments, s)
	return s, nil
}

// next gives the first message that nobody has taken, and when it was pushed; ok is false where there is none.
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
		return i, packet.(*mqtt.Publish), true
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
	i.gone = true
	q.live--
	q.bytes -= int64(i.length)
	i.segment.live--
	if s, err := q.current(); err == nil && !q.closed {
		_, _, _ = s.append(record{kind: recordGone, sequence: i.sequence})
	}
	for len(q.items) > 0 && q.items[0].gone {
		q.items = q.items[1:]
	}
}

// clean deletes the oldest files while nothing in them is waited for: a later one may note what is gone of an earlier one.
func (q *queue) clean() {
	for len(q.segments) > 1 && q.segments[0].live == 0 && !q.segments[0].syncing {
		q.segments[0].discard()
		q.segments = q.segments[1:]
	}
	if len(q.segments) == 1 && q.live == 0 && q.segments[0].size >= segmentBytes && !q.segments[0].syncing {
		q.segments[0].discard()
		q.segments = nil
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

// syncLoop brings what was pushed to the disk, as much at once as has come meanwhile.
func (q *queue) syncLoop() {
	for range q.dirty {
		q.mu.Lock()
		waiting := q.waiting
		q.waiting = nil
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
		for _, s := range files {
			s.syncing = false
			s.broken = s.broken || err != nil // what the system has of it is not known any more
		}
		q.err = err
		q.mu.Unlock()
		for _, done := range waiting {
			done(err)
		}
	}
}

// flush waits until what was pushed so far is on disk, and said to be.
func (q *queue) flush() {
	done := make(chan struct{})
	q.mu.Lock()
	closed := q.closed
	if !closed {
		q.waiting = append(q.waiting, func(error) { close(done) })
	}
	q.mu.Unlock()
	if !closed {
		q.signal(q.dirty)
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
