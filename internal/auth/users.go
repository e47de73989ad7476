package auth

import (
	"context"
	"errors"
	"fmt"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

// FindUser finds a user by id, e-mail or handle, or fails with NotFound. It is for those who manage users.
func (a *Accounts) FindUser(ctx context.Context, ref string) (store.User, error) {
	user, err := a.store.Read().FindUser(ctx, NormalEmail(ref))
	if errors.Is(err, store.ErrNotFound) { // ids have capitals
		user, err = a.store.Read().FindUser(ctx, ref)
	}
	if errors.Is(err, store.ErrNotFound) {
		return user, wire.Errorf(wire.NotFound, "There is no user %s.", wire.Printable(ref, 254))
	}
	return user, err
}

// UserPatch is what may be changed of a user; nil leaves it.
type UserPatch struct {
	Role     *access.Role
	Handle   *string
	Disabled *bool
}

// UpdateUser changes a user on behalf of somebody of role by. What ran by a disabled user's sign-ins ends.
func (a *Accounts) UpdateUser(ctx context.Context, by access.Role, user store.User, patch UserPatch) (store.User, error) {
	row := store.UpdateUserParams{ID: user.ID, Role: user.Role, Handle: user.Handle, Disabled: user.Disabled}
	if patch.Role != nil {
		row.Role = string(*patch.Role)
	}
	if patch.Handle != nil {
		row.Handle = *patch.Handle
	}
	if patch.Disabled != nil {
		row.Disabled = *patch.Disabled
	}
	if err := MayChange(by, access.Role(user.Role), access.Role(row.Role)); err != nil {
		return user, err
	}
	if err := CheckHandle(row.Handle); err != nil {
		return user, err
	}
	err := a.gate.Change(ctx, func(q *store.Queries) error {
		if err := keepAnOwner(ctx, q, user, row.Role == string(access.Owner) && !row.Disabled); err != nil {
			return err
		}
		changed, err := q.UpdateUser(ctx, row)
		if store.IsConflict(err) {
			return wire.Wrap(err, wire.Conflict, "Another user has the handle %s.", row.Handle)
		}
		user = changed
		return err
	})
	return user, err
}

// MayChange refuses what only an owner may do: give, take or alter the role owner.
func MayChange(by access.Role, roles ...access.Role) error {
	for _, role := range roles {
		if !role.Valid() {
			return wire.Errorf(wire.Invalid, "%q is no role: owner, admin, operator or viewer.", wire.Printable(string(role), 20))
		}
		if !by.Changes(role) {
			return wire.Errorf(wire.Forbidden, "Only an owner may change owners.")
		}
	}
	return nil
}

// keepAnOwner refuses to leave the hub without somebody who can do everything.
func keepAnOwner(ctx context.Context, q *store.Queries, user store.User, remains bool) error {
	if user.Role != string(access.Owner) || remains {
		return nil
	}
	others, err := q.CountOtherOwners(ctx, user.ID)
	if err == nil && others == 0 {
		return wire.Errorf(wire.Conflict, "This is the last owner. Make somebody else owner first.")
	}
	return err
}

// RemoveUser removes a user and ends everything of theirs.
func (a *Accounts) RemoveUser(ctx context.Context, by access.Role, user store.User) error {
	if err := MayChange(by, access.Role(user.Role)); err != nil {
		return err
	}
	return a.gate.Change(ctx, func(q *store.Queries) error {
		if err := keepAnOwner(ctx, q, user, false); err != nil {
			return err
		}
		if _, err := q.RemoveUser(ctx, user.ID); err != nil {
			return fmt.Errorf("remove user: %w", err)
		}
		return nil
	})
}
