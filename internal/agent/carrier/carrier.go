// Package carrier is the agent's side of the tunnel: it keeps carriers parked at the hub, hands the streams and calls
// that arrive on them to a Handler, and goes on for as long as the machine runs. No failure of a network ends it.
package carrier

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"time"

	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
)

// Handler is what the agent does with what arrives.
type Handler interface {
	// Open connects to the stream's target, within wire.OpenTimeout, after checking the device's own policy. Its
	// *wire.Error goes to the hub as the refusal; any other error is logged and refused as internal. The conn must
	// honour write deadlines (every net.Conn of package net does) and should have CloseWrite.
	Open(ctx context.Context, open wire.Open) (net.Conn, error)
	// Call answers a call of the hub, whose signature has been verified. What it returns is marshalled; a result
	// must fit in a frame (32 KiB).
	Call(ctx context.Context, method string, params json.RawMessage) (any, error)
}

// Config makes a Pool. Every field without a word about its zero value must be set.
type Config struct {
	Log     *slog.Logger
	URL     string              // the hub's, https://host[:port]
	Device  string              // id given at enrolment
	Key     ed25519.PrivateKey  // the device's
	HubKeys []ed25519.PublicKey // pinned at enrolment; two while the hub rotates

	Instance     wire.Instance // from NextInstance
	AgentVersion string
	Handler      Handler

	Dialer    stream.Dialer // proxy, CA file, address override
	BuildTime time.Time     // certificates are verified at no earlier time; zero if unknown
	HubTime   time.Time     // the hub's time when last seen (Status.HubTime), kept on disk by the caller; zero if unknown
	ResumeFor time.Duration // how long a stream outlives its carrier; 0 means wire.ResumeFor, negative never

	// Status is told of every change, one call at a time; it must not block for long. nil means nobody asks.
	Status func(Status)
	// Answers keeps the results of calls beyond this process's life. nil keeps them in memory only.
	Answers Answers
}

// Answers remembers what calls were answered, for wire.AnswersFor, so that one which is repeated is not done twice.
type Answers interface {
	Load(id string) (result []byte, ok bool)
	Save(id string, result []byte) error
}

// Cause is why the hub is not reached, or not fully.
type Cause string

// The causes, in the order in which a dial meets them.
const (
	CauseNone          Cause = ""
	CauseDNS           Cause = "dns"
	CauseTCP           Cause = "tcp"
	CauseProxy407      Cause = "proxy-407"
	CauseTLSUntrusted  Cause = "tls-untrusted"
	CauseClock         Cause = "clock"
	CauseNot101        Cause = "not-101"
	CauseCaptivePortal Cause = "captive-portal"
	CauseAuth          Cause = "auth"
	CauseHubKey        Cause = "hub-key"
	CauseConnectionCap Cause = "connection-cap"
	CausePending       Cause = "pending"
)

// Status is how the pool fares.
type Status struct {
	Online   bool
	Since    time.Time // of Online's last change
	Parked   int
	Streams  int
	Cause    Cause     // why the last dial failed; CauseNone after a success
	Detail   string    // the same in a sentence for a person
	RetryAt  time.Time // of the next dial, where one waits
	HubTime  time.Time // the hub's clock at the last handshake
	Attempts int       // dials failed in a row
}

// Run keeps the pool until ctx ends, then closes every carrier and returns ctx's cause. It returns earlier only for a
// Config that can never work.
func Run(ctx context.Context, c Config) error { return New(c).Run(ctx) }

// Pool is a running set of carriers.
type Pool struct{ config Config }

// New makes a Pool that does nothing until Run.
func New(c Config) *Pool { return &Pool{config: c} }

// Run is the package's Run.
func (p *Pool) Run(ctx context.Context) error { return errors.New("not built yet") }

// Call asks the hub for something and stores its answer in result, a pointer or nil. It waits for a carrier until ctx
// ends and repeats the call where a carrier died. Errors are *wire.Error as the hub answered.
func (p *Pool) Call(ctx context.Context, method string, params, result any) error {
	return errors.New("not built yet")
}

// MQTT opens a connection to the hub's broker that speaks raw MQTT as this device. The caller closes it.
func (p *Pool) MQTT(ctx context.Context) (net.Conn, error) { return nil, errors.New("not built yet") }

// Wake resets every wait: the machine woke, or its network changed. Run notices most of this by itself.
func (p *Pool) Wake() {}

// Probe proves the path to the hub once: name, connection, proxy, certificate, upgrade, both keys. It replaces no
// carrier. Its error has the Cause that CauseOf gives.
func Probe(ctx context.Context, c Config) (hubTime time.Time, err error) {
	return time.Time{}, errors.New("not built yet")
}

// CauseOf is the cause that err, as Probe returns it, stands for.
func CauseOf(err error) Cause { return CauseNone }

// NextInstance reads the boot counter in file, adds one, writes it back durably (0600, by rename) and gives the
// instance of this life. A missing or unreadable file counts from the clock, so that a counter lost with its disk is
// not a lower one.
func NextInstance(file string) (wire.Instance, error) {
	return wire.Instance{}, errors.New("not built yet")
}
