package main

import (
	"context"
	"time"

	"github.com/aditdev/adit/internal/command"
	"github.com/aditdev/adit/internal/seal"
	"github.com/aditdev/adit/internal/webhook/guard"
	"github.com/aditdev/adit/internal/webhook/outgoing"
)

// newOutgoing makes what delivers webhooks. serve holds the data directory's lock, so no other hub works on the queue.
func (h *hub) newOutgoing(ctx context.Context, sealer *seal.Sealer, name string) (err error) {
	h.outgoing, err = outgoing.New(ctx, outgoing.Options{Store: h.store, Sealer: sealer, Gate: h.gate, Events: h.events, Guard: guard.New(h.config.WebhookAllow),
		Transform: h.transforms.Apply, Log: h.log, Now: time.Now, Hub: name, Version: command.Version(), Alone: true})
	return err
}
