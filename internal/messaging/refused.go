package messaging

import (
	"context"
	"errors"

	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/wire"
)

// Refusal is a CONNECT that was refused, or a connection before it.
type Refusal struct {
	Door               Door
	Principal          Principal // zero where it was not found out
	Username, ClientID string    // as CONNECT had them
	Cause              *mqtt.Error
}

// TellRefused takes what a broker refuses; it must not wait. nil: nobody wants to know.
type TellRefused func(Refusal)

// Of tells of r, if err, by which it ended, is a refusal: neither a connection that was lost, nor a hub that stops or has no broker behind it.
func (tell TellRefused) Of(ctx context.Context, r Refusal, err error) {
	cause, ok := errors.AsType[*mqtt.Error](err)
	if tell == nil || !ok || cause.Code == mqtt.ServerUnavailable || ctx.Err() != nil {
		return
	}
	r.Cause = cause
	tell(r)
}

// Refused has the event log tell of a refusal.
func (r *Registry) Refused(f Refusal) {
	p := f.Principal
	if p.ID == "" && f.Door.By != nil {
		p = *f.Door.By
	}
	source := p.ID
	if source == "" {
		source = f.Door.Network()
	}
	reason := f.Cause.Message
	if reason == "" {
		reason = f.Cause.Code.String()
	}
	e := events.Event{Type: events.MQTTRefused, Device: p.Device, User: p.User, Data: events.Data{"reason": wire.Printable(reason, 200),
		"via": f.Door.Name}}
	if name := p.Name; name != "" {
		e.Data["name"] = name
	} else if f.Username != "" {
		e.Data["name"] = wire.Printable(f.Username, maxUsername)
	}
	if f.ClientID != "" {
		e.Data["client_id"] = wire.Printable(f.ClientID, 100)
	}
	if f.Door.Address != "" {
		e.Data["address"] = f.Door.Address
	}
	r.Noted.Refused(source, e)
}
