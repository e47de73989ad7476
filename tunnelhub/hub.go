package tunnelhub

import (
	"context"
	"errors"
	"iter"
	"net"
	"time"

	"github.com/aditdev/adit/internal/stream"
)

// Hub is the set of live links. Its methods may be called concurrently.
type Hub struct{ options Options }

// New makes a Hub. Run must be running for pings and time-outs to happen.
func New(o Options) *Hub { return &Hub{options: o} }

// Run pings carriers and ends silent ones until ctx ends; then it closes every carrier with wire.CloseRestarting and
// returns when they are gone, or after 10 s.
func (h *Hub) Run(ctx context.Context) error { return errors.New("not built yet") }

// Handshake authenticates a fresh WebSocket within wire.HandshakeTimeout. remote is the peer's address for logs and
// pages. On an error it has closed the WebSocket with the right code. The caller then calls Serve, from a goroutine of
// its own: the one that verified signatures has grown a stack that an idle carrier should not keep.
func (h *Hub) Handshake(ctx context.Context, ws *stream.FrameConn, remote string) (*Carrier, error) {
	return nil, errors.New("not built yet")
}

// Carrier is an authenticated WebSocket of a device's agent.
type Carrier struct{}

// Serve registers a link and blocks until it ended or ctx did.
func (h *Hub) Serve(ctx context.Context, l Link) error { return errors.New("not built yet") }

// Link is a live connection to a device: one carrier of its agent (Handshake gives one), or later the SSH connection
// of a stock client.
type Link interface {
	serve(ctx context.Context, h *Hub) error
}

func (c *Carrier) serve(ctx context.Context, h *Hub) error { return nil }

// Dial opens a stream and is its end: the net.Conn also has CloseWrite, outlives its carrier for wire.ResumeFor, and is
// the caller's to close. It waits up to 10 s for a carrier. Errors are *wire.Error: offline where no carrier came,
// else what the device answered.
func (h *Hub) Dial(ctx context.Context, r Request) (net.Conn, error) {
	return nil, errors.New("not built yet")
}

// Relay passes the frames of one stream between a door's WebSocket of subprotocol adit.stream.v1 and a device, until
// the stream or either side ended. Windows and resume are between those two. It closes door.
func (h *Hub) Relay(ctx context.Context, r Request, door *stream.FrameConn) error {
	return errors.New("not built yet")
}

// Call asks a device's agent for something and stores the answer in result, a pointer or nil. The call is signed. It
// waits up to 10 s for the device and is repeated where its carrier died. Errors are *wire.Error.
func (h *Hub) Call(ctx context.Context, device, method string, params, result any) error {
	return errors.New("not built yet")
}

// Watch yields the presence of every device that is online, then each change, until ctx ends. A slow consumer misses
// intermediate states of a device, never the last one.
func (h *Hub) Watch(ctx context.Context) iter.Seq[Presence] { return func(func(Presence) bool) {} }

// Presence is a device's state now. The zero Presence is that of one never seen.
func (h *Hub) Presence(device string) Presence { return Presence{} }

// Streams lists the running streams, oldest first.
func (h *Hub) Streams() []Info { return nil }

// CloseStreams resets every running stream for which end is true and says how many. It is how a revoked grant, token
// or user ends at once.
func (h *Hub) CloseStreams(end func(Info) bool) int { return 0 }

// Drop ends every carrier and stream of a device, as when it is removed. Its agent is told why by code and message.
func (h *Hub) Drop(device string, cause error) {}

// Online reports whether a carrier of the device was heard in time.
func (h *Hub) Online(device string) bool { return h.Presence(device).Online }

var _ = time.Second
