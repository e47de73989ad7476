package handlers

import (
	"context"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

// hold opens the way for something that goes on: it finds the device in the principal's view and asks the live policy.
// The context ends, with an Error as its cause, when the policy no longer allows the use or the sign-in has ended; the
// caller calls release when the use is over. An empty login is that of a door which names none: any login's grant holds it.
func (a *api) hold(ctx context.Context, p *auth.Principal, device string, target wire.Target, login string) (
	d store.Device, held context.Context, release context.CancelFunc, err error,
) {
	d, err = a.Devices.Find(ctx, p, device)
	if err != nil {
		return d, nil, nil, err
	}
	held, release, err = a.Gate.Hold(ctx, access.Use{User: p.User.ID, Credential: p.Credential, Device: d.ID,
		Target: string(target), Login: login})
	return d, held, release, err
}
