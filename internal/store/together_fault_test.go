package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// These are in the package itself for the statements that no query of the hub has: slow ones, and those that fill the disk.

const (
	slowInsert = `INSERT INTO settings (name, value) SELECT 'slow ' || n, '' FROM (WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c
		WHERE n < 100000000) SELECT max(n) AS n FROM c)`
	plainInsert = `INSERT INTO settings (name, value) VALUES (?, ?)`
)

func opened(t *testing.T) *Store {
	t.Helper()
	st, err := Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	return st
}

func has(t *testing.T, st *Store, name string) bool {
	t.Helper()
	_, err := st.Read().GetSetting(t.Context(), name)
	if err != nil && !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	return err == nil
}

// One that panics takes neither the others with it nor the leader's place: else nobody writes any more.
func TestWriteTogetherSurvivesAPanic(t *testing.T) {
	t.Parallel()
	st := opened(t)
	paniced := make(chan any, 1)
	go func() {
		defer func() { paniced <- recover() }()
		_ = st.WriteTogether(t.Context(), func(q *Queries) error {
			if _, err := q.db.ExecContext(t.Context(), plainInsert, "panic", ""); err != nil {
				return err
			}
			panic("this one")
		})
	}()
	if got := <-paniced; !strings.Contains(fmt.Sprint(got), "this one") {
		t.Errorf("recovered %v", got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		done <- st.WriteTogether(ctx, func(q *Queries) error { return q.PutSetting(ctx, PutSettingParams{Name: "next", Value: "1"}) })
	}()
	select {
	case err := <-done:
		if err != nil || !has(t, st, "next") || has(t, st, "panic") {
			t.Errorf("after a panic: %v, next %v, panic %v", err, has(t, st, "next"), has(t, st, "panic"))
		}
	case <-ctx.Done():
		t.Fatal("after a panic nobody writes any more")
	}
}

// WriteQuietly must not keep the one writing handle when fn panics: net/http goes on after that.
func TestWriteSurvivesAPanic(t *testing.T) {
	t.Parallel()
	st := opened(t)
	func() {
		defer func() { _ = recover() }()
		_ = st.WriteQuietly(t.Context(), func(*Queries) error { panic("this one") })
	}()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := st.WriteQuietly(ctx, func(q *Queries) error { return q.PutSetting(ctx, PutSettingParams{Name: "next", Value: "1"}) }); err != nil {
		t.Fatalf("after a panic: %v", err)
	}
}

// A caller who goes away in the middle of a statement does not take back what others wrote with it.
func TestWriteTogetherIsNotInterrupted(t *testing.T) {
	t.Parallel()
	st := opened(t)
	ctx, leave := context.WithCancel(t.Context())
	others := []*entry{
		{fn: func(q *Queries) error { return q.PutSetting(t.Context(), PutSettingParams{Name: "first", Value: "1"}) }},
		{fn: func(q *Queries) error {
			time.AfterFunc(10*time.Millisecond, leave)
			_, err := q.db.ExecContext(ctx, strings.Replace(slowInsert, "100000000", "200000", 1))
			return err
		}},
		{fn: func(q *Queries) error { return q.PutSetting(t.Context(), PutSettingParams{Name: "last", Value: "1"}) }},
	}
	tx, err := st.w.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := writeEntries(t.Context(), &transaction{Tx: tx, kept: &st.statements, shared: true}, others); err != nil {
		t.Fatalf("all failed with one that was left: %v", err)
	}
	if !has(t, st, "first") || !has(t, st, "last") {
		t.Error("what others wrote is not there")
	}
}

// SQLite takes back the whole transaction where the disk is full. What fn writes behind that would be committed by itself,
// statement by statement.
func TestNothingIsWrittenBehindAFullDisk(t *testing.T) {
	t.Parallel()
	for name, write := range map[string]func(*Store, context.Context, func(*Queries) error) error{
		"alone": (*Store).WriteQuietly, "together": (*Store).WriteTogether,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := opened(t)
			var pages int64
			if err := st.w.QueryRowContext(t.Context(), "PRAGMA page_count").Scan(&pages); err != nil {
				t.Fatal(err)
			}
			if err := st.w.QueryRowContext(t.Context(), fmt.Sprintf("PRAGMA max_page_count = %d", pages+10)).Scan(&pages); err != nil {
				t.Fatal(err)
			}
			err := write(st, t.Context(), func(q *Queries) error {
				_, first := q.db.ExecContext(t.Context(), plainInsert, "large", strings.Repeat("x", 1<<20))
				_, second := q.db.ExecContext(t.Context(), plainInsert, "small", "")
				return errors.Join(first, second)
			})
			if err == nil || has(t, st, "large") || has(t, st, "small") {
				t.Errorf("%v; large %v, small %v", err, has(t, st, "large"), has(t, st, "small"))
			}
			if err := write(st, t.Context(), func(q *Queries) error { return q.PutSetting(t.Context(), PutSettingParams{Name: "next", Value: "1"}) }); err != nil {
				t.Errorf("after a full disk: %v", err)
			}
		})
	}
}
