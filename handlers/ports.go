package handlers

import (
	"context"

	"github.com/aditdev/adit/internal/ports"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

// ListPorts lists the dedicated ports of the devices in the caller's view.
func (a *api) ListPorts(ctx context.Context, r ListPortsRequestObject) (ListPortsResponseObject, error) {
	p, device := principalOf(ctx), ""
	if ref := value(r.Params.Device); ref != "" {
		d, err := a.Devices.Find(ctx, p, ref)
		if err != nil {
			return nil, err
		}
		device = d.ID
	}
	views, err := a.Ports.List(ctx)
	if err != nil {
		return nil, err
	}
	if err := a.Gate.Refresh(ctx); err != nil {
		return nil, err
	}
	policy, now, out := a.Gate.Policy(), a.Now(), ListPorts200JSONResponse{}
	for _, v := range views {
		if (device == "" || v.TCPPort.DeviceID == device) && policy.Sees(p.User.ID, v.TCPPort.DeviceID, now) {
			out = append(out, apiPort(v))
		}
	}
	return out, nil
}

// AddPort reserves a port.
func (a *api) AddPort(ctx context.Context, r AddPortRequestObject) (AddPortResponseObject, error) {
	p := principalOf(ctx)
	d, err := a.Devices.Find(ctx, p, r.Body.Device)
	if err != nil {
		return nil, err
	}
	target, err := wire.ParseTarget(string(r.Body.Target))
	if err != nil {
		return nil, err
	}
	v, err := a.Ports.Reserve(ctx, p, d, target, value(r.Body.Port))
	if err != nil {
		return nil, err
	}
	return AddPort201JSONResponse(apiPort(v)), nil
}

// RemovePort gives a port back.
func (a *api) RemovePort(ctx context.Context, r RemovePortRequestObject) (RemovePortResponseObject, error) {
	return RemovePort204Response{}, a.Ports.Release(ctx, principalOf(ctx), r.Port)
}

func apiPort(v ports.View) Port {
	out := Port{Port: int(v.TCPPort.Port), Address: v.Address, DeviceID: v.TCPPort.DeviceID, DeviceName: v.DeviceName,
		Target: Target(v.TCPPort.Target), UserHandle: v.UserHandle, CreatedAt: store.Time(v.TCPPort.CreatedAt), Listening: v.Listening}
	if v.Cause != nil {
		out.Cause = some(wire.MessageOf(v.Cause))
	}
	return out
}
