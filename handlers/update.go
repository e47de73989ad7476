package handlers

import (
	"context"
	"strings"

	"github.com/aditdev/adit/internal/devices"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/updates"
	"github.com/aditdev/adit/internal/wire"
)

// UpdateAgent begins an update of the device's agent.
func (a *api) UpdateAgent(ctx context.Context, r UpdateAgentRequestObject) (UpdateAgentResponseObject, error) {
	p := principalOf(ctx)
	d, err := a.Devices.Find(ctx, p, r.Device)
	if err != nil {
		return nil, err
	}
	if d.Via == devices.ViaOpenSSH {
		return nil, wire.Errorf(wire.NotFound, "%s has no agent of ours to update.", d.Name)
	}
	begun, err := a.Updates.Start(d, p.User.ID)
	if err != nil {
		return nil, err
	}
	return UpdateAgent202JSONResponse(apiUpdate(begun)), nil
}

func apiUpdate(u updates.Update) AgentUpdate {
	return AgentUpdate{Version: u.Version, State: AgentUpdateState(u.State), Message: some(u.Message), At: u.At}
}

// addUpdate says what an admin may do about a device's agent, and how the last time went.
func (a *api) addUpdate(out *Device, d store.Device) {
	if last, ok := a.Updates.Last(d.ID); ok {
		u := apiUpdate(last)
		out.Update = &u
	}
	if out.Facts == nil {
		return
	}
	allowed := out.Facts.Policy != nil && value(out.Facts.Policy.Update)
	out.UpdateAvailable = new(allowed && a.Updates.Available(value(out.AgentVersion), systemOf(out.Facts)))
}

// systemOf is the system in the words of the downloads, from the kernel's name.
func systemOf(f *Facts) string {
	name, _, _ := strings.Cut(value(f.Kernel), " ")
	return strings.ToLower(name)
}
