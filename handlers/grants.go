package handlers

import (
	"context"
	"fmt"

	"github.com/aditdev/adit/internal/devices"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

// ListGrants lists all grants.
func (a *api) ListGrants(ctx context.Context, _ ListGrantsRequestObject) (ListGrantsResponseObject, error) {
	rows, err := a.Store.Read().ListGrantsFor(ctx, principalOf(ctx).User.ID)
	if err != nil {
		return nil, fmt.Errorf("list grants: %w", err)
	}
	out := make(ListGrants200JSONResponse, 0, len(rows))
	for _, row := range rows {
		out = append(out, apiGrant(row.Grant, row.UserEmail, row.DeviceName))
	}
	return out, nil
}

// AddGrant allows or denies.
func (a *api) AddGrant(ctx context.Context, r AddGrantRequestObject) (AddGrantResponseObject, error) {
	p, body := principalOf(ctx), r.Body
	if (value(body.Device) == "") == (value(body.Tag) == "") {
		return nil, wire.Errorf(wire.Invalid, "A grant names either a device (* is every one) or a tag.")
	}
	user, err := a.Accounts.FindUser(ctx, body.User)
	if err != nil {
		return nil, err
	}
	g := devices.Grant{User: user, Tag: value(body.Tag), Logins: nonNil(value(body.Logins)), Targets: value(body.Targets),
		Deny: value(body.Deny), Strict: value(body.Strict), Expires: body.ExpiresAt}
	var name *string
	if ref := value(body.Device); ref != "" && ref != "*" {
		d, err := a.Devices.Find(ctx, p, ref)
		if err != nil {
			return nil, err
		}
		g.Device, name = d.ID, &d.Name
	}
	row, err := a.Devices.AddGrant(ctx, p.User.Email, g)
	return AddGrant201JSONResponse(apiGrant(row, user.Email, name)), err
}

// RemoveGrant removes a grant.
func (a *api) RemoveGrant(ctx context.Context, r RemoveGrantRequestObject) (RemoveGrantResponseObject, error) {
	return RemoveGrant204Response{}, a.Devices.RemoveGrant(ctx, principalOf(ctx).User.Email, r.GrantID)
}

func apiGrant(g store.Grant, email string, device *string) Grant {
	return Grant{ID: g.ID, UserID: g.UserID, UserEmail: email, DeviceID: g.DeviceID, DeviceName: device, Tag: g.Tag,
		Logins: store.List(g.Logins), Targets: store.List(g.Targets), Deny: g.Deny,
		Strict: g.Strict, CreatedAt: store.Time(g.CreatedAt),
		ExpiresAt: store.TimeOf(g.ExpiresAt)}
}
