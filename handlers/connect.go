package handlers

import (
	"github.com/labstack/echo/v4"

	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
	"github.com/aditdev/adit/tunnelhub"
)

// connect opens a stream on a device: GET /api/v1/devices/{device}/connect?target=…&login=…, a WebSocket of subprotocol
// adit.stream.v1 (frames of docs/protocol.md), or binary or mqtt (bytes only). The Origin was checked before, and the
// stream ends when the live policy no longer allows it.
func (a *api) connect(c echo.Context) error {
	if !isUpgrade(c.Request()) {
		return wire.Errorf(wire.Invalid, "This door takes WebSockets only.")
	}
	target, err := wire.ParseTarget(c.QueryParam("target"))
	if err != nil {
		return err
	}
	login, err := loginFor(target, c.QueryParam("login"))
	if err != nil {
		return err
	}
	p := principalOf(c.Request().Context())
	device, held, release, err := a.hold(c.Request().Context(), p, c.Param("device"), target, login)
	if err != nil {
		a.refusedStream(c, target, login, err)
		return err
	}
	defer release()
	ws, err := stream.Accept(c.Response(), c.Request(), wire.SubprotocolStream, wire.SubprotocolBinary, wire.SubprotocolMQTT)
	if err != nil {
		return nil // Accept has answered
	}
	r := tunnelhub.Request{Device: device.ID, Target: target, User: p.User.ID, From: c.RealIP(), Login: login}
	switch ws.Subprotocol() {
	case wire.SubprotocolStream:
		r.Via = tunnelhub.ViaCLI
		_ = a.Tunnel.Relay(held, r, ws) // tells the peer itself
	case wire.SubprotocolBinary:
		r.Via = tunnelhub.ViaBinary
		_ = a.Tunnel.RelayBytes(held, r, ws)
	case wire.SubprotocolMQTT:
		r.Via = tunnelhub.ViaMQTT
		_ = a.Tunnel.RelayBytes(held, r, ws)
	default:
		ws.Close(wire.Errorf(wire.Invalid, "Name one of the subprotocols adit.stream.v1, binary and mqtt."))
	}
	return nil
}

// refusedStream has the event log tell of a stream that the policy refused.
func (a *api) refusedStream(c echo.Context, target wire.Target, login string, cause error) {
	if code := wire.CodeOf(cause); code != wire.Forbidden && code != wire.NotFound {
		return
	}
	p := principalOf(c.Request().Context())
	e := events.Event{Type: events.StreamRefused, User: p.User.ID, Data: events.Data{"target": string(target), "via": tunnelhub.ViaCLI,
		"address": c.RealIP(), "reason": wire.Printable(wire.MessageOf(cause), 200)}}
	if d, err := a.Devices.Find(c.Request().Context(), p, c.Param("device")); err == nil {
		e.Device = d.ID
	}
	if login != "" {
		e.Data["login"] = login
	}
	a.Noted.Refused(p.User.ID+" "+e.Device+" "+string(target), e)
}

// loginFor reads the account as which the door's peer will log in. It is their word, which sshd does not hear: it says
// with which grant the stream ends.
func loginFor(target wire.Target, login string) (string, error) {
	switch {
	case login == "":
		return "", nil
	case target != wire.TargetSSH && target != wire.TargetRescue:
		return "", wire.Errorf(wire.Invalid, "A login goes with the targets ssh and rescue only.")
	case !wire.ValidLogin(login):
		return "", wire.Errorf(wire.Invalid, "%q is no Unix account.", wire.Printable(login, 32))
	}
	return login, nil
}
