package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/aditdev/adit/internal/config"
	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/hubkeys"
	"github.com/aditdev/adit/internal/seal"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

type keysCommands struct {
	List   keysList   `cmd:"" help:"List the hub's tunnel keys, and the devices that a rotation waits for."`
	Rotate keysRotate `cmd:"" help:"Replace the hub's tunnel key, in three steps: nothing, then --finish, then --drop."`
}

type keysList struct {
	JSON bool `name:"json" help:"Print JSON."`
}

// Run lists the keys.
func (l keysList) Run(ctx context.Context, p program) error {
	return onKeys(ctx, p, func(k *hubkeys.Keys) error { return p.printKeys(ctx, k, l.JSON) })
}

type keysRotate struct {
	Finish bool `help:"Put the next key in the current one's place."`
	Drop   bool `help:"Forget the key before the current one."`
	Force  bool `help:"Do so although devices would be lost, or install codes end."`
	JSON   bool `name:"json" help:"Print JSON."`
}

// Run takes one step, and says where the rotation stands.
func (r keysRotate) Run(ctx context.Context, p program) error {
	if r.Finish && r.Drop {
		return wire.Errorf(wire.Invalid, "--finish and --drop are two steps: one after the other.")
	}
	return onKeys(ctx, p, func(k *hubkeys.Keys) (err error) {
		switch {
		case r.Finish:
			err = k.Finish(ctx, r.Force)
		case r.Drop:
			err = k.Drop(ctx, r.Force)
		default:
			err = k.Begin(ctx)
		}
		return errors.Join(err, p.printKeys(ctx, k, r.JSON))
	})
}

// onKeys runs a command on the keys in the data directory, which ADIT_SECRET opens. A hub that runs follows.
func onKeys(ctx context.Context, p program, do func(*hubkeys.Keys) error) error {
	c, err := config.Load(p.environ, true)
	if err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	st, err := store.Open(ctx, c.Data)
	if err != nil {
		return err
	}
	k, err := openKeys(ctx, c, st)
	if err == nil {
		err = do(k)
	}
	return errors.Join(err, st.Close())
}

func openKeys(ctx context.Context, c config.Config, st *store.Store) (*hubkeys.Keys, error) {
	var err error
	if _, absent := os.Stat(filepath.Join(c.Data, "secret")); c.Secret == "" && absent == nil { // what --dev made
		if c.Secret, err = devSecret(c.Data); err != nil {
			return nil, err
		}
	}
	if c.Secret == "" {
		return nil, wire.Errorf(wire.Invalid, "ADIT_SECRET: is missing. The hub's keys open only with it.")
	}
	sealer, err := seal.New(c.Secret)
	if err != nil {
		return nil, err
	}
	return hubkeys.Open(ctx, st, sealer, events.New(st, time.Now), time.Now)
}

// keyJSON is a key as --json prints it, and waitingJSON a device that the rotation waits for.
type (
	keyJSON struct {
		Fingerprint string `json:"fingerprint"`
		Role        string `json:"role"` // current, next or previous
	}
	waitingJSON struct {
		ID           string     `json:"id"`
		Name         string     `json:"name"`
		AgentVersion string     `json:"agent_version,omitempty"`
		LastSeenAt   *time.Time `json:"last_seen_at,omitempty"`
	}
)

func (p program) printKeys(ctx context.Context, k *hubkeys.Keys, asJSON bool) error {
	rows, err := k.Waiting(ctx)
	if err != nil {
		return err
	}
	ring := k.Ring()
	keys, waiting := keyList(ring), make([]waitingJSON, 0, len(rows))
	for _, d := range rows {
		waiting = append(waiting, waitingJSON{d.ID, d.Name, d.AgentVersion, store.TimeOf(d.LastSeenAt)})
	}
	return p.print(asJSON, map[string]any{"keys": keys, "waiting": waiting}, "%s", keysText(ring, keys, waiting))
}

func keyList(r hubkeys.Ring) []keyJSON {
	list := []keyJSON{{hubkeys.Fingerprint(r.Current), "current"}}
	if r.Next != nil {
		list = append(list, keyJSON{hubkeys.Fingerprint(r.Next), "next"})
	}
	if r.Previous != nil {
		list = append(list, keyJSON{hubkeys.Fingerprint(r.Previous), "previous"})
	}
	return list
}

func keysText(r hubkeys.Ring, keys []keyJSON, waiting []waitingJSON) string {
	var b strings.Builder
	for _, k := range keys {
		fmt.Fprintf(&b, "%-9s %s\n", k.Role, k.Fingerprint)
	}
	what, then := "", ""
	switch {
	case r.Next != nil:
		what, then = "do not pin the next key yet", "Every device pins the next key. Go on with: adit-hub keys rotate --finish"
	case r.Previous != nil:
		what, then = "still know only the key before", "No device needs the key before. Forget it with: adit-hub keys rotate --drop"
	default:
		return b.String()
	}
	if len(waiting) == 0 {
		return b.String() + then + "\n"
	}
	fmt.Fprintf(&b, "Devices that %s (%d); they are told when they are online:\n", what, len(waiting))
	for _, d := range waiting {
		seen := "never seen"
		if d.LastSeenAt != nil {
			seen = "seen " + d.LastSeenAt.Format("2006-01-02 15:04 MST")
		}
		fmt.Fprintf(&b, "  %s (%s)\n", d.Name, seen)
	}
	return b.String()
}
