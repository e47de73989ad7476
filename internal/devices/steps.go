package devices

import (
	"context"
	"errors"
	"fmt"

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

// maxSteps is how many steps a code keeps, and maxReads of how many strangers may be the cause: anybody may read the
// script, and must not crowd out what a person waits for.
const (
	maxSteps = 500
	maxReads = 100
)

// ScriptRead notes that somebody fetched the install script. codeHash is that of the code inside it (the short line), or
// empty. A code inside now stands in a URL and so in somebody's log: from here on it asks for approval, unless that was
// switched off. Without a code the step goes to the one code that waits, if there is exactly one.
func (r *Registry) ScriptRead(ctx context.Context, codeHash, address, program string) {
	r.saw(ctx, codeHash, true, Step{Step: "script_read", Address: address, Program: program})
}

// BinaryRead notes that the script of the code with this hash fetched the agent.
func (r *Registry) BinaryRead(ctx context.Context, codeHash, address, program string) {
	r.saw(ctx, codeHash, false, Step{Step: "binary_read", Address: address, Program: program})
}

// saw never fails the download that it tells of.
func (r *Registry) saw(ctx context.Context, codeHash string, inURL bool, s Step) {
	s.Program = wire.Printable(s.Program, 100)
	code, err := r.codeFor(ctx, codeHash)
	if err == nil && code.ID != "" {
		err = r.keepRead(ctx, code.ID, inURL && codeHash != "" && !code.InURL, s)
	}
	if err != nil {
		r.Log.Error("install step not kept", "step", s.Step, "cause", err)
	}
}

// keepRead keeps a step of which a stranger may be the cause, and marks its code as one that stood in a URL. The database
// has one writer: where there is nothing to keep, a read finds that out.
func (r *Registry) keepRead(ctx context.Context, code string, mark bool, s Step) error {
	n, err := r.Store.Read().CountInstallSteps(ctx, code)
	if err != nil || (n >= maxReads && !mark) {
		return err
	}
	return r.Store.Write(ctx, func(q *store.Queries) error {
		if mark {
			if err := q.MarkCodeInURL(ctx, code); err != nil {
				return err
			}
		}
		return r.addStep(ctx, q, code, s)
	})
}

// codeFor gives the code to which a step belongs, or one without an id.
func (r *Registry) codeFor(ctx context.Context, codeHash string) (store.InstallCode, error) {
	if codeHash == "" {
		ids, err := r.Store.Read().LiveInstallCodes(ctx, r.millis())
		if err != nil || len(ids) != 1 {
			return store.InstallCode{}, err
		}
		return store.InstallCode{ID: ids[0]}, nil
	}
	row, err := r.Store.Read().FindInstallCode(ctx, codeHash)
	if errors.Is(err, store.ErrNotFound) {
		return store.InstallCode{}, nil
	}
	return row, err
}

func (r *Registry) addStep(ctx context.Context, q *store.Queries, code string, s Step) error {
	most := int64(maxSteps)
	if s.Device == "" {
		most = maxReads
	}
	n, err := q.CountInstallSteps(ctx, code)
	if err != nil || n >= most {
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
