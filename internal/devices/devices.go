// Package devices is the register of machines: install codes, enrolment, what devices say of themselves, their SSH host
// keys, and who is online.
package devices

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/hubkeys"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

// Options make a Registry; every field must be set.
type Options struct {
	Store   *store.Store
	Gate    *auth.Gate
	Events  *events.Log
	Now     func() time.Time
	Log     *slog.Logger
	Keys    func() hubkeys.Ring // the hub's tunnel keys, which sign enrolments
	UserCA  string              // an authorized_keys line
	GateKey string              // host key of the SSH gate, type and base64
	URLs    []*url.URL          // the first is canonical
	// Drop ends the links of a device that is removed or replaced.
	Drop func(device string, cause error)
}

// Registry is safe for concurrent use.
type Registry struct {
	Options
	reports *auth.Limiter // by device
}

// New makes a Registry.
func New(o Options) *Registry {
	return &Registry{Options: o, reports: auth.NewLimiter(30, 10*time.Second, o.Now)}
}

// Find gives the device of that id or name in the principal's view, or fails with NotFound.
func (r *Registry) Find(ctx context.Context, p *auth.Principal, ref string) (store.Device, error) {
	d, err := r.Store.Read().GetDeviceFor(ctx, store.GetDeviceForParams{Ref: ref, Principal: p.User.ID, Now: r.millis()})
	if errors.Is(err, store.ErrNotFound) || (err == nil && !r.Gate.Sees(ctx, p.User.ID, d.ID)) {
		return store.Device{}, auth.ErrNoDevice
	}
	if err != nil {
		return store.Device{}, fmt.Errorf("find device: %w", err)
	}
	return d, nil
}

// List gives the devices in the principal's view by name.
func (r *Registry) List(ctx context.Context, p *auth.Principal) ([]store.Device, error) {
	all, err := r.Store.Read().ListDevicesFor(ctx, store.ListDevicesForParams{Principal: p.User.ID, Now: r.millis()})
	if err != nil {
		return nil, fmt.Errorf("list devices: %w", err)
	}
	if err := r.Gate.Refresh(ctx); err != nil {
		return nil, err
	}
	policy, now, seen := r.Gate.Policy(), r.Now(), make([]store.Device, 0, len(all))
	for _, d := range all {
		if policy.Sees(p.User.ID, d.ID, now) {
			seen = append(seen, d)
		}
	}
	return seen, nil
}

// Patch is what a person may change of a device; nil leaves it.
type Patch struct {
	Name, DefaultLogin *string
	Tags               *[]string
	PingSeconds        *int
	AcknowledgeClone   bool // one machine has the key again: the cause clone goes
}

// A device on little data agrees a ping between these, in seconds.
const (
	MinPing = int(wire.PingEvery / time.Second)
	MaxPing = 600
)

// Update changes a device. It fails with Conflict where the name is taken. A ping is in effect at the next link.
func (r *Registry) Update(ctx context.Context, p *auth.Principal, d store.Device, patch Patch) (store.Device, error) {
	row := store.UpdateDeviceParams{ID: d.ID, Name: d.Name, DefaultLogin: d.DefaultLogin, PingSeconds: d.PingSeconds}
	if patch.Name != nil {
		row.Name = *patch.Name
	}
	if patch.DefaultLogin != nil {
		row.DefaultLogin = *patch.DefaultLogin
	}
	if patch.PingSeconds != nil {
		row.PingSeconds = int64(*patch.PingSeconds)
	}
	if err := checkDevice(row, patch.Tags); err != nil {
		return d, err
	}
	err := r.Gate.Change(ctx, func(q *store.Queries) (err error) {
		if patch.AcknowledgeClone && d.Cause == causeClone {
			if err := q.SetDeviceCause(ctx, store.SetDeviceCauseParams{ID: d.ID, Cause: ""}); err != nil {
				return err
			}
		}
		if d, err = q.UpdateDevice(ctx, row); store.IsConflict(err) {
			return wire.Wrap(err, wire.Conflict, "Another device is called %s.", row.Name)
		}
		if err == nil && patch.Tags != nil {
			err = setTags(ctx, q, d.ID, *patch.Tags)
		}
		if err != nil {
			return err
		}
		return r.Events.Write(ctx, q, events.Event{Type: events.DeviceChanged, Device: d.ID, User: p.User.ID,
			Data: events.Data{"name": d.Name}})
	})
	return d, err
}

func checkDevice(row store.UpdateDeviceParams, tags *[]string) error {
	if !wire.ValidDeviceName(row.Name) {
		return &wire.Error{Code: wire.Invalid, Message: "A name takes 1 to 63 of a-z, 0-9 and dash, with a letter or digit at both ends.",
			Fields: map[string]string{"name": "a-z, 0-9 and dash"}}
	}
	if row.DefaultLogin != "" && !wire.ValidLogin(row.DefaultLogin) {
		return &wire.Error{Code: wire.Invalid, Message: "This is no Unix account's name.",
			Fields: map[string]string{"default_login": "This is no Unix account's name."}}
	}
	if row.PingSeconds < int64(MinPing) || row.PingSeconds > int64(MaxPing) {
		says := fmt.Sprintf("A device is pinged every %d to %d seconds.", MinPing, MaxPing)
		return &wire.Error{Code: wire.Invalid, Message: says, Fields: map[string]string{"ping_seconds": says}}
	}
	if tags == nil {
		return nil
	}
	return CheckTags(*tags)
}

// MaxTags is how many tags a device may have.
const MaxTags = 20

// CheckTags refuses tags that are not made like names, and more than MaxTags of them.
func CheckTags(tags []string) error {
	for _, tag := range tags {
		if !wire.ValidDeviceName(tag) {
			return &wire.Error{Code: wire.Invalid, Message: "A tag takes 1 to 63 of a-z, 0-9 and dash, with a letter or digit at both ends.",
				Fields: map[string]string{"tags": "a-z, 0-9 and dash"}}
		}
	}
	if len(tags) > MaxTags {
		return wire.Errorf(wire.Invalid, "A device may have %d tags.", MaxTags)
	}
	return nil
}

func setTags(ctx context.Context, q *store.Queries, device string, tags []string) error {
	if err := q.DropDeviceTags(ctx, device); err != nil {
		return err
	}
	for _, tag := range tags {
		if err := q.AddDeviceTag(ctx, store.AddDeviceTagParams{DeviceID: device, Tag: tag}); err != nil {
			return err
		}
	}
	return nil
}

// Approve lets a pending device in.
func (r *Registry) Approve(ctx context.Context, p *auth.Principal, d store.Device) (store.Device, error) {
	if d.Status == "active" {
		return d, nil
	}
	err := r.Gate.Change(ctx, func(q *store.Queries) (err error) {
		if d, err = q.ApproveDevice(ctx, d.ID); err != nil {
			return err
		}
		return r.Events.Write(ctx, q, events.Event{Type: events.DeviceApproved, Device: d.ID, User: p.User.ID,
			Data: events.Data{"name": d.Name}})
	})
	return d, err
}

// Remove forgets a device and ends its links. Its key opens nothing any more.
func (r *Registry) Remove(ctx context.Context, p *auth.Principal, d store.Device) error {
	err := r.Gate.Change(ctx, func(q *store.Queries) error {
		tags, err := q.DeviceTags(ctx, d.ID) // who chose it by them hears of its end
		if err != nil {
			return fmt.Errorf("read tags: %w", err)
		}
		if _, err := q.RemoveDevice(ctx, d.ID); err != nil {
			return err
		}
		if err := q.DropMQTTRulesOf(ctx, "device:"+d.ID); err != nil {
			return err
		}
		return r.Events.Write(ctx, q, events.Event{Type: events.DeviceRemoved, Device: d.ID, User: p.User.ID,
			Data: events.Data{"name": d.Name, "tags": tags}})
	})
	if err == nil {
		r.Drop(d.ID, wire.Errorf(wire.Forbidden, "This device was removed from the hub."))
	}
	return err
}

func (r *Registry) millis() int64 { return store.Millis(r.Now()) }
