package handlers

import (
	"context"
	"errors"
	"time"

	"github.com/aditdev/adit/internal/devices"
	"github.com/aditdev/adit/internal/seal"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/webhook/incoming"
	"github.com/aditdev/adit/internal/wire"
	"github.com/aditdev/adit/tunnelhub"
)

// hooksIn is the door of hooks.
func (r *rig) hooksIn(ctx context.Context, o *Options) {
	sealer, err := seal.New(seal.NewSecret())
	r.must(err)
	o.HooksIn, err = incoming.New(ctx, incoming.Options{Log: o.Log, Now: time.Now, Store: o.Store, Sealer: sealer, Events: o.Events, URL: r.url,
		Broker: o.MQTT, Transforms: o.Transforms, Devices: rigDevices{store: o.Store, tunnel: o.Tunnel}})
	r.must(err)
}

// rigDevices is the register and the tunnel, as the hub gives them to hooks.
type rigDevices struct {
	store  *store.Store
	tunnel *tunnelhub.Hub
}

func (d rigDevices) Find(ctx context.Context, ref string) (id, name string, err error) {
	row, err := d.store.Read().FindDevice(ctx, ref)
	if errors.Is(err, store.ErrNotFound) {
		return "", "", wire.Errorf(wire.NotFound, "There is no device %s.", ref)
	}
	return row.ID, row.Name, err
}

func (d rigDevices) Online(id string) bool { return d.tunnel.Presence(id).Online }

func (d rigDevices) Commands(ctx context.Context, ref string) (incoming.Commands, error) {
	row, err := d.store.Read().FindDevice(ctx, ref)
	if errors.Is(err, store.ErrNotFound) {
		return incoming.Commands{}, wire.Errorf(wire.NotFound, "There is no device %s.", ref)
	}
	return incoming.CommandsOf(row.Facts, row.Via == devices.ViaAgent), err
}

func (d rigDevices) Run(ctx context.Context, id string, run wire.Run) (result wire.RunResult, err error) {
	err = d.tunnel.Call(ctx, id, wire.MethodRun, run, &result)
	return result, err
}

func (d rigDevices) Arrivals(ctx context.Context, fn func(id string)) {
	for p := range d.tunnel.Watch(ctx) {
		if p.Online {
			fn(p.Device)
		}
	}
}
