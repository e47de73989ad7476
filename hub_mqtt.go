package main

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/aditdev/adit/internal/broker"
	"github.com/aditdev/adit/internal/broker/external"
	"github.com/aditdev/adit/internal/messaging"
)

// newMQTT makes the broker, or the way to an external one, and what stands before it.
func (h *hub) newMQTT(ctx context.Context, k keys) (*messaging.Exchange, error) {
	registry := messaging.New(messaging.Options{Log: h.log, Now: time.Now, Store: h.store, Gate: h.gate, Events: h.events, Noted: h.noted,
		TokenKey: k.mqttTokens})
	o := messaging.ExchangeOptions{Log: h.log, Now: time.Now, Registry: registry,
		Name: hubLevel(k.userCA.Public().(ed25519.PublicKey)), Dial: h.tunnel.Dial, Online: h.tunnel.Online}
	if h.config.MQTTBackend != nil {
		b, err := external.New(external.Options{URL: h.config.MQTTBackend, Name: o.Name, Access: registry, Log: h.log, Store: h.store, Taker: h.outgoing,
			Refused: registry.Refused})
		if err != nil {
			return nil, fmt.Errorf("ADIT_MQTT_BACKEND: %w", err)
		}
		o.Backend, o.RunBackend = b, b.Run
		return messaging.NewExchange(o), nil
	}
	b, err := broker.New(ctx, broker.Options{Access: registry, Store: h.store, Log: h.log, Now: time.Now, Taker: h.outgoing, Refused: registry.Refused})
	if err != nil {
		return nil, err
	}
	o.Backend, o.RunBackend = b, b.Run
	return messaging.NewExchange(o), nil
}

// hubLevel is what a hub calls itself in topics, by its user CA, which no rotation changes: other hubs on the same broker
// have others.
func hubLevel(key ed25519.PublicKey) string {
	sum := sha256.Sum256(key)
	return hex.EncodeToString(sum[:6])
}
