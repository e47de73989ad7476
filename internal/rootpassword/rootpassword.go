// Package rootpassword gives devices new passwords of root and keeps them sealed. A password is kept before the device
// sets it, and one that may be set is never forgotten before a later one is known to be: whatever is cut off in between,
// one of those that are kept logs in.
package rootpassword

import (
	"context"
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/seal"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

const (
	keySecret  = "sealing_key" // the X25519 key to which devices seal, among the sealed secrets
	callWithin = 30 * time.Second
)

// States of a password.
const (
	Active  = "active"  // the device said that it is set
	Pending = "pending" // the device's answer is missing: it is set, or it is not
)

// Options make a Vault; every field must be set.
type Options struct {
	Store  *store.Store
	Sealer *seal.Sealer
	Events *events.Log
	Now    func() time.Time
	Log    *slog.Logger
	Online func(device string) bool
	Call   func(ctx context.Context, device, method string, params, result any) error
}

// Vault sets, keeps and shows passwords. It is safe for concurrent use.
type Vault struct {
	Options
	key *ecdh.PrivateKey

	mu   sync.Mutex
	busy map[string]bool // devices that get one now
}

// New makes a Vault, and its key at the first start. It fails with seal.ErrOpen where ADIT_SECRET is another one.
func New(ctx context.Context, o Options) (*Vault, error) {
	raw, err := o.Store.Secret(ctx, o.Sealer, keySecret, func() []byte {
		key := make([]byte, 32)
		_, _ = rand.Read(key) // never fails
		return key
	})
	if err != nil {
		return nil, err
	}
	key, err := ecdh.X25519().NewPrivateKey(raw)
	if err != nil {
		return nil, fmt.Errorf("sealing key: %w", err)
	}
	return &Vault{Options: o, key: key, busy: map[string]bool{}}, nil
}

// Status is what may be said of a device's password without showing it. The zero value: none is kept.
type Status struct {
	State   string     // Active, or Pending where the last one's answer is missing
	Since   time.Time  // when the last one was made
	ShownAt *time.Time // when a person last saw what is kept
}

// Status of a device's password.
func (v *Vault) Status(ctx context.Context, device string) (s Status, err error) {
	rows, err := v.Store.Read().RootPasswords(ctx, device)
	if err != nil || len(rows) == 0 {
		return s, err
	}
	last := rows[len(rows)-1]
	return Status{State: last.State, Since: store.Time(last.CreatedAt), ShownAt: store.TimeOf(last.ShownAt)}, nil
}

// Rotate gives the device a new password; by is the user who asked, or "". It fails with Conflict while it is under way,
// with Offline where the device is not there or does not answer, and with what the device says.
func (v *Vault) Rotate(ctx context.Context, d store.Device, by string) error {
	if !v.take(d.ID) {
		return wire.Errorf(wire.Conflict, "%s is given a new password of root already.", d.Name)
	}
	defer v.leave(d.ID)
	if !v.Online(d.ID) {
		return wire.Errorf(wire.Offline, "%s is offline. Nothing was changed.", d.Name)
	}
	// Whoever asked may go away: what began must be carried to its end.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callWithin)
	defer cancel()
	id, prepared, err := v.prepare(ctx, d)
	if err != nil {
		return err
	}
	err = v.Call(ctx, d.ID, wire.MethodRootPassword, wire.RootPassword{Step: wire.RootSet, ID: prepared}, nil)
	return v.settle(ctx, d, id, by, err)
}

func (v *Vault) take(device string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.busy[device] {
		return false
	}
	v.busy[device] = true
	return true
}

func (v *Vault) leave(device string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.busy, device)
}

// prepare has the device make a password, and keeps it.
func (v *Vault) prepare(ctx context.Context, d store.Device) (id, prepared string, err error) {
	var made wire.RootPrepared
	err = v.Call(ctx, d.ID, wire.MethodRootPassword, wire.RootPassword{Step: wire.RootPrepare, Key: wire.SealingKey(v.key)}, &made)
	if wire.CodeOf(err) == wire.NotFound {
		return "", "", wire.Wrap(err, wire.NotFound, "%s has an agent that is too old to set a password of root.", d.Name)
	}
	if err != nil {
		return "", "", err
	}
	password, err := v.open(d.ID, made)
	if err != nil {
		return "", "", err
	}
	id = store.NewID("rpw")
	err = v.Store.Write(ctx, func(q *store.Queries) error {
		return q.AddRootPassword(ctx, store.AddRootPasswordParams{ID: id, DeviceID: d.ID, Sealed: v.Sealer.Seal(id, []byte(password)),
			CreatedAt: store.Millis(v.Now())})
	})
	if err != nil {
		return "", "", fmt.Errorf("keep a password: %w", err)
	}
	return id, made.ID, nil
}

// open reads what the device sealed. A device is a stranger: what it made must be fit to be shown and typed.
func (v *Vault) open(device string, made wire.RootPrepared) (string, error) {
	bad := func(err error) error {
		return wire.Wrap(err, wire.Internal, "The device's password does not open. Nothing was changed there.")
	}
	raw, err := base64.RawURLEncoding.DecodeString(made.Sealed)
	if err != nil {
		return "", bad(err)
	}
	key, err := hpke.NewDHKEMPrivateKey(v.key)
	if err != nil {
		return "", fmt.Errorf("sealing key: %w", err)
	}
	plain, err := hpke.Open(key, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(wire.RootPasswordInfo(device, made.ID)), raw)
	if err != nil {
		return "", bad(err)
	}
	password := string(plain)
	if len(password) < 16 || len(password) > 128 || wire.Printable(password, 128) != password {
		return "", bad(nil)
	}
	return password, nil
}

// settle notes what became of a password that was kept as pending.
func (v *Vault) settle(ctx context.Context, d store.Device, id, by string, failed error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callWithin) // the call may have taken all there was
	defer cancel()
	if failed != nil {
		return v.settleFailed(ctx, d, id, failed)
	}
	err := v.Store.Write(ctx, func(q *store.Queries) error {
		err := errors.Join(q.ActivateRootPassword(ctx, id),
			q.DropOtherRootPasswords(ctx, store.DropOtherRootPasswordsParams{DeviceID: d.ID, Kept: id}))
		if err != nil {
			return err
		}
		return v.Events.Write(ctx, q, events.Event{Type: events.RootPasswordSet, Device: d.ID, User: by, Data: events.Data{"name": d.Name}})
	})
	if err != nil {
		return fmt.Errorf("note a password: %w", err)
	}
	return nil
}

// settleFailed forgets a password only where the device's chpasswd refused it. Every other answer may be the second one to a call
// whose first was lost: an agent that was started again after it set the password knows nothing of it.
func (v *Vault) settleFailed(ctx context.Context, d store.Device, id string, failed error) error {
	if code := wire.CodeOf(failed); code != wire.Conflict {
		if code != wire.Offline {
			code = wire.Internal
		}
		return wire.Wrap(failed, code, "It is not known whether %s has the new password: %s "+
			"Both are kept. Set it once more when the device answers.", d.Name, wire.MessageOf(failed))
	}
	if err := v.Store.Write(ctx, func(q *store.Queries) error { return q.DropRootPassword(ctx, id) }); err != nil {
		v.Log.Error("a password that was not set is kept", "device", d.ID, "cause", err)
	}
	return failed
}

// Password is one that is kept.
type Password struct {
	Password string
	State    string
	Made     time.Time
}

// Reveal shows what is kept for a device, the latest first, and notes who saw it and why. It fails with NotFound where
// nothing is. The caller has made sure that it is really this user.
func (v *Vault) Reveal(ctx context.Context, d store.Device, user, reason string) (list []Password, err error) {
	err = v.Store.Write(ctx, func(q *store.Queries) error {
		rows, err := q.RootPasswords(ctx, d.ID)
		if err != nil {
			return fmt.Errorf("read passwords: %w", err)
		}
		if len(rows) == 0 {
			return wire.Errorf(wire.NotFound, "The hub has no password of root for %s. Set one first.", d.Name)
		}
		for _, row := range rows {
			plain, err := v.Sealer.Open(row.ID, row.Sealed)
			if err != nil {
				return err
			}
			list = append([]Password{{string(plain), row.State, store.Time(row.CreatedAt)}}, list...)
		}
		now := store.Millis(v.Now())
		if err := q.ShowRootPasswords(ctx, store.ShowRootPasswordsParams{DeviceID: d.ID, ShownAt: &now}); err != nil {
			return fmt.Errorf("note who saw passwords: %w", err)
		}
		return v.Events.Write(ctx, q, events.Event{Type: events.RootPasswordRevealed, Device: d.ID, User: user,
			Data: events.Data{"name": d.Name, "reason": reason}})
	})
	return list, err
}
