package auth

import (
	"strings"
	"testing"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/wire"
)

// A handle in the form of somebody's id would be given what an owner means for them: an admin could become owner so.
func TestHandleIsNoID(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	victim := r.user("own", access.Owner)
	handle := strings.ToLower(victim.ID)
	_, err := r.CreateUser(t.Context(), NewUser{Email: "evil@example.com", Handle: handle, Role: access.Viewer})
	r.wants(wire.Invalid, err)
	evil, err := r.CreateUser(t.Context(), NewUser{Email: handle + "@example.com", Role: access.Viewer})
	if err != nil || strings.HasPrefix(evil.Handle, idPrefix) {
		t.Errorf("handle %q, %v", evil.Handle, err)
	}
	_, err = r.UpdateUser(t.Context(), access.Owner, evil, UserPatch{Handle: &handle})
	r.wants(wire.Invalid, err)
	found, err := r.FindUser(t.Context(), victim.ID)
	if err != nil || found.ID != victim.ID {
		t.Errorf("%s leads to %s, %v", victim.ID, found.ID, err)
	}
	_, err = r.FindUser(t.Context(), handle)
	r.wants(wire.NotFound, err)
}

// What decides is what the user is now, not what they were when the request was read.
func TestUserChangedMeanwhile(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	first := r.user("own", access.Owner)
	before := r.user("two", access.Operator)
	owner, yes, handle := access.Owner, true, "other"
	_, err := r.UpdateUser(t.Context(), access.Owner, before, UserPatch{Role: &owner})
	r.must(err)
	_, err = r.UpdateUser(t.Context(), access.Admin, before, UserPatch{Disabled: &yes})
	r.wants(wire.Forbidden, err) // an owner by now
	r.wants(wire.Forbidden, r.RemoveUser(t.Context(), access.Admin, before))
	r.must(r.RemoveUser(t.Context(), access.Owner, first))
	r.wants(wire.Conflict, r.RemoveUser(t.Context(), access.Owner, before)) // the last one by now

	gone := r.user("three", access.Operator)
	_, err = r.UpdateUser(t.Context(), access.Owner, gone, UserPatch{Disabled: &yes})
	r.must(err)
	after, err := r.UpdateUser(t.Context(), access.Owner, gone, UserPatch{Handle: &handle})
	if err != nil || !after.Disabled {
		t.Errorf("a new handle let a disabled user in again: %+v, %v", after, err)
	}
}
