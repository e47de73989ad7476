package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aditdev/adit/internal/devices"
	"github.com/aditdev/adit/internal/seal"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/webhook/incoming"
	"github.com/aditdev/adit/internal/wire"
	"github.com/aditdev/adit/tunnelhub"
)

// newHooksIn makes the door for requests of others.
func (h *hub) newHooksIn(ctx context.Context, sealer *seal.Sealer) (*incoming.Hooks, error) {
	return incoming.New(ctx, incoming.Options{Log: h.log, Now: time.Now, Store: h.store, Sealer: sealer, Events: h.events, URL: h.config.URLs[0].String(),
		Broker: h.mqtt, Transforms: h.transforms, Devices: hookDevices{store: h.store, tunnel: h.tunnel}})
}

// hookDevices is the register and the tunnel for hooks.
type hookDevices struct {
	store  *store.Store
	tunnel *tunnelhub.Hub
}

func (d hookDevices) Find(ctx context.Context, ref string) (id, name string, err error) {
	row, err := d.store.Read().FindDevice(ctx, ref)
	if errors.Is(err, store.ErrNotFound) {
		return "", "", wire.Errorf(wire.NotFound, "There is no device %s.", wire.Printable(ref, 63))
	}
	if err != nil {
		return "", "", fmt.Errorf("find device: %w", err)
	}
	return row.ID, row.Name, nil
}

func (d hookDevices) Online(id string) bool { return d.tunnel.Presence(id).Online }

func (d hookDevices) Commands(ctx context.Context, ref string) (incoming.Commands, error) {
	row, err := d.store.Read().FindDevice(ctx, ref)
	if errors.Is(err, store.ErrNotFound) {
		return incoming.Commands{}, wire.Errorf(wire.NotFound, "There is no device %s.", wire.Printable(ref, 63))
	}
	if err != nil {
		return incoming.Commands{}, fmt.Errorf("find device: %w", err)
	}
	return incoming.CommandsOf(row.Facts, row.Via == devices.ViaAgent), nil
}

func (d hookDevices) Run(ctx context.Context, id string, run wire.Run) (result wire.RunResult, err error) {
	err = d.tunnel.Call(ctx, id, wire.MethodRun, run, &result)
	return result, err
}

func (d hookDevices) Arrivals(ctx context.Context, fn func(id string)) {
	for p := range d.tunnel.Watch(ctx) {
		if p.Online {
			fn(p.Device)
		}
	}
}
