package incoming

import (
	"context"
	"errors"
	"fmt"

	"github.com/aditdev/adit/internal/devices"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
	"github.com/aditdev/adit/tunnelhub"
)

// Register is the devices that a hub has enrolled, by its tunnel.
func Register(st *store.Store, tunnel *tunnelhub.Hub) Devices {
	return register{store: st, tunnel: tunnel}
}

type register struct {
	store  *store.Store
	tunnel *tunnelhub.Hub
}

func (r register) find(ctx context.Context, ref string) (store.Device, error) {
	row, err := r.store.Read().FindDevice(ctx, ref)
	if errors.Is(err, store.ErrNotFound) {
		return row, wire.Errorf(wire.NotFound, "There is no device %s.", wire.Printable(ref, 63))
	}
	if err != nil {
		return row, fmt.Errorf("find device: %w", err)
	}
	return row, nil
}

func (r register) Find(ctx context.Context, ref string) (id, name string, err error) {
	row, err := r.find(ctx, ref)
	return row.ID, row.Name, err
}

func (r register) Online(id string) bool { return r.tunnel.Presence(id).Online }

func (r register) Commands(ctx context.Context, ref string) (Commands, error) {
	row, err := r.find(ctx, ref)
	if err != nil {
		return Commands{}, err
	}
	return commandsOf(row.Facts, row.Via == devices.ViaAgent), nil
}

func (r register) Run(ctx context.Context, id string, run wire.Run) (result wire.RunResult, err error) {
	err = r.tunnel.Call(ctx, id, wire.MethodRun, run, &result)
	return result, err
}

func (r register) Arrivals(ctx context.Context, fn func(id string)) {
	for p := range r.tunnel.Watch(ctx) {
		if p.Online {
			fn(p.Device)
		}
	}
}
