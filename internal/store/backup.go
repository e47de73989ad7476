package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/pressly/goose/v3"

	adsql "github.com/aditdev/adit/sql"
)

// Backup writes a consistent copy of the database in directory dir to file, also while a hub serves from it. It refuses
// to replace a file. The copy holds the hub's keys, sealed: restoring it needs the same ADIT_SECRET.
func Backup(ctx context.Context, dir, file string) error {
	path := filepath.Join(dir, File)
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	if _, err := os.Lstat(file); err == nil {
		return fmt.Errorf("backup: %s exists and is left alone", file)
	}
	// A plain handle: VACUUM INTO fails on one that is query_only.
	db, err := sql.Open("sqlite", dsn(path, "_txlock=deferred"))
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	defer db.Close()
	return inPlace(file, func(part string) error {
		_, err := db.ExecContext(ctx, "VACUUM INTO ?", part)
		return err
	})
}

// Restore puts the backup in file into directory dir as its database. The caller makes sure that no hub runs there.
// A database that stands there is kept beside it, its name ending in `.before-restore`.
func Restore(ctx context.Context, dir, file string) error {
	if err := checkBackup(ctx, file); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	path := filepath.Join(dir, File)
	if err := setAside(path); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	return inPlace(path, func(part string) error { return copyFile(part, file) })
}

// setAside moves the database and what belongs to it, so that an old journal is never replayed into the new file.
func setAside(path string) error {
	for _, suffix := range []string{"", "-wal", "-shm"} {
		err := os.Rename(path+suffix, path+".before-restore"+suffix)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

func checkBackup(ctx context.Context, file string) error {
	if _, err := os.Stat(file); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	db, err := sql.Open("sqlite", "file:"+file+"?mode=ro&immutable=1")
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	defer db.Close()
	var verdict string
	if err := db.QueryRowContext(ctx, "PRAGMA integrity_check").Scan(&verdict); err != nil || verdict != "ok" {
		return fmt.Errorf("restore: %s is no whole backup of a hub (%s): %w", file, verdict, errors.Join(err, errDamaged))
	}
	var users int
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM users").Scan(&users); err != nil {
		return fmt.Errorf("restore: %s is no backup of a hub: %w", file, err)
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, adsql.Migrations())
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	return refuseNewer(ctx, provider)
}

var errDamaged = errors.New("nothing was changed")

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}

// inPlace has write fill a file under another name, then gives it its own: a copy cut short leaves nothing behind. The
// file is there, empty, before anything is in it, so that nobody else can read it at any time.
func inPlace(file string, write func(part string) error) error {
	part := file + ".part"
	_ = os.Remove(part)
	f, err := os.OpenFile(part, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err == nil {
		err = f.Close()
	}
	if err == nil {
		err = write(part)
	}
	if err == nil {
		err = os.Rename(part, file)
	}
	if err != nil {
		_ = os.Remove(part)
		return fmt.Errorf("write %s: %w", file, err)
	}
	return nil
}
