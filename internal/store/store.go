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

	together together
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
	return &Store{path: path, w: w, r: r, read: New(r), committed: make(chan struct{})}, nil
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
	defer func() { _ = tx.Rollback() }() // where fn panics: there is one writing handle, and whoever recovers goes on
	r := &repeated{Tx: tx}
	if err := cmp.Or(fn(New(r)), r.lost); err != nil {
		return errors.Join(err, r.rollback())
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit write: %w", err)
	}
	return nil
}

// repeated is a transaction that prepares what it executes more than once: SQLite takes longer to parse a statement than to
// write its row, and the broker writes thousands at a time. The transaction's end closes them.
type repeated struct {
	*sql.Tx
	statements map[string]*sql.Stmt // nil: executed once so far
	shared     bool                 // with callers who must not be broken off because one goes away
	lost       error                // with which SQLite took the transaction back; nothing is executed behind it
}

// ExecContext is DBTX's.
func (r *repeated) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if r.lost != nil {
		return nil, r.lost
	}
	result, err := r.exec(r.whole(ctx), query, args...)
	r.note(err)
	return result, err
}

func (r *repeated) exec(ctx context.Context, query string, args ...any) (sql.Result, error) {
	statement, err := r.prepared(ctx, query)
	if err != nil {
		return nil, err
	}
	if statement == nil {
		return r.Tx.ExecContext(ctx, query, args...)
	}
	return statement.ExecContext(ctx, args...)
}

// QueryContext is DBTX's.
func (r *repeated) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if r.lost != nil {
		return nil, r.lost
	}
	rows, err := r.Tx.QueryContext(r.whole(ctx), query, args...)
	r.note(err)
	return rows, err
}

// QueryRowContext is DBTX's.
func (r *repeated) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if ctx = r.whole(ctx); r.lost != nil {
		ended, cancel := context.WithCancel(ctx) // a Row has no other way to fail
		cancel()
		ctx = ended
	}
	row := r.queryRow(ctx, query, args...)
	r.note(row.Err())
	return row
}

func (r *repeated) queryRow(ctx context.Context, query string, args ...any) *sql.Row {
	if statement, err := r.prepared(ctx, query); err == nil && statement != nil {
		return statement.QueryRowContext(ctx, args...)
	}
	return r.Tx.QueryRowContext(ctx, query, args...) // which fails again where preparing did
}

// whole is ctx, but where others share the transaction: the driver breaks a statement off when ctx ends, and SQLite takes back
// the whole transaction then.
func (r *repeated) whole(ctx context.Context) context.Context {
	if r.shared {
		return context.WithoutCancel(ctx)
	}
	return ctx
}

// note looks whether an error is one with which SQLite may have taken the transaction back (lang_transaction.html §3): what is
// executed behind it would be committed by itself.
func (r *repeated) note(err error) {
	if e, ok := errors.AsType[*sqlite.Error](err); ok && r.lost == nil {
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_INTERRUPT:
			r.lost = err
		}
	}
}

// rollback is the transaction's; where it was lost, that there is none any more is no news.
func (r *repeated) rollback() error {
	if err := ignoreDone(r.Rollback()); r.lost == nil {
		return err
	}
	return nil
}

// prepared gives the statement of a query that came before, nil where this is the first time.
func (r *repeated) prepared(ctx context.Context, query string) (*sql.Stmt, error) {
	statement, again := r.statements[query]
	if !again {
		if r.statements == nil {
			r.statements = map[string]*sql.Stmt{}
		}
		r.statements[query] = nil
		return nil, nil
	}
	if statement == nil {
		var err error
		if statement, err = r.PrepareContext(ctx, query); err != nil {
			return nil, err
		}
		r.statements[query] = statement
	}
	return statement, nil
}

func ignoreDone(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
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
