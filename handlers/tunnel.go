package handlers

import (
	"context"
	"net/http"
	"sync"

	"github.com/labstack/echo/v4"

	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
	"github.com/aditdev/adit/tunnelhub"
)

// Caps on sockets that have yet to prove who they are, and on how many proofs are examined at once. A socket that waits
// takes no slot.
const (
	waitingPerAddress = 32
	waitingInAll      = 2000
	verifySlots       = 50 // for devices that come online
	parkSlots         = 16 // for further carriers of those that are
)

// tunnelDoor lets agents' carriers in: GET /tunnel.
type tunnelDoor struct {
	hub       *tunnelhub.Hub
	stopping  context.Context
	verifying chan struct{}
	parking   chan struct{}

	mu        sync.Mutex
	byAddress map[string]int // by auth.Network
	inAll     int
}

func newTunnelDoor(hub *tunnelhub.Hub, stopping context.Context) *tunnelDoor {
	return &tunnelDoor{
		hub: hub, stopping: stopping, byAddress: make(map[string]int),
		verifying: make(chan struct{}, verifySlots), parking: make(chan struct{}, parkSlots),
	}
}

// Open upgrades the request and authenticates the carrier. The handler then returns, which frees the HTTP server's
// buffers, and the carrier lives on in a goroutine with a small stack.
func (d *tunnelDoor) Open(c echo.Context) error {
	address := c.RealIP()
	network := auth.Network(address)
	if !d.enter(network) {
		c.Response().Header().Set("Retry-After", "10")
		return wire.Errorf(wire.RateLimited, "Too many connections wait to be authenticated. Try again in a few seconds.")
	}
	defer d.leave(network)
	if !isUpgrade(c.Request()) {
		c.Response().Header().Set("Upgrade", "websocket")
		return echo.NewHTTPError(http.StatusUpgradeRequired, "This door takes WebSockets only; a proxy before the hub may have stripped the Upgrade header.")
	}
	ws, err := stream.Accept(c.Response(), c.Request(), wire.SubprotocolTunnel)
	if err != nil {
		return nil // Accept has answered
	}
	carrier, err := d.hub.Handshake(c.Request().Context(), ws, address, d.admit)
	if err != nil {
		return nil // Handshake has told the peer, and the log
	}
	go func() { _ = d.hub.Serve(d.stopping, carrier) }() // the hub's Run waits for it, and logs how it ends
	return nil
}

func (d *tunnelDoor) enter(address string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.inAll >= waitingInAll || d.byAddress[address] >= waitingPerAddress {
		return false
	}
	d.inAll++
	d.byAddress[address]++
	return true
}

func (d *tunnelDoor) leave(address string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.inAll--
	if d.byAddress[address]--; d.byAddress[address] == 0 {
		delete(d.byAddress, address)
	}
}

// admit waits for a slot. Devices that are online have their own, so that a crowd which comes back does not keep them
// from opening streams.
func (d *tunnelDoor) admit(ctx context.Context, device string) (release func(), err error) {
	slots := d.verifying
	if d.hub.Online(device) {
		slots = d.parking
	}
	select {
	case slots <- struct{}{}:
		return func() { <-slots }, nil
	case <-ctx.Done():
		return nil, wire.Errorf(wire.RateLimited, "The hub is busy letting devices in. Try again in a few seconds.")
	}
}
