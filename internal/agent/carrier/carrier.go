// Package carrier is the agent's side of the tunnel: it keeps carriers parked at the hub, hands the streams and calls
// that arrive on them to a Handler, and goes on for as long as the machine runs. No failure of a network ends it.
package carrier

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
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

	Dialer    stream.Dialer    // proxy, CA file, address override
	Clock     func() time.Time // the wall clock that the hub is told; nil means the machine's
	BuildTime time.Time        // certificates are verified at no earlier time; zero if unknown
	HubTime   time.Time        // the hub's time when last seen (Status.HubTime), kept on disk by the caller; zero if unknown
	ResumeFor time.Duration    // how long a stream outlives its carrier; 0 means wire.ResumeFor, negative never

	// Status is told of every change, one call at a time; it must not block for long. nil means nobody asks.
	Status func(Status)
	// Answers keeps the results of calls that change the device beyond this process's life. nil keeps them in memory only.
	Answers Answers
	// Changes says which calls those are; nil means all.
	Changes func(method string) bool
}

// Answers remembers what calls were answered, for wire.AnswersFor, so that one which is repeated is not done twice.
type Answers interface {
	Load(id string) (result []byte, ok bool)
	Save(id string, result []byte) error
}

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

// Run keeps a pool of carriers until ctx ends, then closes every one and returns ctx's cause. It returns earlier only
// for a Config that can never work.
func Run(ctx context.Context, c Config) error { return New(c).Run(ctx) }
