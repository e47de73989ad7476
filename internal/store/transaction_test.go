package store

import (
	"context"
	"errors"
	"sync"
	"testing"
)

// keptStatement is the one of PutSetting, nil where none is kept.
func keptStatement(st *Store) any {
	st.statements.mu.Lock()
	defer st.statements.mu.Unlock()
	if s := st.statements.prepared[putSetting]; s != nil {
		return s
	}
	return nil
}

// A statement is prepared once, whichever way the first transaction that wanted it ended, and then used by all.
func TestStatementsAreKept(t *testing.T) {
	t.Parallel()
	st := opened(t)
	ctx := t.Context()
	broken := errors.New("broken off")
	put := func(q *Queries) error { return q.PutSetting(ctx, PutSettingParams{Name: "x", Value: "1"}) }
	err := st.WriteQuietly(ctx, func(q *Queries) error { return errors.Join(put(q), broken) })
	first := keptStatement(st)
	if !errors.Is(err, broken) || first == nil {
		t.Fatalf("%v; kept %v", err, first)
	}
	var writers sync.WaitGroup
	for i := range 50 {
		write := []func(context.Context, func(*Queries) error) error{st.WriteQuietly, st.WriteTogether}[i%2]
		writers.Go(func() {
			if err := write(ctx, put); err != nil {
				t.Error(err)
			}
		})
	}
	writers.Wait()
	if keptStatement(st) != first || !has(t, st, "x") {
		t.Errorf("another statement is kept, or nothing was written: %v", has(t, st, "x"))
	}
}

// Another program may change the schema meanwhile: SQLite prepares anew by itself what was prepared before (sqlite3_prepare_v2).
func TestKeptStatementsFollowTheSchema(t *testing.T) {
	t.Parallel()
	st := opened(t)
	ctx := t.Context()
	put := func(q *Queries) error { return q.PutSetting(ctx, PutSettingParams{Name: "x", Value: "1"}) }
	if err := st.WriteQuietly(ctx, put); err != nil {
		t.Fatal(err)
	}
	for _, change := range []string{"ALTER TABLE settings ADD COLUMN more TEXT", "CREATE INDEX settings_value ON settings (value)"} {
		if err := st.WriteQuietly(ctx, func(q *Queries) error {
			_, err := q.db.ExecContext(ctx, change)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if err := st.WriteTogether(ctx, put); err != nil {
			t.Fatalf("behind %s: %v", change, err)
		}
	}
}
