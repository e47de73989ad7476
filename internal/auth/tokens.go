package auth

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

// Token is a new API token, shown once.
type Token struct {
	ID, Secret string
	Expires    time.Time
}

// maxTokenLife bounds what anybody may ask for.
const maxTokenLife = 5 * 365 * 24 * time.Hour

// CreateToken makes an API token for a user; life 0 means TokenLife.
func (a *Accounts) CreateToken(ctx context.Context, user, name string, life time.Duration) (Token, error) {
	return a.createToken(ctx, user, name, life, time.Time{})
}

// CreateTokenBy is CreateToken for the principal. A token that is made by a token does not outlive its maker: else
// whoever stole one for an hour had one for years.
func (a *Accounts) CreateTokenBy(ctx context.Context, p *Principal, name string, life time.Duration) (Token, error) {
	return a.createToken(ctx, p.User.ID, name, life, p.Until)
}

func (a *Accounts) createToken(ctx context.Context, user, name string, life time.Duration, until time.Time) (Token, error) {
	if life == 0 {
		life = TokenLife
	}
	if life < time.Minute || life > maxTokenLife {
		return Token{}, wire.Errorf(wire.Invalid, "A token lives between one minute and five years.")
	}
	name = wire.Printable(strings.TrimSpace(name), 100)
	if name == "" {
		return Token{}, wire.Errorf(wire.Invalid, "Give the token a name, so that you know later which one to revoke.")
	}
	now := a.now()
	t := Token{ID: store.NewID("tok"), Secret: TokenPrefix + newSecret(), Expires: now.Add(life)}
	if !until.IsZero() && t.Expires.After(until) {
		t.Expires = until
	}
	err := a.gate.Change(ctx, func(q *store.Queries) error {
		return q.CreateToken(ctx, store.CreateTokenParams{ID: t.ID, UserID: user, Name: name, SecretHash: Hash(t.Secret),
			CreatedAt: store.Millis(now), ExpiresAt: store.Millis(t.Expires)})
	})
	if err != nil {
		return Token{}, fmt.Errorf("make token: %w", err)
	}
	return t, nil
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
	return &Principal{User: row.User, Credential: row.Token.ID, Until: store.Time(row.Token.ExpiresAt)}, nil
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
