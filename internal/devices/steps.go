package devices

import (
	"context"
	"errors"
	"fmt"

	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

// Step is one thing that the hub saw of an install, for the person who waits on the page.
type Step struct {
	Step               string // script_read, binary_read, enrolled, pending, online
	Address, Program   string
	Device, DeviceName string
}

// maxSteps is how many steps a code keeps: anybody may read the script.
const maxSteps = 500

// SawScript notes that somebody read the install script. With a code (the short line) the code now stands in a URL and
// so in somebody's log: from here on it asks for approval, unless that was switched off. It reports whether the code
// still works. Without a code the step goes to the one code that waits, if there is exactly one.
func (r *Registry) SawScript(ctx context.Context, code, address, program string) (works bool, err error) {
	return r.saw(ctx, code, Step{Step: "script_read", Address: address, Program: program})
}

// SawBinary notes that somebody fetched the agent's binary, for the one code that waits.
func (r *Registry) SawBinary(ctx context.Context, address, program string) error {
	_, err := r.saw(ctx, "", Step{Step: "binary_read", Address: address, Program: program})
	return err
}

func (r *Registry) saw(ctx context.Context, code string, s Step) (works bool, err error) {
	s.Program = wire.Printable(s.Program, 100)
	id, works, err := r.codeFor(ctx, code)
	if err != nil || id == "" {
		return works, err
	}
	return works, r.Store.Write(ctx, func(q *store.Queries) error {
		if code != "" {
			if err := q.MarkCodeInURL(ctx, id); err != nil {
				return err
			}
		}
		return r.addStep(ctx, q, id, s)
	})
}

// codeFor gives the id of the code to which a step belongs, or none.
func (r *Registry) codeFor(ctx context.Context, code string) (id string, works bool, err error) {
	if code == "" {
		ids, err := r.Store.Read().LiveInstallCodes(ctx, r.millis())
		if err != nil || len(ids) != 1 {
			return "", false, err
		}
		return ids[0], true, nil
	}
	row, err := r.Store.Read().FindInstallCode(ctx, auth.Hash(code))
	if errors.Is(err, store.ErrNotFound) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("find install code: %w", err)
	}
	return row.ID, row.RevokedAt == nil && row.ExpiresAt > r.millis() && row.Used < row.Uses, nil
}

func (r *Registry) addStep(ctx context.Context, q *store.Queries, code string, s Step) error {
	n, err := q.CountInstallSteps(ctx, code)
	if err != nil || n >= maxSteps {
		return err
	}
	err = q.AddInstallStep(ctx, store.AddInstallStepParams{ID: store.NewID("stp"), CodeID: code, Step: s.Step, At: r.millis(),
		Address: s.Address, Program: s.Program, DeviceID: s.Device})
	if err != nil {
		return fmt.Errorf("note step: %w", err)
	}
	return r.Events.Write(ctx, q, events.Event{Type: events.InstallStep, Device: s.Device, Data: events.Data{"code_id": code,
		"step": s.Step, "address": s.Address, "program": s.Program, "device_name": s.DeviceName}})
}

// stepOnline notes a device's first link for the code that made it.
func (r *Registry) stepOnline(ctx context.Context, q *store.Queries, d store.Device) error {
	made, err := q.EnrolmentOf(ctx, d.ID)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	seen, err := q.HasInstallStep(ctx, store.HasInstallStepParams{CodeID: made.CodeID, Step: "online", DeviceID: d.ID})
	if err != nil || seen {
		return err
	}
	return r.addStep(ctx, q, made.CodeID, Step{Step: "online", Address: d.Address, Device: d.ID, DeviceName: d.Name})
}
