package auth

import (
	"context"
	"errors"
	"fmt"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

var errLink = wire.Errorf(wire.Unauthenticated,
	"This link was used already or is too old. Links work once; ask for a new one with: adit-hub user reset")

// NeedsOwner reports whether the hub waits for its owner.
func (a *Accounts) NeedsOwner(ctx context.Context) (bool, error) {
	has, err := a.store.Read().HasOwner(ctx)
	return !has, err
}

// NewSetupLink makes the secret with which the first owner is made, and ends earlier ones.
func (a *Accounts) NewSetupLink(ctx context.Context) (string, error) {
	secret, now := newSecret(), a.now()
	err := a.store.Write(ctx, func(q *store.Queries) error {
		if err := q.DropSetupLinks(ctx); err != nil {
			return err
		}
		return q.CreateLoginLink(ctx, store.CreateLoginLinkParams{SecretHash: Hash(secret),
			CreatedAt: store.Millis(now), ExpiresAt: store.Millis(now.Add(SetupLife))})
	})
	return secret, err
}

// CreateOwner makes the owner with the set-up link's secret and signs them in. The link dies with it, and only with it:
// an e-mail that does not parse leaves it whole.
func (a *Accounts) CreateOwner(ctx context.Context, secret, email, password string, where Where) (*Principal, string, error) {
	if !a.byAddress.Allow(Network(where.Address)) {
		return nil, "", errTries
	}
	if err := checkNew(password); err != nil {
		return nil, "", err
	}
	row, err := a.userRow(ctx, NewUser{Email: email, Password: password, Role: access.Owner})
	if err != nil {
		return nil, "", err
	}
	var user store.User
	err = a.gate.Change(ctx, func(q *store.Queries) error {
		if _, err := q.TakeSetupLink(ctx, store.TakeSetupLinkParams{SecretHash: Hash(secret), Now: row.CreatedAt}); err != nil {
			return noRow(err, errLink)
		}
		if has, err := q.HasOwner(ctx); err != nil || has {
			return errors.Join(err, wire.Errorf(wire.Conflict, "This hub has its owner already. Sign in instead."))
		}
		user, err = insertUser(ctx, q, row, true)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	return a.beginSession(ctx, user, false, where)
}

// NewLoginLink makes the secret of a one-time sign-in link for a user.
func (a *Accounts) NewLoginLink(ctx context.Context, user string) (string, error) {
	secret, now := newSecret(), a.now()
	err := a.store.Write(ctx, func(q *store.Queries) error {
		return q.CreateLoginLink(ctx, store.CreateLoginLinkParams{SecretHash: Hash(secret), UserID: &user,
			CreatedAt: store.Millis(now), ExpiresAt: store.Millis(now.Add(LinkLife))})
	})
	if err != nil {
		return "", fmt.Errorf("make sign-in link: %w", err)
	}
	return secret, nil
}

// LoginByLink takes a one-time link and begins a login session. The link is gone at once, whatever comes after.
func (a *Accounts) LoginByLink(ctx context.Context, secret string, where Where) (*Principal, string, error) {
	if !a.byAddress.Allow(Network(where.Address)) {
		return nil, "", errTries
	}
	var link store.LoginLink
	err := a.store.Write(ctx, func(q *store.Queries) (err error) {
		link, err = q.TakeLoginLink(ctx, store.TakeLoginLinkParams{SecretHash: Hash(secret), Now: store.Millis(a.now())})
		return err
	})
	if err != nil {
		return nil, "", noRow(err, errLink)
	}
	user, err := a.store.Read().GetUser(ctx, *link.UserID)
	if err != nil || user.Disabled {
		return nil, "", errors.Join(noRow(err, errLink), errLink)
	}
	return a.beginSession(ctx, user, true, where)
}

// noRow turns "no such row" into the Error that tells a person why.
func noRow(err error, say *wire.Error) error {
	if errors.Is(err, store.ErrNotFound) {
		return say
	}
	return err
}
