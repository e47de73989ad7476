package devices

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"

	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

// CheckStock fails, with what is wrong for the log, unless id is a device that comes by stock OpenSSH with this key and
// may be here.
func (r *Registry) CheckStock(ctx context.Context, id string, key ed25519.PublicKey) error {
	d, err := r.Store.Read().GetDevice(ctx, id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return wire.Errorf(wire.Unauthenticated, "This hub knows no such device.")
	case err != nil:
		return fmt.Errorf("find device: %w", err)
	case d.PublicKey != wire.EncodeKey(key):
		return wire.Errorf(wire.Unauthenticated, "This is not the device's key.")
	case d.Via != ViaOpenSSH:
		return wire.Errorf(wire.Forbidden, "This device comes by our agent.")
	case d.Status == "pending":
		return wire.Errorf(wire.Offline, "This device waits for approval on its page.")
	case d.Status != "active":
		return wire.Errorf(wire.Forbidden, "This device is blocked.")
	}
	return nil
}
