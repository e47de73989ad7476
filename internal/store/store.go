// Package store keeps the hub's state in one SQLite file. One handle writes, a pool of handles reads; the methods of
// Queries are generated from sql/queries. Times are integer milliseconds, UTC.
package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

//go:generate sh -c "cd ../../sql && CGO_ENABLED=0 go run github.com/sqlc-dev/sqlc/cmd/sqlc@v1.31.1 generate"

// File is the database's name in the data directory.
const File = "adit.db"

// readers is how many connections read, all open from the start.
const readers = 8

// ErrNotFound is what a query for one row returns when there is none.
var ErrNotFound = sql.ErrNoRows

// Store is the open database. It is safe for concurrent use.
type Store struct {
	path string
	w    *sql.DB
	r    *sql.DB
	read *Queries

	mu        sync.Mutex
	committed chan struct{} // closed at the next commit of this process

	together   together
	statements statements
}

// Open opens the database in directory dir, makes it where there is none, and brings its schema up to date. It refuses
// a database that a newer hub has written. The caller closes the Store.
func Open(ctx context.Context, dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	path := filepath.Join(dir, File)
	if err := touch(path); err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	w, err := sql.Open("sqlite", dsn(path, "_txlock=immediate"))
	if err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	w.SetMaxOpenConns(1)
	if err := migrate(ctx, w); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	r, err := sql.Open("sqlite", dsn(path, "mode=ro&_pragma=query_only(1)"))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("database: %w", err), w.Close())
	}
	r.SetMaxOpenConns(readers)
	r.SetMaxIdleConns(readers)
	if err := openAll(ctx, r); err != nil {
		return nil, errors.Join(fmt.Errorf("database: %w", err), r.Close(), w.Close())
	}
	return &Store{path: path, w: w, r: r, read: New(r), committed: make(chan struct{}), statements: statements{db: w}}, nil
}

// openAll opens every connection of the readers and lets each read once, which opens the log and its index: a hub that
// has run out of file descriptors later still reads its own policy.
func openAll(ctx context.Context, r *sql.DB) error {
	conns := make([]*sql.Conn, 0, readers)
	defer func() {
		for _, conn := range conns {
			_ = conn.Close() // back into the pool
		}
	}()
	for range readers {
		conn, err := r.Conn(ctx)
		if err != nil {
			return err
		}
		conns = append(conns, conn)
		var tables int
		if err := conn.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables); err != nil {
			return err
		}
	}
	return nil
}

// touch makes the file before SQLite does, so that nobody else can read it.
func touch(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// dsn has busy_timeout first: the pragmas behind it may already meet a lock.
func dsn(path, more string) string {
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)" +
		"&_pragma=synchronous(FULL)&_pragma=temp_store(MEMORY)&_pragma=foreign_keys(1)&_pragma=journal_size_limit(67108864)&" + more
}

// Close waits for the statements under way and closes the file.
func (s *Store) Close() error { return errors.Join(s.r.Close(), s.w.Close()) }

// Read gives the queries on the readers' pool. What it returns may be older than a write that has not returned yet.
func (s *Store) Read() *Queries { return s.read }

// Snapshot runs fn with queries that all see the same state of the database.
func (s *Store) Snapshot(ctx context.Context, fn func(*Queries) error) error {
	tx, err := s.r.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin read: %w", err)
	}
	return errors.Join(fn(New(tx)), ignoreDone(tx.Rollback()))
}

// Write runs fn in one writing transaction and commits it when fn returns nil. fn must not use the Store itself and
// must not wait for the network.
func (s *Store) Write(ctx context.Context, fn func(*Queries) error) error {
	if err := s.WriteQuietly(ctx, fn); err != nil {
		return err
	}
	s.announce()
	return nil
}

// WriteQuietly is Write for what nobody follows and comes often: those that Follow see it by their next look.
func (s *Store) WriteQuietly(ctx context.Context, fn func(*Queries) error) error {
	tx, err := s.w.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin write: %w", err)
	}
	defer s.statements.prepare(ctx)      // when the handle is free again
	defer func() { _ = tx.Rollback() }() // where fn panics: there is one writing handle, and whoever recovers goes on
	t := &transaction{Tx: tx, kept: &s.statements}
	if err := cmp.Or(fn(New(t)), t.lost); err != nil {
		return errors.Join(err, t.rollback())
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit write: %w", err)
	}
	return nil
}

// WriteAccess is Write for a change that may alter who may do what: every hub on this database notices.
func (s *Store) WriteAccess(ctx context.Context, fn func(*Queries) error) error {
	return s.Write(ctx, func(q *Queries) error {
		if err := fn(q); err != nil {
			return err
		}
		return q.RaiseAccessVersion(ctx)
	})
}

// Ready reports whether the database answers.
func (s *Store) Ready(ctx context.Context) error {
	_, err := s.read.AccessVersion(ctx)
	return err
}

// IsConflict reports whether err says that a row with this unique value exists.
func IsConflict(err error) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	return ok && (e.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE || e.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY)
}

// IsFull reports whether err says that the disk takes no more. What was being written is undone; reading goes on, and
// writing too as soon as there is room.
func IsFull(err error) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	return ok && e.Code()&0xff == sqlite3.SQLITE_FULL
}
