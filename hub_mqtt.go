package main

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"time"

	"github.com/aditdev/adit/internal/broker"
	"github.com/aditdev/adit/internal/messaging"
)

// newMQTT makes the broker and what stands before it.
func (h *hub) newMQTT(ctx context.Context, k keys) (*messaging.Exchange, error) {
	if h.config.MQTTBackend != nil {
		return nil, errors.New("ADIT_MQTT_BACKEND: this version does not serve it yet; remove it")
	}
	registry := messaging.New(messaging.Options{Log: h.log, Now: time.Now, Store: h.store, Gate: h.gate, Events: h.events, TokenKey: k.mqttTokens})
	b, err := broker.New(ctx, broker.Options{Access: registry, Store: h.store, Log: h.log, Now: time.Now})
	if err != nil {
		return nil, err
	}
	return messaging.NewExchange(messaging.ExchangeOptions{Log: h.log, Now: time.Now, Registry: registry, Backend: b, RunBackend: b.Run,
		Name: hubLevel(k.tunnel.Public().(ed25519.PublicKey)), Dial: h.tunnel.Dial, Online: h.tunnel.Online}), nil
}

// hubLevel is what a hub calls itself in topics: other hubs on the same broker have other keys.
func hubLevel(key ed25519.PublicKey) string {
	sum := sha256.Sum256(key)
	return hex.EncodeToString(sum[:6])
}
