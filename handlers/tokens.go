package handlers

import (
	"context"
	"fmt"
	"time"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/store"
)

// ListTokens lists the own API tokens.
func (a *api) ListTokens(ctx context.Context, _ ListTokensRequestObject) (ListTokensResponseObject, error) {
	rows, err := a.Store.Read().ListTokensFor(ctx, principalOf(ctx).User.ID)
	if err != nil {
		return nil, fmt.Errorf("list tokens: %w", err)
	}
	out := make(ListTokens200JSONResponse, 0, len(rows))
	for _, t := range rows {
		expires := store.Time(t.ExpiresAt)
		out = append(out, Token{ID: t.ID, Name: t.Name, Scope: TokenScope(t.Scope), CreatedAt: store.Time(t.CreatedAt), ExpiresAt: &expires,
			LastUsedAt: store.TimeOf(t.LastUsedAt)})
	}
	return out, nil
}

// CreateToken makes an API token.
func (a *api) CreateToken(ctx context.Context, r CreateTokenRequestObject) (CreateTokenResponseObject, error) {
	t, err := a.Accounts.CreateTokenBy(ctx, principalOf(ctx), auth.TokenRequest{Name: r.Body.Name,
		Scope: access.Scope(value(r.Body.Scope)), Life: time.Duration(value(r.Body.ExpiresIn)) * time.Second})
	if err != nil {
		return nil, err
	}
	p := principalOf(ctx)
	a.note(ctx, tokenCreated(t, p.User.ID, p.User.Handle))
	return CreateToken201JSONResponse{ID: t.ID, Token: t.Secret, Scope: TokenScope(t.Scope), ExpiresAt: t.Expires.UTC()}, nil
}

// RevokeToken ends an own token.
func (a *api) RevokeToken(ctx context.Context, r RevokeTokenRequestObject) (RevokeTokenResponseObject, error) {
	p := principalOf(ctx)
	if err := a.Accounts.RevokeToken(ctx, p, r.TokenID); err != nil {
		return nil, err
	}
	a.note(ctx, events.Event{Type: events.TokenRevoked, User: p.User.ID, Data: events.Data{"token_id": r.TokenID, "by": p.User.Handle}})
	return RevokeToken204Response{}, nil
}

func tokenCreated(t auth.Token, user, by string) events.Event {
	return events.Event{Type: events.TokenCreated, User: user, Data: events.Data{"token_id": t.ID, "name": t.Name, "scope": string(t.Scope),
		"expires_at": t.Expires.UTC(), "by": by}}
}
