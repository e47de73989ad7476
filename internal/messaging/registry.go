package messaging

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

// Options make a Registry; every field but Noted must be set.
type Options struct {
	Log    *slog.Logger
	Now    func() time.Time
	Store  *store.Store
	Gate   *auth.Gate
	Events *events.Log
	Noted  *events.Queue // takes refusals
	// TokenKey signs people's short-lived tokens: 32 bytes that every hub on this database has. Only who makes or takes
	// tokens needs it.
	TokenKey []byte
}

// Registry is who may speak MQTT and of what: credentials, tokens, rules. It is the Access of brokers, and safe for
// concurrent use.
type Registry struct {
	Options
	byPlace   *auth.Limiter // tries of a username from one network
	byAddress *auth.Limiter // tries from one network
	touched   *auth.Limiter // one note of last use per credential and minute
	slow      chan struct{} // slots for hashes that are made to be slow
	replies   pending
}

var _ Access = (*Registry)(nil)

// New makes a Registry.
func New(o Options) *Registry {
	return &Registry{Options: o,
		byPlace:   auth.NewLimiter(20, 30*time.Second, o.Now),
		byAddress: auth.NewLimiter(200, time.Second, o.Now),
		touched:   auth.NewLimiter(1, time.Minute, o.Now),
		slow:      make(chan struct{}, 2),
		replies:   pending{waiting: map[string]string{}, byUser: map[string]int{}},
	}
}

// findDevice resolves an id or a name.
func (r *Registry) findDevice(ctx context.Context, ref string) (store.Device, error) {
	d, err := r.Store.Read().FindDevice(ctx, ref)
	if errors.Is(err, store.ErrNotFound) {
		return d, wire.Errorf(wire.NotFound, "There is no device %s.", wire.Printable(ref, 63))
	}
	if err != nil {
		return d, fmt.Errorf("find device: %w", err)
	}
	return d, nil
}

// findUser resolves an id, an e-mail or a handle.
func (r *Registry) findUser(ctx context.Context, ref string) (store.User, error) {
	u, err := r.Store.Read().FindUser(ctx, ref)
	if errors.Is(err, store.ErrNotFound) {
		return u, wire.Errorf(wire.NotFound, "There is no user %s.", wire.Printable(ref, 100))
	}
	if err != nil {
		return u, fmt.Errorf("find user: %w", err)
	}
	return u, nil
}

func (r *Registry) millis() int64 { return store.Millis(r.Now()) }

func orNil(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
