package main

import (
	"context"
	"time"

	"github.com/aditdev/adit/internal/command"
	"github.com/aditdev/adit/internal/seal"
	"github.com/aditdev/adit/internal/webhook/guard"
	"github.com/aditdev/adit/internal/webhook/incoming"
	"github.com/aditdev/adit/internal/webhook/outgoing"
)

// newOutgoing makes what delivers webhooks. serve holds the data directory's lock, so no other hub works on the queue.
func (h *hub) newOutgoing(ctx context.Context, sealer *seal.Sealer, name string) (*outgoing.Outbox, error) {
	return outgoing.New(ctx, outgoing.Options{Store: h.store, Sealer: sealer, Gate: h.gate, Events: h.events, Guard: guard.New(h.config.WebhookAllow),
		Transform: h.transforms.Apply, Log: h.log, Now: time.Now, Hub: name, Version: command.Version(), Alone: true})
}

// newHooksIn makes the door for requests of others.
func (h *hub) newHooksIn(ctx context.Context, sealer *seal.Sealer) (*incoming.Hooks, error) {
	return incoming.New(ctx, incoming.Options{Log: h.log, Now: time.Now, Store: h.store, Sealer: sealer, Events: h.events, URL: h.config.URLs[0].String(),
		Broker: h.mqtt, Transforms: h.transforms, Devices: incoming.Register(h.store, h.tunnel)})
}
