package stream

import (
	"context"
	"errors"
	"net"

	"github.com/aditdev/adit/internal/wire"
)

// DeviceOptions refine DialDevice. The zero value will do.
type DeviceOptions struct {
	Dialer  Dialer            // proxy, CA file, address override
	Waiting func(cause error) // told when the stream lost its hub and waits for it; nil while all is well again. May be nil
}

// DialDevice opens a stream to a target on a device through the hub's door, and returns it as a net.Conn that also has
// CloseWrite. The stream outlives the hub's restart, a change of network and a laptop's sleep: for up to
// wire.ResumeFor it is taken up again without the caller noticing more than a pause. Errors are *wire.Error: offline,
// forbidden, not_found, …, or a *DialError that says why the hub was not reached. The caller closes it.
//
// hubURL is the hub's URL (https://hub.example.com), device an id or a name. ctx bounds the opening only.
func DialDevice(ctx context.Context, hubURL, token, device string, target wire.Target, opts DeviceOptions) (net.Conn, error) {
	return nil, errors.New("not built yet")
}
