package handlers

import (
	"context"

	"github.com/aditdev/adit/internal/events"
)

// GetRetention says how long the hub keeps what it logs.
func (a *api) GetRetention(ctx context.Context, _ GetRetentionRequestObject) (GetRetentionResponseObject, error) {
	r, err := a.Events.Retention(ctx)
	return GetRetention200JSONResponse(apiRetention(r)), err
}

// PutRetention sets that. The next sweep goes by it: of events within ten minutes, of requests and deliveries within one.
func (a *api) PutRetention(ctx context.Context, r PutRetentionRequestObject) (PutRetentionResponseObject, error) {
	p, b := principalOf(ctx), r.Body
	wanted := events.Retention{EventsDays: b.EventsDays, DeliveriesDays: b.DeliveriesDays, DeadDays: b.DeadDays,
		RequestsDays: b.RequestsDays, MaxBytes: b.MaxBytes, MaxMessages: b.MaxMessages}
	if err := a.Events.SetRetention(ctx, wanted, p.User.ID, p.User.Handle); err != nil {
		return nil, err
	}
	return PutRetention200JSONResponse(apiRetention(wanted)), nil
}

func apiRetention(r events.Retention) Retention {
	return Retention{EventsDays: r.EventsDays, DeliveriesDays: r.DeliveriesDays, DeadDays: r.DeadDays, RequestsDays: r.RequestsDays,
		MaxBytes: r.MaxBytes, MaxMessages: r.MaxMessages}
}
