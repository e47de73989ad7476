package handlers

import (
	"context"

	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/store"
)

// StartCLILogin begins `adit login`.
func (a *api) StartCLILogin(ctx context.Context, r StartCLILoginRequestObject) (StartCLILoginResponseObject, error) {
	l, err := a.Accounts.StartCLILogin(ctx, r.Body.Host, callerOf(ctx).where.Address)
	if err != nil {
		return nil, err
	}
	code := auth.FormatUserCode(l.UserCode)
	return StartCLILogin201JSONResponse{Secret: l.Secret, UserCode: code, ExpiresAt: l.Expires.UTC(),
		IntervalSeconds: int(auth.CLIPoll.Seconds()), VerificationURI: a.Config.URLs[0].String() + "/app/cli-login/" + code}, nil
}

// PollCLILogin tells the CLI how its login stands.
func (a *api) PollCLILogin(ctx context.Context, r PollCLILoginRequestObject) (PollCLILoginResponseObject, error) {
	answer, err := a.Accounts.PollCLILogin(ctx, r.Body.Secret)
	if err != nil {
		return nil, err
	}
	out := PollCLILogin200JSONResponse{Status: CLILoginResultStatus(answer.Status), Token: some(answer.Token)}
	if answer.Token != "" {
		a.note(ctx, tokenCreated(answer.Made, answer.User.ID, answer.User.Handle))
		user := apiUser(answer.User)
		out.User = &user
	}
	return out, nil
}

// GetCLILogin shows what asks.
func (a *api) GetCLILogin(ctx context.Context, r GetCLILoginRequestObject) (GetCLILoginResponseObject, error) {
	l, err := a.Accounts.PendingCLILogin(ctx, principalOf(ctx), r.UserCode)
	if err != nil {
		return nil, err
	}
	return GetCLILogin200JSONResponse{UserCode: auth.FormatUserCode(l.UserCode), Host: l.Host, Address: l.Address,
		ExpiresAt: store.Time(l.ExpiresAt)}, nil
}

// DecideCLILogin approves or denies it in the caller's name.
func (a *api) DecideCLILogin(ctx context.Context, r DecideCLILoginRequestObject) (DecideCLILoginResponseObject, error) {
	p := principalOf(ctx)
	l, err := a.Accounts.DecideCLILogin(ctx, p, r.UserCode, r.Body.Approve)
	if err == nil && !r.Body.Approve { // one that is approved becomes a token, which is an event
		a.note(ctx, events.Event{Type: events.LoginDenied, User: p.User.ID, Data: events.Data{"address": l.Address, "host": l.Host}})
	}
	return DecideCLILogin204Response{}, err
}
