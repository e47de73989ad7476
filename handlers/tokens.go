package handlers

import (
	"context"
	"fmt"
	"time"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/auth"
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
	return CreateToken201JSONResponse{ID: t.ID, Token: t.Secret, Scope: TokenScope(t.Scope), ExpiresAt: t.Expires.UTC()}, nil
}

// RevokeToken ends an own token.
func (a *api) RevokeToken(ctx context.Context, r RevokeTokenRequestObject) (RevokeTokenResponseObject, error) {
	return RevokeToken204Response{}, a.Accounts.RevokeToken(ctx, principalOf(ctx), r.TokenID)
}
