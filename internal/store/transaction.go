package store

import (
	"context"
	"database/sql"
	"errors"
	"sync"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// transaction is one of the writing handle. Its statements are prepared: SQLite takes longer to parse one than to write its row.
type transaction struct {
	*sql.Tx
	kept   *statements
	used   map[string]*sql.Stmt // those of this transaction
	shared bool                 // with callers who must not be broken off because one goes away
	lost   error                // with which SQLite took the transaction back; nothing is executed behind it
}

// ExecContext is DBTX's.
func (t *transaction) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if t.lost != nil {
		return nil, t.lost
	}
	result, err := t.exec(t.whole(ctx), query, args...)
	t.note(err)
	return result, err
}

func (t *transaction) exec(ctx context.Context, query string, args ...any) (sql.Result, error) {
	statement, err := t.prepared(ctx, query)
	if err != nil {
		return nil, err
	}
	return statement.ExecContext(ctx, args...)
}

// QueryContext is DBTX's. What it returns must be read before the same query is executed again.
func (t *transaction) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if t.lost != nil {
		return nil, t.lost
	}
	rows, err := t.query(t.whole(ctx), query, args...)
	t.note(err)
	return rows, err
}

func (t *transaction) query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	statement, err := t.prepared(ctx, query)
	if err != nil {
		return nil, err
	}
	return statement.QueryContext(ctx, args...)
}

// QueryRowContext is DBTX's.
func (t *transaction) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if ctx = t.whole(ctx); t.lost != nil {
		ended, cancel := context.WithCancel(ctx) // a Row has no other way to fail
		cancel()
		ctx = ended
	}
	row := t.queryRow(ctx, query, args...)
	t.note(row.Err())
	return row
}

func (t *transaction) queryRow(ctx context.Context, query string, args ...any) *sql.Row {
	statement, err := t.prepared(ctx, query)
	if err != nil {
		return t.Tx.QueryRowContext(ctx, query, args...) // which fails again
	}
	return statement.QueryRowContext(ctx, args...)
}

// prepared gives the statement of a query: one that is kept, or one that ends with the transaction and will be kept for the next.
func (t *transaction) prepared(ctx context.Context, query string) (*sql.Stmt, error) {
	if statement := t.used[query]; statement != nil {
		return statement, nil
	}
	var statement *sql.Stmt
	if kept := t.kept.get(query); kept != nil {
		statement = t.StmtContext(ctx, kept)
	} else {
		var err error
		if statement, err = t.PrepareContext(ctx, query); err != nil {
			return nil, err
		}
	}
	if t.used == nil {
		t.used = map[string]*sql.Stmt{}
	}
	t.used[query] = statement
	return statement, nil
}

// whole is ctx, but where others share the transaction: the driver breaks a statement off when ctx ends, and SQLite takes back
// the whole transaction then.
func (t *transaction) whole(ctx context.Context) context.Context {
	if t.shared {
		return context.WithoutCancel(ctx)
	}
	return ctx
}

// note looks whether an error is one with which SQLite may have taken the transaction back (lang_transaction.html §3): what is
// executed behind it would be committed by itself.
func (t *transaction) note(err error) {
	if e, ok := errors.AsType[*sqlite.Error](err); ok && t.lost == nil {
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_INTERRUPT:
			t.lost = err
		}
	}
}

// rollback is the transaction's; where it was lost, that there is none any more is no news.
func (t *transaction) rollback() error {
	if err := ignoreDone(t.Rollback()); t.lost == nil {
		return err
	}
	return nil
}

func ignoreDone(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}

// statements are those of the writing handle that outlive a transaction: each of Queries that was written with. They end with the handle.
type statements struct {
	db *sql.DB

	mu       sync.Mutex
	prepared map[string]*sql.Stmt
	wanted   []string // that were asked for, and are not there yet
}

// get gives the statement of a query; nil where there is none yet, but after the next prepare.
func (s *statements) get(query string) *sql.Stmt {
	s.mu.Lock()
	defer s.mu.Unlock()
	statement := s.prepared[query]
	if statement == nil {
		s.wanted = append(s.wanted, query)
	}
	return statement
}

// prepare prepares what was wanted. It takes the handle, so no transaction of the caller's may be under way.
func (s *statements) prepare(ctx context.Context) {
	for _, query := range s.take() {
		statement, err := s.db.PrepareContext(ctx, query)
		if err != nil {
			continue // it is asked for again, and whoever executes it is told why not
		}
		s.keep(query, statement)
	}
}

func (s *statements) take() (wanted []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	wanted, s.wanted = s.wanted, nil
	return wanted
}

func (s *statements) keep(query string, statement *sql.Stmt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.prepared[query] != nil { // somebody else's transaction wanted it too
		_ = statement.Close()
		return
	}
	if s.prepared == nil {
		s.prepared = map[string]*sql.Stmt{}
	}
	s.prepared[query] = statement
}
