package transform

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Hub and worker speak in frames over the worker's stdin and stdout:
//
//	frame    = length (4 bytes, big-endian, of what follows) kind (1 byte) rest
//	request  = length of the transform's text (2 bytes, big-endian) text input (JSON); its kind is how the text is written
//	answer   = what came out, or the message of an error; its kind says which
//
// The worker's first frame is a greeting, so that the hub knows that it speaks to a worker of its own version.
const (
	frameGreeting byte = 'h'
	frameJQ       byte = 'j'
	frameTemplate byte = 't'
	frameOutput   byte = 'o'
	frameInvalid  byte = 'i'
	frameInternal byte = 'x'
)

// greeting changes with the frames.
const greeting = "adit transform worker 1"

// maxFrame holds the largest request.
const maxFrame = 1 + 2 + MaxText + MaxInput

var errFrame = errors.New("malformed frame")

func writeFrame(w io.Writer, kind byte, parts ...[]byte) error {
	size := 1
	for _, p := range parts {
		size += len(p)
	}
	if size > maxFrame {
		return fmt.Errorf("%w: %d bytes", errFrame, size)
	}
	frame := make([]byte, 0, 4+size)
	frame = binary.BigEndian.AppendUint32(frame, uint32(size))
	frame = append(frame, kind)
	for _, p := range parts {
		frame = append(frame, p...)
	}
	_, err := w.Write(frame)
	return err
}

// readFrame gives io.EOF only between frames.
func readFrame(r io.Reader) (kind byte, rest []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:4]); err != nil {
		return 0, nil, err
	}
	size := binary.BigEndian.Uint32(head[:4])
	if size < 1 || size > maxFrame {
		return 0, nil, fmt.Errorf("%w: %d bytes", errFrame, size)
	}
	if _, err := io.ReadFull(r, head[4:]); err != nil {
		return 0, nil, cut(err)
	}
	rest = make([]byte, size-1)
	if _, err := io.ReadFull(r, rest); err != nil {
		return 0, nil, cut(err)
	}
	return head[4], rest, nil
}

func cut(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// request gives the parts of a request's frame.
func request(t Transform, input []byte) (kind byte, parts [][]byte) {
	kind = frameJQ
	if t.Kind == Template {
		kind = frameTemplate
	}
	return kind, [][]byte{binary.BigEndian.AppendUint16(nil, uint16(len(t.Text))), []byte(t.Text), input}
}

func parseRequest(kind byte, rest []byte) (t Transform, input []byte, err error) {
	switch kind {
	case frameJQ:
		t.Kind = JQ
	case frameTemplate:
		t.Kind = Template
	default:
		return t, nil, fmt.Errorf("%w: kind %q", errFrame, kind)
	}
	if len(rest) < 2 {
		return t, nil, errFrame
	}
	size := int(binary.BigEndian.Uint16(rest))
	if rest = rest[2:]; size > len(rest) {
		return t, nil, errFrame
	}
	t.Text = string(rest[:size])
	return t, rest[size:], nil
}
