package wire

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
)

// The protocol between whoever keeps a terminal for a person (the hub, for browsers) and the holder: a process on the
// device that owns the terminal and outlives every connection to it. It is spoken on the stdin and stdout of
// `adit agent hold ID`, run as the login without a terminal of its own, which passes it on to the holder's unix socket.
//
// The device's side begins with HoldGreeting; whatever a login's start-up files print before that line is to be
// skipped. After it both sides send frames: one type byte, the payload's length in 4 bytes, the payload, at most
// HoldFrameMax. Integers are big-endian. A frame of an unknown type is ignored. Output bytes are numbered from 0 over
// the terminal's whole life.
//
//	joiner → holder
//	0x01 join     JSON, a HoldJoin; the first frame, once
//	0x02 input    bytes for the terminal
//	0x03 resize   2 bytes columns, 2 bytes rows
//	0x04 ack      8 bytes: every output byte before this number need not be sent again
//	0x05 hangup   empty: end the terminal as if its modem had hung up
//
//	holder → joiner
//	0x81 joined   JSON, a HoldJoined; the first frame, unless it is refused
//	0x82 output   8 bytes: number of the first byte; then terminal output
//	0x83 exited   JSON, a HoldExited, after the last output; it counts as one byte more, and the holder forgets the
//	              terminal once that was acknowledged: by an ack of HoldExited.Next + 1
//	0x84 refused  JSON, a HoldRefused; the holder closes
//	0x85 taken    8 bytes: how many input bytes of this joiner, in all, programs have read
//
// A joiner keeps at most ShellInputWindow bytes of input sent and not taken, so that what it sends behind them, acks
// above all, is always read: a program that prints before it reads would otherwise wait for ever.
//
// The holder reads the terminal only as far as HoldWindow bytes beyond the lowest acknowledgement of its joiners, and
// for HoldGrace seconds after a joiner vanished that joiner still counts: a short cut loses nothing however much the
// terminal prints. Without joiners it reads on, and keeps the last ShellRing bytes.
const (
	HoldJoinFrame   byte = 0x01
	HoldInputFrame  byte = 0x02
	HoldResizeFrame byte = 0x03
	HoldAckFrame    byte = 0x04
	HoldHangupFrame byte = 0x05

	HoldJoinedFrame  byte = 0x81
	HoldOutputFrame  byte = 0x82
	HoldExitedFrame  byte = 0x83
	HoldRefusedFrame byte = 0x84
	HoldTakenFrame   byte = 0x85
)

const (
	HoldGreeting = "adit-hold-1\n"
	HoldFrameMax = 64 << 10
	HoldWindow   = ShellRing - 2*ShellChunk
	HoldGrace    = 30  // seconds
	HoldLife     = 600 // seconds that a terminal, or the exit status of one, is kept without a joiner
)

// HoldJoin asks for a terminal.
type HoldJoin struct {
	Create bool   `json:"create"` // start it where it does not exist; otherwise that is refused with not_found
	As     string `json:"as"`     // who joins; a second joiner of the same name takes the place of the first
	From   int64  `json:"from"`   // number of the first output byte wanted
	Term   string `json:"term"`   // TERM of a terminal that is started
	Cols   int    `json:"cols"`   // 0: leave the size as it is
	Rows   int    `json:"rows"`
}

// HoldJoined is the holder's welcome.
type HoldJoined struct {
	Oldest int64 `json:"oldest"` // output starts at the wanted byte, or here if that is older
	Next   int64 `json:"next"`
	Cols   int   `json:"cols"`
	Rows   int   `json:"rows"`
}

// HoldExited says how the login shell ended.
type HoldExited struct {
	Status int    `json:"status"` // 128 + n after signal n
	Next   int64  `json:"next"`   // number after the last output byte
	Reason string `json:"reason,omitempty"`
}

// HoldRefused says why there is no terminal.
type HoldRefused struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
}

// WriteHold writes one frame in one Write.
func WriteHold(w io.Writer, kind byte, payload []byte) error {
	frame := make([]byte, 0, 5+len(payload))
	frame = binary.BigEndian.AppendUint32(append(frame, kind), uint32(len(payload)))
	_, err := w.Write(append(frame, payload...))
	return err
}

// WriteHoldJSON writes a frame whose payload is v in JSON.
func WriteHoldJSON(w io.Writer, kind byte, v any) error {
	payload, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("hold frame: %w", err)
	}
	return WriteHold(w, kind, payload)
}

// WriteHoldOutput writes an output frame whose first byte has the number first.
func WriteHoldOutput(w io.Writer, first int64, data []byte) error {
	frame := make([]byte, 0, 13+len(data))
	frame = binary.BigEndian.AppendUint32(append(frame, HoldOutputFrame), uint32(8+len(data)))
	frame = binary.BigEndian.AppendUint64(frame, uint64(first))
	_, err := w.Write(append(frame, data...))
	return err
}

// ReadHold reads one frame. It fails with an Error of code Invalid for a frame longer than HoldFrameMax, and with
// io.EOF where the stream ended between two frames.
func ReadHold(r io.Reader) (kind byte, payload []byte, err error) {
	var header [5]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(header[1:])
	if n > HoldFrameMax {
		return 0, nil, Errorf(Invalid, "A hold frame of %d bytes is longer than %d.", n, HoldFrameMax)
	}
	payload = make([]byte, n)
	if _, err := io.ReadFull(r, payload); err != nil {
		return 0, nil, fmt.Errorf("hold frame: %w", noEOF(err))
	}
	return header[0], payload, nil
}

// ParseHoldNumber reads the number that an ack or output frame begins with.
// It fails with an Error of code Invalid.
func ParseHoldNumber(payload []byte) (n int64, rest []byte, err error) {
	if len(payload) < 8 {
		return 0, nil, Errorf(Invalid, "A hold frame ended within its number.")
	}
	n = int64(binary.BigEndian.Uint64(payload))
	if n < 0 {
		return 0, nil, Errorf(Invalid, "A number in a hold frame must be below 2^63.")
	}
	return n, payload[8:], nil
}

// AppendHoldNumber is the payload of an ack frame.
func AppendHoldNumber(b []byte, n int64) []byte { return binary.BigEndian.AppendUint64(b, uint64(n)) }

// AppendHoldSize is the payload of a resize frame.
func AppendHoldSize(b []byte, size ShellSize) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(size.Cols))
	return binary.BigEndian.AppendUint16(b, uint16(size.Rows))
}

// ParseHoldSize reads the payload of a resize frame. It fails with an Error of code Invalid.
func ParseHoldSize(payload []byte) (ShellSize, error) {
	if len(payload) != 4 {
		return ShellSize{}, Errorf(Invalid, "A resize frame has 4 bytes, not %d.", len(payload))
	}
	size := ShellSize{
		Cols: int(binary.BigEndian.Uint16(payload)),
		Rows: int(binary.BigEndian.Uint16(payload[2:])),
	}
	if !size.Valid() {
		return ShellSize{}, Errorf(Invalid, "A terminal of %d×%d cells is none.", size.Cols, size.Rows)
	}
	return size, nil
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
