package handlers

import (
	"context"
	"time"

	"github.com/aditdev/adit/internal/seal"
	"github.com/aditdev/adit/internal/webhook/incoming"
)

// hooksIn is the door of hooks.
func (r *rig) hooksIn(ctx context.Context, o *Options) {
	sealer, err := seal.New(seal.NewSecret())
	r.must(err)
	o.HooksIn, err = incoming.New(ctx, incoming.Options{Log: o.Log, Now: time.Now, Store: o.Store, Sealer: sealer, Events: o.Events, URL: r.url,
		Broker: o.MQTT, Transforms: o.Transforms, Devices: incoming.Register(o.Store, o.Tunnel)})
	r.must(err)
}
