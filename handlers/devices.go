package handlers

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/devices"
	"github.com/aditdev/adit/internal/store"
)

// ListDevices lists the devices in the caller's view.
func (a *api) ListDevices(ctx context.Context, r ListDevicesRequestObject) (ListDevicesResponseObject, error) {
	p := principalOf(ctx)
	rows, err := a.Devices.List(ctx, p)
	if err != nil {
		return nil, err
	}
	policy, out := a.Gate.Policy(), make(ListDevices200JSONResponse, 0, len(rows))
	for _, d := range rows {
		if r.Params.Status != nil && string(*r.Params.Status) != d.Status {
			continue
		}
		if r.Params.Tag != nil && !slices.Contains(policy.Devices[d.ID].Tags, *r.Params.Tag) {
			continue
		}
		brief := a.apiDevice(p, d)
		if brief.Facts != nil { // what only a device's own page shows
			brief.Facts.Services, brief.Facts.Policy = nil, nil
		}
		out = append(out, brief)
	}
	return out, nil
}

// GetDevice is one device.
func (a *api) GetDevice(ctx context.Context, r GetDeviceRequestObject) (GetDeviceResponseObject, error) {
	d, err := a.Devices.Find(ctx, principalOf(ctx), r.Device)
	if err != nil {
		return nil, err
	}
	out, err := a.fullDevice(ctx, d)
	return GetDevice200JSONResponse(out), err
}

// UpdateDevice renames, tags, sets the default login and the ping, acknowledges a clone. What the links know of it they
// learn here.
func (a *api) UpdateDevice(ctx context.Context, r UpdateDeviceRequestObject) (UpdateDeviceResponseObject, error) {
	p := principalOf(ctx)
	d, err := a.Devices.Find(ctx, p, r.Device)
	if err != nil {
		return nil, err
	}
	before, name, acknowledged := d.PingSeconds, d.Name, value(r.Body.AcknowledgeClone)
	d, err = a.Devices.Update(ctx, p, d, devices.Patch{Name: r.Body.Name, DefaultLogin: r.Body.DefaultLogin, Tags: r.Body.Tags,
		PingSeconds: r.Body.PingSeconds, AcknowledgeClone: acknowledged})
	if err != nil {
		return nil, err
	}
	if acknowledged {
		a.Tunnel.ForgetClone(d.ID)
	}
	if d.Name != name {
		a.mqttRenamed(ctx, name, d.Name)
	}
	if d.PingSeconds != before {
		a.Tunnel.Renew(d.ID)
	}
	out, err := a.fullDevice(ctx, d)
	return UpdateDevice200JSONResponse(out), err
}

// RemoveDevice forgets a device.
func (a *api) RemoveDevice(ctx context.Context, r RemoveDeviceRequestObject) (RemoveDeviceResponseObject, error) {
	p := principalOf(ctx)
	d, err := a.Devices.Find(ctx, p, r.Device)
	if err != nil {
		return nil, err
	}
	if err := a.Devices.Remove(ctx, p, d); err != nil {
		return nil, err
	}
	a.mqttRenamed(ctx, d.Name, "")
	return RemoveDevice204Response{}, nil
}

// mqttRenamed lets what is retained of a device follow its name, or go with the device. The change itself is done, whatever
// becomes of that.
func (a *api) mqttRenamed(ctx context.Context, from, to string) {
	if err := a.MQTT.Renamed(context.WithoutCancel(ctx), from, to); err != nil {
		a.Log.Error("retained messages not moved", "from", from, "to", to, "cause", err)
	}
}

// ApproveDevice lets a pending device in.
func (a *api) ApproveDevice(ctx context.Context, r ApproveDeviceRequestObject) (ApproveDeviceResponseObject, error) {
	p := principalOf(ctx)
	d, err := a.Devices.Find(ctx, p, r.Device)
	if err != nil {
		return nil, err
	}
	if d, err = a.Devices.Approve(ctx, p, d); err != nil {
		return nil, err
	}
	out, err := a.fullDevice(ctx, d)
	return ApproveDevice200JSONResponse(out), err
}

// AcceptHostKeys trusts changed SSH host keys.
func (a *api) AcceptHostKeys(ctx context.Context, r AcceptHostKeysRequestObject) (AcceptHostKeysResponseObject, error) {
	p := principalOf(ctx)
	d, err := a.Devices.Find(ctx, p, r.Device)
	if err != nil {
		return nil, err
	}
	if err := a.Devices.AcceptHostKeys(ctx, p, d, r.Body.Fingerprints); err != nil {
		return nil, err
	}
	out, err := a.fullDevice(ctx, d)
	return AcceptHostKeys200JSONResponse(out), err
}

// KnownHosts is the text of a known_hosts file.
func (a *api) KnownHosts(ctx context.Context, _ KnownHostsRequestObject) (KnownHostsResponseObject, error) {
	text, err := a.Devices.KnownHosts(ctx, principalOf(ctx), "")
	return KnownHosts200TextResponse(text), err
}

// fullDevice is a device with what only its own page shows.
func (a *api) fullDevice(ctx context.Context, d store.Device) (Device, error) {
	out := a.apiDevice(principalOf(ctx), d)
	rows, err := a.Store.Read().HostKeys(ctx, d.ID)
	if err != nil {
		return out, fmt.Errorf("host keys: %w", err)
	}
	keys := make([]HostKey, 0, len(rows))
	for _, k := range rows {
		keys = append(keys, HostKey{Key: k.HostKey, Fingerprint: k.Fingerprint, Pending: k.Pending})
	}
	out.SSHHostKeys = &keys
	if out.MayManage && d.Via == devices.ViaAgent {
		kept, err := a.rootPassword(ctx, d)
		if err != nil {
			return out, err
		}
		out.RootPassword = &kept
		a.addUpdate(&out, d)
	}
	return out, nil
}

func (a *api) apiDevice(p *auth.Principal, d store.Device) Device {
	now, policy := a.Now(), a.Gate.Policy()
	reach := policy.Reach(p.User.ID, d.ID, now)
	if !p.Scope.Holds(access.ScopeConnect) {
		reach = access.Reach{Logins: []string{}, Targets: []string{}, Held: []string{}}
	}
	ping := int(d.PingSeconds)
	out := Device{
		ID: d.ID, Name: d.Name, Status: DeviceStatus(d.Status), Via: DeviceVia(d.Via), Tags: nonNil(policy.Devices[d.ID].Tags),
		DefaultLogin: some(d.DefaultLogin), Fingerprint: some(devices.Fingerprint(d)), CreatedAt: store.Time(d.CreatedAt),
		LastSeenAt: store.TimeOf(d.LastSeenAt), Address: some(d.Address), ClockOffsetMs: d.ClockOffsetMs,
		AgentVersion: some(d.AgentVersion), PingSeconds: &ping, Cause: some(d.Cause), Facts: facts(d.Facts),
		Logins: reach.Logins, Targets: reach.Targets, HeldLogins: reach.Held,
		GateEndsSSH: reach.Gate != access.Raw, MayManage: p.Role().Manages() && p.Scope.Holds(access.ScopeAll),
	}
	if d.Status == "pending" {
		out.Cause = some("pending")
	}
	a.addPresence(&out, d)
	return out
}

// addPresence overlays what the live links know.
func (a *api) addPresence(out *Device, d store.Device) {
	live := a.Tunnel.Presence(d.ID)
	if live.Cloned {
		out.Cause = some("clone")
	}
	if !live.Online {
		return
	}
	heard, offset := live.Heard.UTC().Truncate(time.Millisecond), live.ClockOffset.Milliseconds()
	out.Online, out.LastSeenAt, out.ClockOffsetMs = true, &heard, &offset
	out.OnlineSince = store.TimeOf(d.OnlineSince)
	if live.Address != "" {
		out.Address = &live.Address
	}
	if live.AgentVersion != "" {
		out.AgentVersion = &live.AgentVersion
	}
	if live.Offers != nil {
		offers := make([]Target, 0, len(live.Offers))
		for _, target := range live.Offers {
			offers = append(offers, string(target))
		}
		out.Offers = &offers
	}
}

// facts are nil where what is kept does not fit the schema any more.
func facts(text string) *Facts {
	var f Facts
	if json.Unmarshal([]byte(text), &f) != nil {
		return nil
	}
	return &f
}
