package devices

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

// CodeLife is how long an install code works where nobody said.
const CodeLife = 15 * time.Minute

// maxCodeLife is one year: golden images and fleets.
const maxCodeLife = 366 * 24 * time.Hour

// CodeRequest is what an install code is to do. The zero value makes one for one device of any name.
type CodeRequest struct {
	Name     string
	Tags     []string
	Life     time.Duration // 0: CodeLife
	Uses     int           // 0: one
	Approval *bool         // nil: only for the short line
	Allow    []string      // HOST:PORT on the device's LAN
	Replaces string        // id or name

	RootPassword bool // its devices get a password of root when they are first online, if their line says so too
}

// NewCode is an install code, shown once.
type NewCode struct {
	Row  store.InstallCode
	Code string
}

// CreateCode makes an install code.
func (r *Registry) CreateCode(ctx context.Context, p *auth.Principal, req CodeRequest) (NewCode, error) {
	if err := req.check(); err != nil {
		return NewCode{}, err
	}
	now, code := r.Now(), newCode()
	row := store.CreateInstallCodeParams{
		ID: store.NewID("ins"), CodeHash: auth.Hash(code), Name: req.Name, Tags: store.JSONList(req.Tags),
		Allow: store.JSONList(req.Allow), Uses: int64(max(req.Uses, 1)), CreatedBy: p.User.ID,
		Approval: req.Approval != nil && *req.Approval, ApprovalShort: req.Approval == nil || *req.Approval,
		CreatedAt: store.Millis(now), ExpiresAt: store.Millis(now.Add(orLife(req.Life))),
	}
	row.RootPassword = req.RootPassword
	if req.Replaces != "" {
		d, err := r.Find(ctx, p, req.Replaces)
		if err != nil {
			return NewCode{}, err
		}
		row.Replaces = &d.ID
	}
	made := NewCode{Code: code}
	err := r.Store.Write(ctx, func(q *store.Queries) (err error) {
		if made.Row, err = q.CreateInstallCode(ctx, row); err != nil {
			return err
		}
		return r.Events.Write(ctx, q, events.Event{Type: events.CodeCreated, User: p.User.ID, Data: events.Data{"code_id": made.Row.ID,
			"name": made.Row.Name, "uses": made.Row.Uses, "expires_at": store.Time(made.Row.ExpiresAt)}})
	})
	if err != nil {
		return NewCode{}, fmt.Errorf("make install code: %w", err)
	}
	return made, nil
}

func orLife(life time.Duration) time.Duration {
	if life == 0 {
		return CodeLife
	}
	return life
}

func (req *CodeRequest) check() error {
	if req.Name != "" && !wire.ValidDeviceName(req.Name) {
		return &wire.Error{Code: wire.Invalid, Message: "A name takes 1 to 63 of a-z, 0-9 and dash, with a letter or digit at both ends.",
			Fields: map[string]string{"name": "a-z, 0-9 and dash"}}
	}
	if err := CheckTags(req.Tags); err != nil {
		return err
	}
	if life := orLife(req.Life); life < time.Minute || life > maxCodeLife {
		return wire.Errorf(wire.Invalid, "An install code lives between one minute and one year.")
	}
	if req.Uses < 0 || req.Uses > 10_000 {
		return wire.Errorf(wire.Invalid, "An install code works for 1 to 10000 devices.")
	}
	if req.Replaces != "" && req.Uses > 1 {
		return wire.Errorf(wire.Invalid, "A code that replaces a device works once.")
	}
	if req.Replaces != "" && req.Approval != nil && *req.Approval {
		return wire.Errorf(wire.Invalid, "A code that replaces a device asks for no approval: the old machine would be out before anybody approved the new one.")
	}
	return req.checkAllow()
}

// checkAllow brings each neighbour into the form HOST:PORT, which the install line carries.
func (req *CodeRequest) checkAllow() error {
	if len(req.Allow) > 50 {
		return wire.Errorf(wire.Invalid, "A code allows up to 50 neighbours.")
	}
	for i, text := range req.Allow {
		target, err := wire.ParseTarget("tcp:" + strings.TrimPrefix(text, "tcp:"))
		address, ok := target.Address()
		if err != nil || !ok {
			return &wire.Error{Code: wire.Invalid, Message: "A neighbour is written HOST:PORT, as 192.168.1.10:80.",
				Fields: map[string]string{"allow": "HOST:PORT"}}
		}
		host, port, _ := net.SplitHostPort(address)
		req.Allow[i] = net.JoinHostPort(host, port)
	}
	return nil
}

// newCode is 128 random bits in 26 characters that survive being read aloud.
func newCode() string {
	raw := make([]byte, 16)
	_, _ = rand.Read(raw) // never fails
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(raw))
}

// Codes lists the install codes that still work.
func (r *Registry) Codes(ctx context.Context, p *auth.Principal) ([]store.InstallCode, error) {
	return r.Store.Read().ListInstallCodesFor(ctx, store.ListInstallCodesForParams{Principal: p.User.ID, Now: r.millis()})
}

// Code is one install code in the principal's view, or NotFound.
func (r *Registry) Code(ctx context.Context, p *auth.Principal, id string) (store.InstallCode, error) {
	row, err := r.Store.Read().GetInstallCodeFor(ctx, store.GetInstallCodeForParams{ID: id, Principal: p.User.ID})
	if errors.Is(err, store.ErrNotFound) {
		return row, wire.Errorf(wire.NotFound, "There is no install code with this id.")
	}
	return row, err
}

// RevokeCode ends an install code early.
func (r *Registry) RevokeCode(ctx context.Context, p *auth.Principal, id string) error {
	row, err := r.Code(ctx, p, id)
	if err != nil {
		return err
	}
	return r.Store.Write(ctx, func(q *store.Queries) error {
		now := r.millis()
		if _, err := q.RevokeInstallCode(ctx, store.RevokeInstallCodeParams{ID: id, Now: &now}); err != nil {
			return err
		}
		return r.Events.Write(ctx, q, events.Event{Type: events.CodeRevoked, User: p.User.ID, Data: events.Data{"code_id": id, "name": row.Name}})
	})
}
