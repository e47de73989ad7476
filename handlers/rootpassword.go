package handlers

import (
	"context"
	"fmt"
	"strings"

	"github.com/aditdev/adit/internal/devices"
	"github.com/aditdev/adit/internal/rootpassword"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

// SetRootPassword gives root on the device a new password.
func (a *api) SetRootPassword(ctx context.Context, r SetRootPasswordRequestObject) (SetRootPasswordResponseObject, error) {
	p := principalOf(ctx)
	d, err := a.Devices.Find(ctx, p, r.Device)
	if err != nil {
		return nil, err
	}
	if d.Via == devices.ViaOpenSSH {
		return nil, wire.Errorf(wire.NotFound, "%s has no agent of ours, which sets the password.", d.Name)
	}
	if err := a.RootPasswords.Rotate(ctx, d, p.User.ID); err != nil {
		return nil, err
	}
	out, err := a.rootPassword(ctx, d)
	return SetRootPassword200JSONResponse(out), err
}

// RevealRootPassword shows it to somebody who proves once more who they are.
func (a *api) RevealRootPassword(ctx context.Context, r RevealRootPasswordRequestObject) (RevealRootPasswordResponseObject, error) {
	p := principalOf(ctx)
	d, err := a.Devices.Find(ctx, p, r.Device)
	if err != nil {
		return nil, err
	}
	reason := strings.TrimSpace(wire.Printable(r.Body.Reason, 200))
	if reason == "" {
		return nil, &wire.Error{Code: wire.Invalid, Message: "Say what the password is for: it stands in the log of events.",
			Fields: map[string]string{"reason": "A word or two."}}
	}
	if err := a.Accounts.StepUp(ctx, p, value(r.Body.Password)); err != nil {
		return nil, err
	}
	list, err := a.RootPasswords.Reveal(ctx, d, p.User.ID, reason)
	if err != nil {
		return nil, err
	}
	out := make(RevealRootPassword200JSONResponse, 0, len(list))
	for _, l := range list {
		out = append(out, RevealedPassword{Password: l.Password, State: RevealedPasswordState(l.State), MadeAt: l.Made})
	}
	return out, nil
}

// rootPassword is what a device's own page says of it.
func (a *api) rootPassword(ctx context.Context, d store.Device) (RootPassword, error) {
	s, err := a.RootPasswords.Status(ctx, d.ID)
	if err != nil {
		return RootPassword{}, fmt.Errorf("root password: %w", err)
	}
	if s == (rootpassword.Status{}) {
		return RootPassword{State: RootPasswordStateNone}, nil
	}
	return RootPassword{State: RootPasswordState(s.State), MadeAt: &s.Since, ShownAt: s.ShownAt}, nil
}
