package bridge

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"time"
)

// A record is, in big-endian order: four bytes of length of what follows the next four, four bytes CRC-32C of the same, and then
// one byte kind, eight bytes sequence; of a message also eight bytes of Unix milliseconds, of a taken one two bytes Packet Identifier,
// and the PUBLISH as MQTT 5.0 writes it; of marks three bytes each, see marks.
type record struct {
	kind     byte
	sequence uint64
	at       time.Time
	from     uint16 // of a taken message
	frame    []byte // of messages
	marks    []byte
}

// The kinds of records.
const (
	recordMessage  byte = 1
	recordGone     byte = 2 // the message with this sequence was handed on, or dropped
	recordTaken    byte = 3 // a message of QoS 2, and that the local broker sent it with a Packet Identifier
	recordReleased byte = 4 // the message with this sequence is gone, and the hub is told so with PUBREL
	recordMarks    byte = 5 // changes of marks
	recordAllMarks byte = 6 // all marks, and the sequence given out last: what came before does not count for them
)

const (
	recordHead  = 8
	messageHead = 1 + 8 + 8
	maxRecord   = 2 << 20
)

func (r record) isMessage() bool { return r.kind == recordMessage || r.kind == recordTaken }

func (r record) bytes() []byte {
	b := make([]byte, recordHead, recordHead+messageHead+2+len(r.frame)+len(r.marks))
	b = append(b, r.kind)
	b = binary.BigEndian.AppendUint64(b, r.sequence)
	if r.isMessage() {
		b = binary.BigEndian.AppendUint64(b, uint64(r.at.UnixMilli()))
	}
	if r.kind == recordTaken {
		b = binary.BigEndian.AppendUint16(b, r.from)
	}
	b = append(append(b, r.frame...), r.marks...)
	body := b[recordHead:]
	binary.BigEndian.PutUint32(b, uint32(len(body)))
	binary.BigEndian.PutUint32(b[4:], checksum(body))
	return b
}

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

func parseRecord(body []byte) (r record, ok bool) {
	if len(body) < 9 {
		return r, false
	}
	r = record{kind: body[0], sequence: binary.BigEndian.Uint64(body[1:])}
	rest := body[9:]
	switch r.kind {
	case recordGone, recordReleased:
		return r, len(rest) == 0
	case recordMarks, recordAllMarks:
		r.marks = rest
		return r, len(rest)%markBytes == 0
	case recordMessage, recordTaken:
		if len(body) < messageHead+2 {
			return r, false
		}
		r.at, rest = time.UnixMilli(int64(binary.BigEndian.Uint64(rest))), rest[8:]
		if r.kind == recordTaken {
			r.from, rest = binary.BigEndian.Uint16(rest), rest[2:]
		}
		r.frame = rest
		return r, true
	}
	return r, false
}

// segment is one file of a queue.
type segment struct {
	file    *os.File
	size    int64
	live    int  // messages in it that are waited for
	dirty   bool // written to since the last sync
	syncing bool // and therefore not to be closed
	broken  bool // not to be written to
	safe    bool // synced since all marks were written to it
}

func openSegment(name string) (*segment, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the queue: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("open the queue: %w", err)
	}
	if info.Size() == 0 {
		syncDir(filepath.Dir(name))
	}
	return &segment{file: f, size: info.Size()}, nil
}

// syncDir makes a new file's name safe; a system that cannot, as Windows, does so by itself.
func syncDir(dir string) {
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync()
		_ = d.Close()
	}
}

// read gives each whole record, and cuts off what follows the last one: a write that a crash tore. A damaged one that a whole one
// follows is passed over.
func (s *segment) read(each func(r record, offset int64, length int)) error {
	var offset int64
	for {
		r, length, ok := s.record(offset)
		if !ok {
			if _, _, follows := s.record(offset + length); length == 0 || !follows {
				break
			}
		} else {
			each(r, offset, int(length))
		}
		offset += length
	}
	if offset == s.size {
		return nil
	}
	if err := s.file.Truncate(offset); err != nil {
		return fmt.Errorf("mend the queue: %w", err)
	}
	s.size = offset
	return nil
}

// record reads one. length is what it takes with its head, also of one that is damaged; 0 where that is not known.
func (s *segment) record(offset int64) (r record, length int64, ok bool) {
	body, err := s.body(offset)
	if body == nil {
		return r, 0, false
	}
	if err == nil {
		r, ok = parseRecord(body)
	}
	return r, recordHead + int64(len(body)), ok
}

// body reads what a record holds and checks it. One that is damaged comes with the error.
func (s *segment) body(offset int64) ([]byte, error) {
	var head [recordHead]byte
	if _, err := s.file.ReadAt(head[:], offset); err != nil {
		return nil, err
	}
	length := binary.BigEndian.Uint32(head[:])
	if length > maxRecord || offset+recordHead+int64(length) > s.size {
		return nil, io.ErrUnexpectedEOF
	}
	body := make([]byte, length)
	if _, err := s.file.ReadAt(body, offset+recordHead); err != nil {
		return nil, err
	}
	if checksum(body) != binary.BigEndian.Uint32(head[4:]) {
		return body, fmt.Errorf("the queue is damaged: %s", s.file.Name())
	}
	return body, nil
}

func (s *segment) frame(offset int64, _ int) ([]byte, error) {
	body, err := s.body(offset)
	if err != nil {
		return nil, err
	}
	r, ok := parseRecord(body)
	if !ok || !r.isMessage() {
		return nil, fmt.Errorf("the queue is damaged: %s", s.file.Name())
	}
	return r.frame, nil
}

// append writes a record at the end; one that did not fit is taken back.
func (s *segment) append(r record) (offset int64, length int, err error) {
	b := r.bytes()
	if _, err := s.file.WriteAt(b, s.size); err != nil {
		if s.file.Truncate(s.size) != nil {
			s.broken = true
		}
		return 0, 0, err
	}
	offset = s.size
	s.size += int64(len(b))
	s.dirty = true
	return offset, len(b), nil
}

func (s *segment) sync() error { return s.file.Sync() }

func (s *segment) discard() {
	_ = s.file.Close()
	_ = os.Remove(s.file.Name())
}
