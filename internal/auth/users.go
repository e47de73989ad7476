package auth

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

// FindUser finds a user by id, e-mail or handle, or fails with NotFound. It is for those who manage users. What looks
// like an id is nothing else: somebody whose handle is another's id would be granted what is meant for them.
func (a *Accounts) FindUser(ctx context.Context, ref string) (user store.User, err error) {
	if strings.HasPrefix(ref, idPrefix) {
		user, err = a.store.Read().GetUser(ctx, ref)
	} else {
		user, err = a.store.Read().FindUser(ctx, NormalEmail(ref))
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
	err := a.gate.Change(ctx, func(q *store.Queries) (err error) {
		user, err = updateUser(ctx, q, by, user.ID, patch)
		return err
	})
	return user, err
}

// updateUser reads the user in the transaction that writes them: between a look and a change they may have become an
// owner, or have been disabled.
func updateUser(ctx context.Context, q *store.Queries, by access.Role, id string, patch UserPatch) (store.User, error) {
	user, err := q.GetUser(ctx, id)
	if err != nil {
		return user, noRow(err, errNoUser)
	}
	row := patch.onto(user)
	if err := MayChange(by, access.Role(user.Role), access.Role(row.Role)); err != nil {
		return user, err
	}
	if row.Handle != user.Handle {
		if err := CheckHandle(row.Handle); err != nil {
			return user, err
		}
	}
	if err := keepAnOwner(ctx, q, user, row.Role == string(access.Owner) && !row.Disabled); err != nil {
		return user, err
	}
	changed, err := q.UpdateUser(ctx, row)
	if store.IsConflict(err) {
		return user, wire.Wrap(err, wire.Conflict, "Another user has the handle %s.", row.Handle)
	}
	return changed, err
}

var errNoUser = wire.Errorf(wire.NotFound, "This user is gone.")

func (p UserPatch) onto(user store.User) store.UpdateUserParams {
	row := store.UpdateUserParams{ID: user.ID, Role: user.Role, Handle: user.Handle, Disabled: user.Disabled}
	if p.Role != nil {
		row.Role = string(*p.Role)
	}
	if p.Handle != nil {
		row.Handle = *p.Handle
	}
	if p.Disabled != nil {
		row.Disabled = *p.Disabled
	}
	return row
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
	return a.gate.Change(ctx, func(q *store.Queries) error {
		now, err := q.GetUser(ctx, user.ID) // as above: an owner since the caller looked
		if err != nil {
			return noRow(err, errNoUser)
		}
		if err := MayChange(by, access.Role(now.Role)); err != nil {
			return err
		}
		if err := keepAnOwner(ctx, q, now, false); err != nil {
			return err
		}
		if _, err := q.RemoveUser(ctx, user.ID); err != nil {
			return fmt.Errorf("remove user: %w", err)
		}
		return q.DropMQTTRulesOf(ctx, "user:"+user.ID)
	})
}
