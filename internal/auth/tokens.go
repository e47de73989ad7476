package auth

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

// Token is a new API token, shown once.
type Token struct {
	ID, Secret string
	Name       string
	Scope      access.Scope
	Expires    time.Time
}

// TokenRequest is what somebody wants a token to be.
type TokenRequest struct {
	Name  string
	Scope access.Scope  // empty: all that the maker may
	Life  time.Duration // 0: TokenLife
}

// maxTokenLife bounds what anybody may ask for.
const maxTokenLife = 5 * 365 * 24 * time.Hour

// CreateToken makes an API token for a user.
func (a *Accounts) CreateToken(ctx context.Context, user string, r TokenRequest) (Token, error) {
	return a.createToken(ctx, &Principal{User: store.User{ID: user}, Scope: access.ScopeAll}, r)
}

// CreateTokenBy is CreateToken for the principal. A token that is made by a token does not outlive its maker, and may
// nothing that its maker may not: else whoever stole one for an hour had one for years.
func (a *Accounts) CreateTokenBy(ctx context.Context, p *Principal, r TokenRequest) (Token, error) {
	return a.createToken(ctx, p, r)
}

func (a *Accounts) createToken(ctx context.Context, maker *Principal, r TokenRequest) (Token, error) {
	r, err := r.checked(maker)
	if err != nil {
		return Token{}, err
	}
	now := a.now()
	t := Token{ID: store.NewID("tok"), Name: r.Name, Secret: TokenPrefix + newSecret(), Scope: r.Scope, Expires: now.Add(r.Life)}
	if !maker.Until.IsZero() && t.Expires.After(maker.Until) {
		t.Expires = maker.Until
	}
	err = a.gate.Change(ctx, func(q *store.Queries) error {
		return q.CreateToken(ctx, store.CreateTokenParams{ID: t.ID, UserID: maker.User.ID, Name: r.Name, Scope: string(r.Scope),
			SecretHash: Hash(t.Secret), CreatedAt: store.Millis(now), ExpiresAt: store.Millis(t.Expires)})
	})
	if err != nil {
		return Token{}, fmt.Errorf("make token: %w", err)
	}
	return t, nil
}

// checked fills in what was left out.
func (r TokenRequest) checked(maker *Principal) (TokenRequest, error) {
	if r.Life == 0 {
		r.Life = TokenLife
	}
	if r.Scope == "" {
		r.Scope = maker.Scope
	}
	r.Name = wire.Printable(strings.TrimSpace(r.Name), 100)
	switch {
	case r.Life < time.Minute || r.Life > maxTokenLife:
		return r, wire.Errorf(wire.Invalid, "A token lives between one minute and five years.")
	case r.Name == "":
		return r, wire.Errorf(wire.Invalid, "Give the token a name, so that you know later which one to revoke.")
	case !r.Scope.Valid():
		return r, wire.Errorf(wire.Invalid, "%q is no scope: all, connect or read.", r.Scope)
	case !maker.Scope.Holds(r.Scope):
		return r, wire.Errorf(wire.Forbidden, "A token makes none that may more than itself, and the scope of this one is %s.", maker.Scope)
	}
	return r, nil
}

// ByToken finds who an API token belongs to, or fails with Unauthenticated.
func (a *Accounts) ByToken(ctx context.Context, token string) (*Principal, error) {
	unknown := wire.Errorf(wire.Unauthenticated, "This token is unknown, revoked or expired. Make a new one, or run: adit login")
	if !strings.HasPrefix(token, TokenPrefix) || len(token) > 100 {
		return nil, unknown
	}
	now := store.Millis(a.now())
	row, err := a.store.Read().FindToken(ctx, store.FindTokenParams{SecretHash: Hash(token), Now: now})
	if errors.Is(err, store.ErrNotFound) {
		return nil, unknown
	}
	if err != nil {
		return nil, fmt.Errorf("find token: %w", err)
	}
	if a.touched.Allow(row.Token.ID) {
		// A disk that takes no writes must not lock people out; the note of last use is only for the list.
		_ = a.store.Write(ctx, func(q *store.Queries) error {
			return q.TouchToken(ctx, store.TouchTokenParams{ID: row.Token.ID, LastUsedAt: &now})
		})
	}
	return &Principal{User: row.User, Credential: row.Token.ID, Until: store.Time(row.Token.ExpiresAt),
		Scope: access.Scope(row.Token.Scope)}, nil
}

// RevokeToken ends a token of the principal's own and what runs by it.
func (a *Accounts) RevokeToken(ctx context.Context, p *Principal, id string) error {
	return a.gate.Change(ctx, func(q *store.Queries) error {
		n, err := q.RevokeTokenFor(ctx, store.RevokeTokenForParams{ID: id, Principal: p.User.ID})
		if err == nil && n == 0 {
			return wire.Errorf(wire.NotFound, "You have no token with this id.")
		}
		return err
	})
}
