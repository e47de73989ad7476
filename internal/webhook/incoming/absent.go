package incoming

import (
	"context"
	"sync"

	"github.com/aditdev/adit/internal/store"
)

// absent are the devices that something waits for.
type absent struct {
	mu      sync.Mutex
	devices map[string]bool
}

func (a *absent) add(device string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.devices[device] = true
}

// take reports whether something waits for a device, and forgets it.
func (a *absent) take(device string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	waits := a.devices[device]
	delete(a.devices, device)
	return waits
}

// recallAbsent knows after a restart for which devices something waits.
func (h *Hooks) recallAbsent(ctx context.Context) error {
	devices, err := h.Store.Read().DevicesOfWaitingHooks(ctx)
	for _, device := range devices {
		h.absent.add(device)
		if h.Devices.Online(device) {
			h.arrived(device)
		}
	}
	return err
}

// arrived makes due what waits for a device.
func (h *Hooks) arrived(device string) {
	if !h.absent.take(device) {
		return
	}
	err := h.Store.WriteTogether(context.Background(), func(q *store.Queries) error {
		return q.WakeHookRequests(context.Background(), store.WakeHookRequestsParams{DeviceID: device, Now: h.millis()})
	})
	if err != nil {
		h.Log.Error("what waits for a device was not woken", "device", device, "cause", err)
	}
	h.rouse()
}
