package hubkeys

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

const (
	tellEvery  = time.Second      // between looks for devices to tell, while a key is replaced
	idleEvery  = time.Minute      // and otherwise: one may have been away when it ended
	tellAtOnce = 16               // calls
	tellWithin = 10 * time.Second // that an answer takes
	tellAgain  = time.Minute      // after one that failed: an agent may be too old, or its disk full
)

// Line is how devices are reached.
type Line struct {
	Log    *slog.Logger
	Online func(device string) bool
	Call   func(ctx context.Context, device, method string, params, result any) error
}

// teller moves devices on to the keys that they are to pin.
type teller struct {
	*Keys
	Line
	failed map[string]time.Time
	looked time.Time
}

// Run follows the keys in the database and tells devices of them until ctx ends.
func (k *Keys) Run(ctx context.Context, l Line) error {
	var g errgroup.Group
	g.Go(func() error { return k.store.Follow(ctx, k.Reload) })
	g.Go(func() error {
		t := &teller{Keys: k, Line: l, failed: map[string]time.Time{}}
		t.run(ctx)
		return nil
	})
	return g.Wait()
}

func (t *teller) run(ctx context.Context) {
	tick := time.NewTicker(tellEvery)
	defer tick.Stop()
	for {
		if t.Ring().rotating() || time.Since(t.looked) >= idleEvery {
			t.looked = time.Now()
			if err := t.look(ctx); err != nil && ctx.Err() == nil {
				t.Log.Error("devices not told of the hub's keys", "cause", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// look tells every device that is online and not where it is to be.
func (t *teller) look(ctx context.Context) error {
	ring := t.Ring()
	rotating := int64(0)
	if ring.rotating() {
		rotating = 1
	}
	rows, err := t.store.Read().DevicesWithOtherHubKeys(ctx, store.DevicesWithOtherHubKeysParams{HubKeys: ring.Final(), Rotating: rotating})
	if err != nil {
		return fmt.Errorf("list devices to tell: %w", err)
	}
	rows = slices.DeleteFunc(rows, func(row store.DevicesWithOtherHubKeysRow) bool {
		return time.Since(t.failed[row.ID]) < tellAgain || !t.Online(row.ID)
	})
	results := make([]error, len(rows))
	var g errgroup.Group
	g.SetLimit(tellAtOnce)
	for i, row := range rows {
		g.Go(func() error { results[i] = t.tell(ctx, ring, row); return nil })
	}
	_ = g.Wait() // each has its result
	for i, err := range results {
		delete(t.failed, rows[i].ID)
		if err != nil && ctx.Err() == nil {
			t.failed[rows[i].ID] = time.Now()
			t.Log.Info("device did not take the hub's keys", "device", rows[i].ID, "cause", err)
		}
	}
	return nil
}

// tell moves a device one step on, and notes that it has taken it: this machine, not one that took its place meanwhile.
func (t *teller) tell(ctx context.Context, ring Ring, d store.DevicesWithOtherHubKeysRow) error {
	ctx, cancel := context.WithTimeout(ctx, tellWithin)
	defer cancel()
	want := ring.Target(d.HubKeys)
	if err := t.Call(ctx, d.ID, wire.MethodHubKeys, wire.HubKeys{Keys: strings.Fields(want)}, nil); err != nil {
		return err
	}
	return t.store.Write(ctx, func(q *store.Queries) error {
		return q.SetDeviceHubKeys(ctx, store.SetDeviceHubKeysParams{ID: d.ID, PublicKey: d.PublicKey, HubKeys: want})
	})
}
