package handlers

import (
	"context"
	"math"
	"time"

	"github.com/aditdev/adit/internal/devices"
	"github.com/aditdev/adit/internal/wire"
)

// metricsWithin bounds how long a page waits for a device's figures.
const metricsWithin = 5 * time.Second

// GetMetrics asks the device how it fares.
func (a *api) GetMetrics(ctx context.Context, r GetMetricsRequestObject) (GetMetricsResponseObject, error) {
	d, err := a.Devices.Find(ctx, principalOf(ctx), r.Device)
	if err != nil {
		return nil, err
	}
	if d.Via == devices.ViaOpenSSH {
		return nil, wire.Errorf(wire.NotFound, "%s comes by stock OpenSSH, which tells no metrics; our agent does.", d.Name)
	}
	if !a.Tunnel.Presence(d.ID).Online {
		return nil, wire.Errorf(wire.Offline, "%s is offline.", d.Name)
	}
	ctx, cancel := context.WithTimeout(ctx, metricsWithin)
	defer cancel()
	var m Metrics
	if err := a.Tunnel.Call(ctx, d.ID, wire.MethodMetrics, struct{}{}, &m); err != nil {
		return nil, err
	}
	return GetMetrics200JSONResponse(sane(m)), nil
}

// sane keeps of a device's load averages what the API promises: they are a stranger's.
func sane(m Metrics) Metrics {
	if m.Load != nil && len(*m.Load) != 3 {
		m.Load = nil
	}
	if m.CPUBusy != nil {
		m.CPUBusy = new(math.Max(0, math.Min(1, *m.CPUBusy)))
	}
	return m
}
