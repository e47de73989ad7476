// Package tunnelhub holds the live links of devices: it serves their carriers, opens streams on them, calls them and
// says who is online. It knows frames, net.Conn and ids; no HTTP, no SQL, and no other package's idea of a permission:
// whoever calls Dial, Relay or Call has asked access first. docs/protocol.md has the protocol.
package tunnelhub

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"log/slog"
	"net"
	"time"

	"github.com/aditdev/adit/internal/wire"
)

// Options make a Hub. Every field without a word about nil must be set.
type Options struct {
	Log *slog.Logger

	Key     ed25519.PrivateKey // the hub's tunnel key, whose public half agents pinned at enrolment; see Device.HubKey
	Hosts   []string           // host[:port] of every URL under which agents may have dialled; the first is canonical
	Name    string             // what the hub calls itself in hello
	Version string

	// Device finds an enrolled device by its id. It fails with wire.NotFound where there is none; to the stranger
	// who asked that looks the same as a wrong signature.
	Device func(ctx context.Context, id string) (Device, error)

	// Cloned is told that a second machine came with a device's key. nil means nobody wants to know.
	Cloned func(device string, first, second wire.Instance)

	// Handle answers the calls of devices (`facts`, …). nil refuses them all. What it returns is marshalled.
	Handle func(ctx context.Context, device, method string, params json.RawMessage) (any, error)

	// MQTT serves a device that speaks raw MQTT on conn, until either ended. nil refuses them.
	MQTT func(ctx context.Context, device string, conn net.Conn) error

	// Opened is told of each stream that begins; what it returns, of its end: bytes from the device and to it, and why, which is
	// nil where it ended in good order. Neither may block. nil means nobody wants to know.
	Opened func(Info) (closed func(in, out int64, cause error))

	Now func() time.Time // nil means time.Now
}

// Device is what the hub must know of a device to let its carriers in.
type Device struct {
	ID     string
	Key    ed25519.PublicKey
	Status string             // StatusActive, StatusPending; anything else is refused
	Stock  bool               // comes by a StockLink, and its key opens nothing else
	HubKey ed25519.PrivateKey // the hub's key that this device pins, while they differ; nil means Options.Key
	Ping   time.Duration      // between pings, for a device on little data; 0 means wire.PingEvery
}

// The statuses of a device that mean something here.
const (
	StatusActive  = "active"
	StatusPending = "pending" // enrolled, and a person has yet to approve it: its agent asks again
)

// Request names a stream to be opened.
type Request struct {
	Device string
	Target wire.Target
	User   string // who asks, as the device may log it; also the key for CloseStreams
	Via    string // the door that asks, for the list of streams: ViaCLI, ViaShell, …
	From   string // the address of who asks, where the door knows it
	Login  string // the Unix account that they named to the door, where they did
	Shell  string // the id of the shell that it carries, where it carries one: that would open another in its place
	Early  bool   // Dial returns before the device has answered; a refusal is then the error of the first Read
}

// The doors that streams come through, as Request.Via says them.
const (
	ViaCLI    = "cli"    // `adit`: frames that can be taken up again
	ViaShell  = "shell"  // a browser's shell
	ViaGate   = "gate"   // stock OpenSSH
	ViaPort   = "port"   // a dedicated TCP port
	ViaBinary = "binary" // a WebSocket of plain bytes
	ViaMQTT   = "mqtt"   // the same for an MQTT client
)

// Info describes a running stream.
type Info struct {
	ID       uint64      `json:"id"`
	Device   string      `json:"device"`
	User     string      `json:"user"`
	Target   wire.Target `json:"target"`
	Via      string      `json:"via"`
	From     string      `json:"from"`
	Login    string      `json:"login,omitempty"`
	Shell    string      `json:"shell"`
	Opened   time.Time   `json:"opened"`
	BytesIn  int64       `json:"bytes_in"`  // from the device
	BytesOut int64       `json:"bytes_out"` // to the device
}

// Presence is a device's state, as Watch yields it at each change and Presence gives it at once.
type Presence struct {
	Device       string
	Online       bool
	At           time.Time     // of the last change
	Heard        time.Time     // when a carrier was last heard
	Address      string        // where its carriers come from, as the door saw it
	AgentVersion string        // empty for a link that is not our agent
	ClockOffset  time.Duration // the device's clock minus the hub's, from the last auth
	Cloned       bool          // two machines with its key were seen within ten minutes
	Carriers     int           // parked or carrying
	Offers       []wire.Target // what a link that is not our agent's forwards; nil for an agent's
}
