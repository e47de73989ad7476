package handlers

import (
	"context"
	"net/http"

	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/devices"
	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

// GetSetup says whether the hub waits for its owner.
func (a *api) GetSetup(ctx context.Context, _ GetSetupRequestObject) (GetSetupResponseObject, error) {
	needed, err := a.Accounts.NeedsOwner(ctx)
	return GetSetup200JSONResponse{SetupJSONResponse{Needed: needed}}, err
}

// CreateOwner makes the owner with the set-up link's secret.
func (a *api) CreateOwner(ctx context.Context, r CreateOwnerRequestObject) (CreateOwnerResponseObject, error) {
	p, secret, err := a.Accounts.CreateOwner(ctx, r.Body.Secret, r.Body.Email, r.Body.Password, callerOf(ctx).where)
	if err != nil {
		return nil, err
	}
	if name := wire.Printable(value(r.Body.HubName), 60); name != "" {
		if err := a.Devices.SetHubName(ctx, name); err != nil {
			return nil, err
		}
	}
	reply, err := a.signedIn(ctx, p, secret)
	return CreateOwner201JSONResponse{reply}, err
}

// Login signs in with a password.
func (a *api) Login(ctx context.Context, r LoginRequestObject) (LoginResponseObject, error) {
	where := callerOf(ctx).where
	p, secret, err := a.Accounts.Login(ctx, r.Body.Email, r.Body.Password, where)
	if wire.CodeOf(err) == wire.Unauthenticated {
		a.note(ctx, events.Event{Type: events.LoginFailed, Data: events.Data{
			"email": wire.Printable(r.Body.Email, 254), "address": where.Address}})
	}
	if err != nil {
		return nil, err
	}
	reply, err := a.signedIn(ctx, p, secret)
	return Login200JSONResponse{reply}, err
}

// LoginByLink signs in with a one-time link.
func (a *api) LoginByLink(ctx context.Context, r LoginByLinkRequestObject) (LoginByLinkResponseObject, error) {
	p, secret, err := a.Accounts.LoginByLink(ctx, r.Body.Secret, callerOf(ctx).where)
	if err != nil {
		return nil, err
	}
	reply, err := a.signedIn(ctx, p, secret)
	return LoginByLink200JSONResponse{reply}, err
}

func (a *api) signedIn(ctx context.Context, p *auth.Principal, secret string) (SignedInJSONResponse, error) {
	a.note(ctx, events.Event{Type: events.LoginBegan, User: p.User.ID, Data: events.Data{"address": callerOf(ctx).where.Address}})
	me, err := a.me(ctx, p)
	cookie := sessionCookie(secret)
	return SignedInJSONResponse{Body: me, Headers: SignedInResponseHeaders{SetCookie: &cookie}}, err
}

// note logs an event that no other change carries; that it could not be kept must not stop what it tells of.
func (a *api) note(ctx context.Context, e events.Event) {
	if err := a.Events.Append(ctx, e); err != nil {
		a.Log.Error("event not kept", "type", e.Type, "cause", err)
	}
}

// signedOut removes the cookie.
type signedOut struct{}

func (signedOut) VisitLogoutResponse(w http.ResponseWriter) error {
	w.Header().Set("Set-Cookie", sessionCookie(""))
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// Logout ends this login session. A token is not ended by it.
func (a *api) Logout(ctx context.Context, _ LogoutRequestObject) (LogoutResponseObject, error) {
	p := principalOf(ctx)
	if !p.Session {
		return nil, wire.Errorf(wire.Invalid, "A token does not sign out. Revoke it instead.")
	}
	if err := a.Accounts.Logout(ctx, p); err != nil {
		return nil, err
	}
	a.note(ctx, events.Event{Type: events.LoginEnded, User: p.User.ID, Data: events.Data{"address": callerOf(ctx).where.Address}})
	return signedOut{}, nil
}

// GetMe is the signed-in user, and the hub.
func (a *api) GetMe(ctx context.Context, _ GetMeRequestObject) (GetMeResponseObject, error) {
	me, err := a.me(ctx, principalOf(ctx))
	return GetMe200JSONResponse(me), err
}

func (a *api) me(ctx context.Context, p *auth.Principal) (Me, error) {
	name, err := a.Devices.HubName(ctx)
	if err != nil {
		return Me{}, err
	}
	hashes, err := a.scriptHashes(ctx)
	if err != nil {
		return Me{}, err
	}
	return Me{User: apiUser(p.User), Hub: HubInfo{
		Name: name, URL: a.Config.URLs[0].String(), Version: a.Version, TunnelKey: a.Devices.HubFingerprint(),
		UserCa: a.CA.AuthorizedKey(), ScriptSha256: hashes.Agent, ScriptOpensshSha256: hashes.OpenSSH, Dev: a.Config.Dev, Targets: nonNil(a.Install.Dist.Targets()),
		TCPPorts: some(a.Config.TCPPorts.String()),
	}}, nil
}

func (a *api) scriptHashes(ctx context.Context) (devices.ScriptHashes, error) {
	agent, err := a.Install.script(ctx, EnrollRequestViaAgent, "")
	if err != nil {
		return devices.ScriptHashes{}, err
	}
	openssh, err := a.Install.script(ctx, EnrollRequestViaOpenssh, "")
	return devices.ScriptHashes{Agent: sha256Hex(agent), OpenSSH: sha256Hex(openssh)}, err
}

// ChangePassword sets the own password.
func (a *api) ChangePassword(ctx context.Context, r ChangePasswordRequestObject) (ChangePasswordResponseObject, error) {
	p := principalOf(ctx)
	if err := a.Accounts.ChangePassword(ctx, p, value(r.Body.CurrentPassword), r.Body.NewPassword); err != nil {
		return nil, err
	}
	a.note(ctx, events.Event{Type: events.UserChanged, User: p.User.ID, Data: events.Data{"email": p.User.Email, "password": true}})
	return ChangePassword204Response{}, nil
}

func apiUser(u store.User) User {
	return User{ID: u.ID, Email: u.Email, Handle: u.Handle, Role: Role(u.Role), Disabled: u.Disabled,
		CreatedAt: store.Time(u.CreatedAt), LastLoginAt: store.TimeOf(u.LastLoginAt)}
}

// value is what an optional member holds, or the zero value.
func value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

// some is an optional member that is absent when it is the zero value.
func some[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

// nonNil keeps an empty list from being written as null.
func nonNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
