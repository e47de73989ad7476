package agent

import (
	"context"
	"crypto/ed25519"
	"os"
	"os/signal"
	"syscall"

	"github.com/aditdev/adit/internal/wire"
)

func signalContext() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
}

func encodeKey(key ed25519.PublicKey) string { return wire.EncodeKey(key) }
