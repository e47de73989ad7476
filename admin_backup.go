package main

import (
	"context"
	"fmt"

	"github.com/aditdev/adit/internal/config"
	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/store"
)

type backupCommand struct {
	File string `arg:"" help:"File to write. One that exists is left alone." type:"path"`
	JSON bool   `name:"json" help:"Print JSON."`
}

// Run writes the backup.
func (b backupCommand) Run(ctx context.Context, p program) error {
	dir, err := config.Data(p.environ)
	if err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	if err := store.Backup(ctx, dir, b.File); err != nil {
		return err
	}
	return (&admin{program: p}).print(b.JSON, map[string]string{"file": b.File},
		"%s holds the hub. Keep ADIT_SECRET too: the file opens only with it.\n", b.File)
}

type restoreCommand struct {
	File string `arg:"" help:"A backup." type:"existingfile"`
	JSON bool   `name:"json" help:"Print JSON."`
}

// Run puts the backup in place.
func (r restoreCommand) Run(ctx context.Context, p program) error {
	dir, err := config.Data(p.environ)
	if err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	unlock, err := lockData(dir)
	if err != nil {
		return err
	}
	defer unlock()
	if err := store.Restore(ctx, dir, r.File); err != nil {
		return err
	}
	err = onData(ctx, p, func(a *admin) error { return a.events.Append(ctx, hubEvent(events.HubRestored)) })
	if err != nil {
		return fmt.Errorf("%s holds the backup now, but its event log could not be told: %w", dir, err)
	}
	return (&admin{program: p}).print(r.JSON, map[string]string{"data": dir},
		"%s holds the backup now. Start the hub with the ADIT_SECRET that it was made with; agents come back by themselves.\n", dir)
}
