package storetest

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aditdev/adit/internal/store"
)

// Explain fails where a query that ask makes reads a whole table or index, or sorts: what it costs would grow with the database.
func Explain(t *testing.T, ask func(*store.Queries) error) {
	t.Helper()
	for _, step := range Plan(t, ask) {
		if strings.Contains(step, "SCAN") || strings.Contains(step, "TEMP B-TREE") {
			t.Errorf("%s, in\n%s", step, strings.Join(Plan(t, ask), "\n"))
		}
	}
}

// Plan gives the steps of SQLite's plan for the queries that ask makes, of a database without statistics, as the hub's is. That nothing is found in it
// is no failure.
func Plan(t *testing.T, ask func(*store.Queries) error) []string {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(Dir(t), store.File))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	e := &explained{DB: db}
	if err := ask(store.New(e)); err != nil && !errors.Is(err, store.ErrNotFound) {
		t.Fatal(err)
	}
	if len(e.plan) == 0 {
		t.Fatal("nothing was asked")
	}
	return e.plan
}

// explained is a database that notes the plan of what it is asked for many rows.
type explained struct {
	*sql.DB
	plan []string
}

func (e *explained) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	rows, err := e.DB.QueryContext(ctx, "EXPLAIN QUERY PLAN "+query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var id, parent, unused int
		var step string
		if err := rows.Scan(&id, &parent, &unused, &step); err != nil {
			return nil, err
		}
		e.plan = append(e.plan, step)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	return e.DB.QueryContext(ctx, query, args...)
}

func (e *explained) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if rows, err := e.QueryContext(ctx, query, args...); err == nil {
		_ = rows.Close()
	}
	return e.DB.QueryRowContext(ctx, query, args...)
}
