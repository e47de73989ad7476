package wire

import (
	"encoding/json"
	"fmt"
	"time"
)

// What both ends of a carrier keep to. docs/protocol.md gives the reasons.
const (
	MaxFrame     = 32 << 10 // bytes in one WebSocket message, text or binary
	Window       = 2 << 20  // bytes that one direction of a stream may have unacknowledged
	AckEvery     = Window / 4
	MaxPipelined = 64 << 10 // bytes that an opener may send before `opened`
	MaxParked    = 16       // carriers that an agent parks for waiting opens, besides the one in reserve

	AuthTimeout      = 5 * time.Second  // from hello to auth
	HandshakeTimeout = 10 * time.Second // from the upgrade to ready
	OpenTimeout      = 5 * time.Second  // from open to opened or refused
	PingEvery        = 15 * time.Second // ± PingJitter
	PingJitter       = 1500 * time.Millisecond
	DeadAfter        = 40 * time.Second  // silence after which either side closes a carrier; 2.5 × a longer ping
	HalfClosedFor    = 5 * time.Minute   // without a byte, then reset
	ResumeFor        = 120 * time.Second // that an agent keeps a stream whose carrier died
	AnswersFor       = 10 * time.Minute  // that a callee remembers what it answered
)

// Purpose says what a WebSocket on PathTunnel is for.
type Purpose string

const (
	PurposeCarrier Purpose = "carrier" // parks, and carries streams
	PurposeMQTT    Purpose = "mqtt"    // after ready it is raw MQTT, spoken as the device
	PurposeProbe   Purpose = "probe"   // proves the path and closes; replaces nothing
)

// Instance tells one life of an agent from another: Counter goes up at every start and is kept on disk, Random is new
// at every start. The higher counter wins; equal counters with different random parts are two machines with one key.
type Instance struct {
	Counter uint64 `json:"counter"`
	Random  string `json:"random"`
}

// Message is one control frame. Its JSON object has the member `type` first.
type Message interface{ messageType() string }

// The handshake, in this order. Times are Unix milliseconds.
type (
	// Hello is the hub's first word. Nonce names the carrier from here on.
	Hello struct {
		Nonce   string `json:"nonce"`
		Hub     string `json:"hub"`
		Version string `json:"version"`
	}
	// Auth is the agent's answer, signed with the device's key (see AgentTranscript).
	Auth struct {
		Purpose      Purpose  `json:"purpose"`
		Device       string   `json:"device"`
		Host         string   `json:"host"` // host[:port] of the URL that was dialled
		Instance     Instance `json:"instance"`
		Nonce        string   `json:"nonce"`
		Carriers     []string `json:"carriers"` // nonces of the carriers that the agent believes alive
		Clock        int64    `json:"clock"`
		AgentVersion string   `json:"agent_version"`
		Cap          int      `json:"cap,omitempty"` // connections at which something on the way refused another
	}
	// Ready ends the handshake, signed with the hub's key (see HubTranscript).
	Ready struct {
		PingSeconds int   `json:"ping_seconds"`
		Now         int64 `json:"now"`
	}
)

// The life of a stream. Stream is the opener's number for it on this carrier.
type (
	// Open asks for a stream to Target on behalf of User. Want is how many further opens wait for a carrier. With
	// Resume it takes up an earlier stream, of which the opener has Received bytes.
	Open struct {
		Stream   uint64 `json:"stream"`
		Target   Target `json:"target"`
		User     string `json:"user,omitempty"`
		Want     int    `json:"want,omitempty"`
		Resume   string `json:"resume,omitempty"`
		Received int64  `json:"received,omitempty"`
	}
	// Opened accepts. Resume, where not empty, is the token for taking the stream up again; Received is how many
	// bytes of the opener's direction have arrived.
	Opened struct {
		Stream   uint64 `json:"stream"`
		Resume   string `json:"resume,omitempty"`
		Received int64  `json:"received,omitempty"`
	}
	// Refused declines; the carrier ends.
	Refused struct {
		Stream  uint64 `json:"stream"`
		Code    Code   `json:"code"`
		Message string `json:"message"`
	}
	// EOF ends the sender's direction, after its last byte.
	EOF struct {
		Stream uint64 `json:"stream"`
	}
	// Ack says how many bytes in all the receiver has passed on.
	Ack struct {
		Stream uint64 `json:"stream"`
		Bytes  int64  `json:"bytes"`
	}
	// Parked frees the carrier: the agent is done with the stream.
	Parked struct {
		Stream uint64 `json:"stream"`
	}
	// Reset ends the stream and the carrier at once.
	Reset struct {
		Stream  uint64 `json:"stream"`
		Message string `json:"message"`
	}
)

// Calls, legal on every carrier at any time after ready.
type (
	// Call asks the other side for something. The hub signs its calls (see CallTranscript).
	Call struct {
		ID        string          `json:"id"`
		Method    string          `json:"method"`
		Params    json.RawMessage `json:"params,omitempty"`
		Signature string          `json:"signature,omitempty"`
	}
	// Result answers the call of the same ID: with Code empty Result is the answer, else Code and Message say why not.
	Result struct {
		ID      string          `json:"id"`
		Result  json.RawMessage `json:"result,omitempty"`
		Code    Code            `json:"code,omitempty"`
		Message string          `json:"message,omitempty"`
	}
)

// Unknown stands for a message of a type that this side does not know. After the handshake it is to be ignored.
type Unknown struct{ Type string }

func (Hello) messageType() string     { return "hello" }
func (Auth) messageType() string      { return "auth" }
func (Ready) messageType() string     { return "ready" }
func (Open) messageType() string      { return "open" }
func (Opened) messageType() string    { return "opened" }
func (Refused) messageType() string   { return "refused" }
func (EOF) messageType() string       { return "eof" }
func (Ack) messageType() string       { return "ack" }
func (Parked) messageType() string    { return "parked" }
func (Reset) messageType() string     { return "reset" }
func (Call) messageType() string      { return "call" }
func (Result) messageType() string    { return "result" }
func (u Unknown) messageType() string { return u.Type }

// Encode writes m as a control frame. It fails with TooLarge where the frame would exceed MaxFrame: results of that
// size are streams.
func Encode(m Message) ([]byte, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", m.messageType(), err)
	}
	frame := append([]byte(`{"type":"`+m.messageType()+`",`), body[1:]...)
	if len(frame) > MaxFrame {
		return nil, Errorf(TooLarge, "A %s message of %d bytes does not fit in a frame of %d.", m.messageType(), len(frame), MaxFrame)
	}
	return frame, nil
}

// Decode reads a control frame and checks what can be checked without knowing the carrier's state. Members that it
// does not know are ignored, a type that it does not know gives Unknown. It fails with an Error of code Invalid.
func Decode(frame []byte) (Message, error) {
	if len(frame) > MaxFrame {
		return nil, Errorf(TooLarge, "A control frame of %d bytes exceeds %d.", len(frame), MaxFrame)
	}
	var head struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(frame, &head); err != nil {
		return nil, Wrap(err, Invalid, "A control frame must be one JSON object with a type.")
	}
	switch head.Type {
	case "hello":
		return decode(frame, Hello.valid)
	case "auth":
		return decode(frame, Auth.valid)
	case "ready":
		return decode(frame, Ready.valid)
	case "open":
		return decode(frame, Open.valid)
	case "opened":
		return decode(frame, Opened.valid)
	case "refused":
		return decode(frame, Refused.valid)
	case "eof":
		return decode(frame, func(EOF) bool { return true })
	case "ack":
		return decode(frame, func(a Ack) bool { return a.Bytes >= 0 })
	case "parked":
		return decode(frame, func(Parked) bool { return true })
	case "reset":
		return decode(frame, func(Reset) bool { return true })
	case "call":
		return decode(frame, Call.valid)
	case "result":
		return decode(frame, func(r Result) bool { return validID(r.ID) })
	}
	return Unknown{Type: Printable(head.Type, 32)}, nil
}

func decode[M Message](frame []byte, valid func(M) bool) (Message, error) {
	var m M
	if err := json.Unmarshal(frame, &m); err != nil {
		return nil, Wrap(err, Invalid, "The %s message cannot be read.", m.messageType())
	}
	if !valid(m) {
		return nil, Errorf(Invalid, "The %s message has a member out of its bounds.", m.messageType())
	}
	return m, nil
}

func (h Hello) valid() bool { return validID(h.Nonce) && len(h.Hub) <= 256 && len(h.Version) <= 64 }

func (a Auth) valid() bool {
	for _, c := range a.Carriers {
		if !validID(c) {
			return false
		}
	}
	return len(a.Carriers) <= 256 && len(a.Purpose) <= 16 && validID(a.Device) && len(a.Host) <= 262 &&
		validID(a.Instance.Random) && validID(a.Nonce) && len(a.AgentVersion) <= 64 && a.Cap >= 0
}

func (r Ready) valid() bool { return r.PingSeconds > 0 && r.PingSeconds <= 3600 }

func (o Open) valid() bool {
	return len(o.Target) <= 512 && len(o.User) <= 64 && len(o.Resume) <= 64 && o.Want >= 0 && o.Received >= 0
}

func (o Opened) valid() bool { return len(o.Resume) <= 64 && o.Received >= 0 }

func (r Refused) valid() bool { return len(r.Code) <= 32 }

func (c Call) valid() bool { return validID(c.ID) && c.Method != "" && len(c.Method) <= 64 }

// validID accepts what ids and nonces are made of: 1 to 64 letters, digits, `_` and `-`.
func validID(s string) bool {
	for _, r := range s {
		if r != '_' && r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// StreamOf is the number of the stream that m is about; ok is false for messages about none.
func StreamOf(m Message) (stream uint64, ok bool) {
	switch m := m.(type) {
	case Open:
		return m.Stream, true
	case Opened:
		return m.Stream, true
	case Refused:
		return m.Stream, true
	case EOF:
		return m.Stream, true
	case Ack:
		return m.Stream, true
	case Parked:
		return m.Stream, true
	case Reset:
		return m.Stream, true
	}
	return 0, false
}

// WithStream is m about the stream of another number, as a relay passes it on.
func WithStream(m Message, stream uint64) Message {
	switch m := m.(type) {
	case Open:
		m.Stream = stream
		return m
	case Opened:
		m.Stream = stream
		return m
	case Refused:
		m.Stream = stream
		return m
	case EOF:
		m.Stream = stream
		return m
	case Ack:
		m.Stream = stream
		return m
	case Parked:
		m.Stream = stream
		return m
	case Reset:
		m.Stream = stream
		return m
	}
	return m
}
