// Package hubkeys keeps the hub's tunnel key, by which devices know the hub, and replaces it by another without losing one
// of them: a next key is made and told to every device, then takes the current one's place, which goes on to sign for
// devices that were away, and is dropped at last. Each step is one transaction, and each device is moved by calls that
// may be repeated, so that neither side loses the other wherever it is cut off.
package hubkeys

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/seal"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

// The names among the sealed secrets.
const (
	current  = "tunnel_key"
	next     = "tunnel_key_next"
	previous = "tunnel_key_previous"
)

// Keys are the keys in a database, which another process may change. It is safe for concurrent use.
type Keys struct {
	store  *store.Store
	sealer *seal.Sealer
	events *events.Log
	now    func() time.Time

	mu   sync.Mutex
	ring Ring
	rows []store.Secret // of which ring was made
}

// Open reads the keys, and makes the first one. It fails with seal.ErrOpen where ADIT_SECRET is another one.
func Open(ctx context.Context, st *store.Store, sealer *seal.Sealer, log *events.Log, now func() time.Time) (*Keys, error) {
	k := &Keys{store: st, sealer: sealer, events: log, now: now}
	if _, err := st.Secret(ctx, sealer, current, newSeed); err != nil {
		return nil, err
	}
	return k, k.Reload(ctx)
}

func newSeed() []byte {
	seed := make([]byte, ed25519.SeedSize)
	_, _ = rand.Read(seed) // never fails
	return seed
}

// Ring is the keys as they were read last.
func (k *Keys) Ring() Ring {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.ring
}

// Reload reads the keys again.
func (k *Keys) Reload(ctx context.Context) error {
	rows, err := k.store.Read().TunnelKeys(ctx)
	if err != nil {
		return fmt.Errorf("read tunnel keys: %w", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if slices.Equal(rows, k.rows) {
		return nil
	}
	ring, err := k.open(rows)
	if err != nil {
		return err
	}
	k.ring, k.rows = ring, rows
	return nil
}

func (k *Keys) open(rows []store.Secret) (r Ring, err error) {
	for _, row := range rows {
		seed, err := k.sealer.Open(row.Name, row.Sealed)
		if err != nil {
			return r, fmt.Errorf("tunnel key: %w", err)
		}
		key := ed25519.NewKeyFromSeed(seed)
		switch row.Name {
		case current:
			r.Current, r.Turned = key, store.Time(row.CreatedAt)
		case next:
			r.Next = key
		case previous:
			r.Previous = key
		}
	}
	if r.Current == nil {
		return r, fmt.Errorf("tunnel key: the database has none")
	}
	return r, nil
}

// change reads the keys inside a transaction and writes what step puts in their place.
func (k *Keys) change(ctx context.Context, stage string, step func(q *store.Queries, r Ring) error) error {
	err := k.store.Write(ctx, func(q *store.Queries) error {
		rows, err := q.TunnelKeys(ctx)
		if err != nil {
			return fmt.Errorf("read tunnel keys: %w", err)
		}
		r, err := k.open(rows)
		if err != nil {
			return err
		}
		if err := step(q, r); err != nil {
			return err
		}
		return k.events.Write(ctx, q, events.Event{Type: events.HubKeysChanged, Data: events.Data{"stage": stage}})
	})
	if err != nil {
		return err
	}
	return k.Reload(ctx)
}

func (k *Keys) put(ctx context.Context, q *store.Queries, name string, key ed25519.PrivateKey) error {
	return q.RenewSecret(ctx, store.RenewSecretParams{Name: name, Sealed: k.sealer.Seal(name, key.Seed()), CreatedAt: store.Millis(k.now())})
}

// Begin makes the next key. Where there is one already it changes nothing. It fails with Conflict while the key before
// the current one is still kept.
func (k *Keys) Begin(ctx context.Context) error {
	if err := k.Reload(ctx); err != nil || k.Ring().Next != nil {
		return err
	}
	return k.change(ctx, "next", func(q *store.Queries, r Ring) error {
		if r.Previous != nil {
			return wire.Errorf(wire.Conflict, "The last rotation is not over: the key before this one is still kept. "+
				"`adit-hub keys list` says for which devices, and `adit-hub keys rotate --drop` forgets it.")
		}
		if err := q.FillDeviceHubKeys(ctx, Encode(r.Current)); err != nil {
			return fmt.Errorf("note what devices pin: %w", err)
		}
		return k.put(ctx, q, next, ed25519.NewKeyFromSeed(newSeed()))
	})
}

// Finish puts the next key in the current one's place, which is kept for devices that know no other. Unless forced it
// fails with Conflict while there are some.
func (k *Keys) Finish(ctx context.Context, force bool) error {
	return k.change(ctx, "finished", func(q *store.Queries, r Ring) error {
		if r.Next == nil {
			return wire.Errorf(wire.Conflict, "There is no next key. `adit-hub keys rotate` makes one.")
		}
		if err := k.refuse(ctx, q, r.Next, force, "have not confirmed the next key yet", "--finish"); err != nil {
			return err
		}
		if err := k.put(ctx, q, previous, r.Current); err != nil {
			return err
		}
		if err := k.put(ctx, q, current, r.Next); err != nil {
			return err
		}
		_, err := q.DropSecret(ctx, next)
		return err
	})
}

// Drop forgets the key before the current one. Unless forced it fails with Conflict while a device knows no other, or an
// install code made before works.
func (k *Keys) Drop(ctx context.Context, force bool) error {
	return k.change(ctx, "dropped", func(q *store.Queries, r Ring) error {
		if r.Previous == nil {
			return wire.Errorf(wire.Conflict, "There is no key before the current one.")
		}
		if err := k.refuse(ctx, q, r.Current, force, "know no other key than the one before", "--drop"); err != nil {
			return err
		}
		codes, err := q.CodesBefore(ctx, store.CodesBeforeParams{Before: store.Millis(r.Turned), Now: store.Millis(k.now())})
		if err == nil && codes > 0 && !force {
			err = wire.Errorf(wire.Conflict, "%d install codes still work that were made with the key before. "+
				"Revoke them, wait, or say --drop --force: their lines will be refused then.", codes)
		}
		if err != nil {
			return err
		}
		_, err = q.DropSecret(ctx, previous)
		return err
	})
}

func (k *Keys) refuse(ctx context.Context, q *store.Queries, key ed25519.PrivateKey, force bool, what, flag string) error {
	lacking, err := lacking(ctx, q, key)
	if err != nil || force || len(lacking) == 0 {
		return err
	}
	names := make([]string, 0, 10)
	for _, d := range lacking[:min(len(lacking), cap(names))] {
		names = append(names, d.Name)
	}
	more := ""
	if n := len(lacking) - len(names); n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	return wire.Errorf(wire.Conflict, "%d devices %s: %s%s. Wait until they were online with an agent that knows of this, or say %s --force.",
		len(lacking), what, strings.Join(names, ", "), more, flag)
}

// lacking are the devices that do not pin key.
func lacking(ctx context.Context, q *store.Queries, key ed25519.PrivateKey) (list []store.DevicesHubKeysRow, err error) {
	all, err := q.DevicesHubKeys(ctx)
	if err != nil {
		return nil, fmt.Errorf("list what devices pin: %w", err)
	}
	for _, d := range all {
		if !slices.Contains(strings.Fields(d.HubKeys), Encode(key)) {
			list = append(list, d)
		}
	}
	return list, nil
}

// Waiting are the devices for which the rotation waits: those that do not pin the next key, and where there is none but
// one before, those that do not pin the current one.
func (k *Keys) Waiting(ctx context.Context) ([]store.DevicesHubKeysRow, error) {
	switch r := k.Ring(); {
	case r.Next != nil:
		return lacking(ctx, k.store.Read(), r.Next)
	case r.Previous != nil:
		return lacking(ctx, k.store.Read(), r.Current)
	}
	return nil, nil
}
