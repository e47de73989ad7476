package wire

import "encoding/binary"

// The protocol between the hub and a browser attached to a shell: GET /api/v1/shells/{id}/attach?from=N, WebSocket
// subprotocol adit.shell.v1. Every message is binary: one type byte, then its payload. A message of an unknown type is
// ignored. Integers are big-endian. Output bytes are numbered from 0 over the shell's whole life, so a browser that
// lost its socket attaches again with `from` set to the number after the last byte it has, and continues there.
//
//	hub → browser
//	0x00 output   8 bytes: number of the first byte; then 1 to 32,768 bytes of terminal output
//	0x01 status   JSON, a ShellStatus; the first message after attaching, then whenever something in it changes
//	0x02 taken    8 bytes: how many input bytes of this attachment, in all, the device has taken
//
//	browser → hub
//	0x00 input    bytes typed or pasted, at most 32,768
//	0x01 control  JSON, a ShellControl
//	0x02 ack      8 bytes: number of the next byte wanted, so everything before it has been shown
//
// Without `from`, and where `from` is older than the ring still holds, output starts at ShellStatus.Oldest: a browser
// that sees a number beyond the one it expects has missed the bytes between, says so and clears its screen. A `from`
// beyond ShellStatus.Next is answered from Next.
//
// The browser acknowledges at least every ShellAckEvery bytes. The hub stops reading from the device while a browser
// that is attached has ShellWindow bytes unacknowledged. The browser keeps at most ShellInputWindow bytes of input sent
// and not taken; the hub does not read on from one that sends more, and then does not see its acks. It pings (WebSocket ping) every ShellPingSeconds and closes
// an attachment silent for 40 s.
//
// After the status with state "ended" and the last output the hub closes with 1000. Other closes carry the close code
// of the error table: 4404 no such shell (any more), 4403 the grant is gone, 4401 the login session ended, 1008 the
// browser broke the protocol. 1012 is the hub restarting: attach again. Any other end of the socket: attach again.
const (
	ShellOutput byte = 0x00
	ShellState  byte = 0x01
	ShellTaken  byte = 0x02

	ShellInput  byte = 0x00
	ShellSteer  byte = 0x01
	ShellAck    byte = 0x02
	shellHeader      = 9
)

// Limits of the shell protocol, in bytes unless the name says otherwise.
const (
	ShellChunk       = 32 << 10  // most terminal bytes in one message, both ways
	ShellMessageMax  = 64 << 10  // longest message that the hub reads
	ShellAckEvery    = 64 << 10  // a browser acknowledges at least this often
	ShellWindow      = 512 << 10 // most bytes sent and not acknowledged
	ShellInputWindow = 256 << 10 // most input sent and not taken
	ShellRing        = 1 << 20   // how much output can be sent again
	ShellPingSeconds = 15
)

// States of a shell, as in ShellStatus.State and in the API.
const (
	ShellOpening = "opening" // the hub is reaching the device for the first time
	ShellOpen    = "open"
	ShellWaiting = "waiting" // the device cannot be reached now; the shell goes on when it can
	ShellEnded   = "ended"
)

// ShellStatus is what a browser shows beside the terminal. Fields that do not apply are absent.
type ShellStatus struct {
	State       string   `json:"state"`
	Message     string   `json:"message,omitempty"`     // why it waits or ended, for a person
	Code        Code     `json:"code,omitempty"`        // why it ended, where that was a failure
	ExitStatus  *int     `json:"exit_status,omitempty"` // of the login shell, once ended; 128 + n after signal n
	Attached    []string `json:"attached"`              // e-mail of everyone who looks on, this browser included
	Oldest      int64    `json:"oldest"`                // number of the oldest output byte still held
	Next        int64    `json:"next"`                  // number that the next output byte will have
	Cols        int      `json:"cols"`
	Rows        int      `json:"rows"`
	OutlivesHub bool     `json:"outlives_hub"`
}

// ShellControl is a browser's request. Absent parts change nothing.
type ShellControl struct {
	Resize *ShellSize `json:"resize,omitempty"`
}

// ShellSize is a terminal's size in character cells, each 1 to 1000.
type ShellSize struct {
	Cols int `json:"cols"`
	Rows int `json:"rows"`
}

// Valid reports whether both sides are 1 to 1000.
func (s ShellSize) Valid() bool {
	return s.Cols >= 1 && s.Cols <= 1000 && s.Rows >= 1 && s.Rows <= 1000
}

// AppendShellOutput appends the output message whose first byte has the number first.
func AppendShellOutput(b []byte, first int64, data []byte) []byte {
	b = binary.BigEndian.AppendUint64(append(b, ShellOutput), uint64(first))
	return append(b, data...)
}

// ParseShellOutput splits an output message. It fails with an Error of code Invalid.
func ParseShellOutput(message []byte) (first int64, data []byte, err error) {
	if len(message) <= shellHeader || message[0] != ShellOutput {
		return 0, nil, Errorf(Invalid, "This is no output message of %s.", SubprotocolShell)
	}
	return int64(binary.BigEndian.Uint64(message[1:])), message[shellHeader:], nil
}

// AppendShellAck appends the ack message for every byte before next.
func AppendShellAck(b []byte, next int64) []byte {
	return binary.BigEndian.AppendUint64(append(b, ShellAck), uint64(next))
}

// AppendShellTaken appends the message that says how much input was taken.
func AppendShellTaken(b []byte, taken int64) []byte {
	return binary.BigEndian.AppendUint64(append(b, ShellTaken), uint64(taken))
}

// ParseShellAck reads an ack message. It fails with an Error of code Invalid.
func ParseShellAck(message []byte) (next int64, err error) {
	if len(message) != shellHeader || message[0] != ShellAck {
		return 0, Errorf(Invalid, "This is no ack message of %s.", SubprotocolShell)
	}
	next = int64(binary.BigEndian.Uint64(message[1:]))
	if next < 0 {
		return 0, Errorf(Invalid, "An acknowledged number must be below 2^63.")
	}
	return next, nil
}
