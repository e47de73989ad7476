package rootpassword

import (
	"context"
	"fmt"
	"time"

	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

const (
	lookEvery = 2 * time.Second
	tryAgain  = time.Minute
)

// Run gives a first password to devices whose install code asked for one, when they are online, until ctx ends.
func (v *Vault) Run(ctx context.Context) error {
	tried := map[string]time.Time{}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		if err := v.first(ctx, tried); err != nil && ctx.Err() == nil {
			v.Log.Error("no first passwords set", "cause", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (v *Vault) first(ctx context.Context, tried map[string]time.Time) error {
	due, err := v.Store.Read().DevicesDueRootPassword(ctx)
	if err != nil {
		return fmt.Errorf("list devices that wait for a password: %w", err)
	}
	for _, id := range due {
		if ctx.Err() != nil || time.Since(tried[id]) < tryAgain || !v.Online(id) {
			continue
		}
		tried[id] = time.Now()
		if err := v.firstOf(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// firstOf tries once. What the device refuses it will refuse again: then only a person asks anew.
func (v *Vault) firstOf(ctx context.Context, id string) error {
	d, err := v.Store.Read().GetDevice(ctx, id)
	if err != nil {
		return fmt.Errorf("find device: %w", err)
	}
	if err := v.Rotate(ctx, d, ""); err != nil {
		v.Log.Warn("first password of root not set", "device", id, "cause", err)
		if code := wire.CodeOf(err); code != wire.Forbidden && code != wire.NotFound {
			return nil
		}
	}
	return v.Store.Write(ctx, func(q *store.Queries) error {
		return q.SetRootPasswordDue(ctx, store.SetRootPasswordDueParams{ID: id, Due: false})
	})
}
