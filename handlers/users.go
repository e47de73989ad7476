package handlers

import (
	"context"
	"fmt"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/store"
)

// ListUsers lists all users.
func (a *api) ListUsers(ctx context.Context, _ ListUsersRequestObject) (ListUsersResponseObject, error) {
	rows, err := a.Store.Read().ListUsersFor(ctx, principalOf(ctx).User.ID)
	if err != nil {
		return nil, fmt.Errorf("list users: %w", err)
	}
	out := make(ListUsers200JSONResponse, 0, len(rows))
	for _, u := range rows {
		out = append(out, apiUser(u))
	}
	return out, nil
}

// CreateUser makes a user.
func (a *api) CreateUser(ctx context.Context, r CreateUserRequestObject) (CreateUserResponseObject, error) {
	p, role := principalOf(ctx), access.Role(r.Body.Role)
	if err := auth.MayChange(p.Role(), role); err != nil {
		return nil, err
	}
	u, err := a.Accounts.CreateUser(ctx, auth.NewUser{Email: r.Body.Email, Handle: value(r.Body.Handle),
		Password: r.Body.Password, Role: role})
	if err != nil {
		return nil, err
	}
	a.noteUser(ctx, events.UserCreated, u)
	return CreateUser201JSONResponse(apiUser(u)), nil
}

// UpdateUser changes role, handle or whether the user may sign in.
func (a *api) UpdateUser(ctx context.Context, r UpdateUserRequestObject) (UpdateUserResponseObject, error) {
	u, err := a.Accounts.FindUser(ctx, r.UserID)
	if err != nil {
		return nil, err
	}
	patch := auth.UserPatch{Handle: r.Body.Handle, Disabled: r.Body.Disabled}
	if r.Body.Role != nil {
		role := access.Role(*r.Body.Role)
		patch.Role = &role
	}
	if u, err = a.Accounts.UpdateUser(ctx, principalOf(ctx).Role(), u, patch); err != nil {
		return nil, err
	}
	a.noteUser(ctx, events.UserChanged, u)
	return UpdateUser200JSONResponse(apiUser(u)), nil
}

// RemoveUser removes a user.
func (a *api) RemoveUser(ctx context.Context, r RemoveUserRequestObject) (RemoveUserResponseObject, error) {
	u, err := a.Accounts.FindUser(ctx, r.UserID)
	if err != nil {
		return nil, err
	}
	if err := a.Accounts.RemoveUser(ctx, principalOf(ctx).Role(), u); err != nil {
		return nil, err
	}
	a.noteUser(ctx, events.UserRemoved, u)
	return RemoveUser204Response{}, nil
}

func (a *api) noteUser(ctx context.Context, kind string, u store.User) {
	a.note(ctx, events.Event{Type: kind, User: u.ID, Data: events.Data{
		"email": u.Email, "role": u.Role, "disabled": u.Disabled, "by": principalOf(ctx).User.Email}})
}
