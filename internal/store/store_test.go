package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/aditdev/adit/internal/leaktest"
	"github.com/aditdev/adit/internal/seal"
	"github.com/aditdev/adit/internal/store"
	adsql "github.com/aditdev/adit/sql"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func open(t *testing.T, dir string) *store.Store {
	t.Helper()
	st, err := store.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	return st
}

func addUser(t *testing.T, st *store.Store, email string) store.User {
	t.Helper()
	var user store.User
	err := st.WriteAccess(t.Context(), func(q *store.Queries) (err error) {
		user, err = q.CreateUser(t.Context(), store.CreateUserParams{ID: store.NewID("usr"), Email: email, Handle: email,
			Role: "owner", CreatedAt: 1})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return user
}

// What a transaction executes again is prepared. It must write the same, fail with the same errors, go on after one where its caller
// does, and be gone with the transaction, whichever way that ends.
func TestRepeatedStatements(t *testing.T) {
	t.Parallel()
	st := open(t, t.TempDir())
	login := func(q *store.Queries, i int) error {
		return q.CreateCLILogin(t.Context(), store.CreateCLILoginParams{SecretHash: fmt.Sprint(i), UserCode: fmt.Sprint("code", i)})
	}
	broken := errors.New("broken off")
	for _, end := range []error{broken, nil} {
		err := st.WriteQuietly(t.Context(), func(q *store.Queries) error {
			for i := range int64(100) {
				if err := q.RemoveMQTTRetained(t.Context(), "x"); err != nil {
					return err
				}
				if err := q.PutMQTTRetained(t.Context(), store.PutMQTTRetainedParams{Topic: fmt.Sprint("t/", i), Payload: []byte{byte(i)}, At: i}); err != nil {
					return err
				}
			}
			if err := errors.Join(login(q, 1), login(q, 2)); err != nil {
				return err
			}
			if err := login(q, 2); !store.IsConflict(err) {
				t.Errorf("a row that exists: %v", err)
			}
			return errors.Join(login(q, 3), end)
		})
		if !errors.Is(err, end) {
			t.Fatalf("%v instead of %v", err, end)
		}
		rows, err := st.Read().MQTTRetained(t.Context())
		if want := map[bool]int{true: 100, false: 0}[end == nil]; err != nil || len(rows) != want {
			t.Fatalf("%d rows instead of %d: %v", len(rows), want, err)
		}
		for _, row := range rows {
			if row.Topic != fmt.Sprint("t/", row.At) || row.Payload[0] != byte(row.At) {
				t.Errorf("%+v", row)
			}
		}
	}
}

// A hub out of file descriptors must still read its policy (rule 31): as many readers as there can be open no file.
func TestReadersOpenNothingLater(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	st := open(t, dir)
	before := openFiles(t, dir)
	if before < 3 { // the database, its log and the index of that
		t.Fatalf("%d open files of the database at the start", before)
	}
	enough := errors.New("enough")
	all := make(chan struct{})
	var entered, readers sync.WaitGroup
	for range 8 {
		entered.Add(1)
		readers.Go(func() {
			err := st.Follow(t.Context(), func(context.Context) error { entered.Done(); <-all; return enough })
			if !errors.Is(err, enough) {
				t.Error(err)
			}
		})
	}
	entered.Wait()
	after := openFiles(t, dir)
	close(all)
	readers.Wait()
	if after != before {
		t.Errorf("%d open files of the database at the start, %d while eight read", before, after)
	}
}

// openFiles counts this process's file descriptors below dir.
func openFiles(t *testing.T, dir string) (n int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skipf("no /proc here: %v", err)
	}
	for _, e := range entries {
		if at, err := os.Readlink(filepath.Join("/proc/self/fd", e.Name())); err == nil && strings.HasPrefix(at, dir+"/") {
			n++
		}
	}
	return n
}

// sqlc writes parameters inside some clauses verbatim, and such a query fails only when it runs. So each generated
// query must be accepted by a database with the real schema.
func TestEveryQueryPrepares(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open(t, dir)
	db, err := sql.Open("sqlite", filepath.Join(dir, store.File))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	n := 0
	for name, query := range generated(t) {
		stmt, err := db.PrepareContext(t.Context(), query)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		_ = stmt.Close()
		n++
	}
	if n < 80 {
		t.Errorf("only %d queries were found", n)
	}
}

// generated gives the constants of the generated files.
func generated(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("*.sql_gen.go")
	if err != nil {
		t.Fatal(err)
	}
	queries := map[string]string{}
	for _, file := range files {
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 {
				return true
			}
			if text, ok := spec.Values[0].(*ast.BasicLit); ok && text.Kind == token.STRING {
				queries[spec.Names[0].Name], _ = strconv.Unquote(text.Value)
			}
			return true
		})
	}
	return queries
}

func TestOlderHubRefusesNewerDatabase(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	st := open(t, dir)
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	exec(t, dir, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)")
	_, err := store.Open(t.Context(), dir)
	if err == nil || !strings.Contains(err.Error(), "newer adit-hub") {
		t.Fatalf("got %v, want a refusal that names the newer hub", err)
	}
}

// Tokens of a hub from before scopes go on as they were.
func TestOldTokensMayAll(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	migrateTo(t, dir, 1)
	exec(t, dir, `INSERT INTO users (id, email, handle, role, created_at) VALUES ('usr_1', 'a@example.com', 'a', 'owner', 1);
		INSERT INTO tokens (id, user_id, name, secret_hash, created_at, expires_at) VALUES ('tok_1', 'usr_1', 'ci', 'x', 1, 9)`)
	found, err := open(t, dir).Read().FindToken(t.Context(), store.FindTokenParams{SecretHash: "x", Now: 2})
	if err != nil || found.Token.Scope != "all" {
		t.Errorf("%+v, %v", found.Token, err)
	}
}

// What devices had retained before accounts were kept is on theirs, and nothing else on anybody's.
func TestOldRetainedIsOnTheAccountOfItsDevice(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	migrateTo(t, dir, 8)
	exec(t, dir, `INSERT INTO devices (id, name, public_key, status, via, created_at)
		VALUES ('dev_1', 'kit', 'k1', 'active', 'agent', 1), ('dev_2', 'kitchen', 'k2', 'active', 'agent', 1);
		INSERT INTO mqtt_retained (topic, payload, qos, properties, sender, at)
		VALUES ('devices/kitchen/a', 'x', 0, '{}', '', 1), ('devices/gone/a', 'x', 0, '{}', '', 1), ('cmds/kitchen/a', 'x', 0, '{}', '', 1)`)
	rows, err := open(t, dir).Read().MQTTRetained(t.Context())
	if err != nil || len(rows) != 3 {
		t.Fatal(rows, err)
	}
	for _, r := range rows {
		if want := map[string]string{"devices/kitchen/a": "dev_2"}[r.Topic]; r.Owner != want {
			t.Errorf("%s is on the account %q, want %q", r.Topic, r.Owner, want)
		}
	}
}

// Sources of a hub from before they named devices by id mean those that had the name then.
func TestOldSourcesNameDevicesByID(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	migrateTo(t, dir, 11)
	exec(t, dir, `INSERT INTO devices (id, name, public_key, status, via, created_at) VALUES ('dev_1', 'kitchen', 'k1', 'active', 'agent', 1);
		INSERT INTO hook_sources (id, slug, name, settings, enabled, created_at) VALUES
		('src_1', 'a', 'a', '{"rate":0.5,"action":{"kind":"command","device":"kitchen","command":"open"}}', TRUE, 1),
		('src_2', 'b', 'b', '{"action":{"kind":"command","device":"gone"}}', TRUE, 1), ('src_3', 'c', 'c', '{"action":{"kind":"store"}}', TRUE, 1)`)
	rows, err := open(t, dir).Read().HookSources(t.Context())
	if err != nil || len(rows) != 3 {
		t.Fatal(rows, err)
	}
	for i, want := range []string{`{"rate":0.5,"action":{"kind":"command","device":"dev_1","command":"open"}}`,
		`{"action":{"kind":"command","device":"gone"}}`, `{"action":{"kind":"store"}}`} {
		if rows[i].Settings != want {
			t.Errorf("%s, want %s", rows[i].Settings, want)
		}
	}
}

// migrateTo makes a database as the hub of that schema left it.
func migrateTo(t *testing.T, dir string, version int64) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, store.File))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, adsql.Migrations())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := provider.UpTo(t.Context(), version); err != nil {
		t.Fatal(err)
	}
}

func exec(t *testing.T, dir, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, store.File))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

func TestFailedWriteLeavesNothing(t *testing.T) {
	t.Parallel()
	st := open(t, t.TempDir())
	stop := errors.New("stop")
	err := st.Write(t.Context(), func(q *store.Queries) error {
		return errors.Join(q.PutSetting(t.Context(), store.PutSettingParams{Name: "a", Value: "b"}), stop)
	})
	if !errors.Is(err, stop) {
		t.Fatal(err)
	}
	if _, err := st.Read().GetSetting(t.Context(), "a"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the setting stayed: %v", err)
	}
}

func TestBackupWhileWriting(t *testing.T) {
	t.Parallel()
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "backup.db")
	st := open(t, dir)
	first := addUser(t, st, "first@example.com")
	ctx, cancel := context.WithCancel(t.Context())
	var writing sync.WaitGroup
	writing.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			_ = st.Write(ctx, func(q *store.Queries) error {
				return q.PutSetting(ctx, store.PutSettingParams{Name: fmt.Sprint(i), Value: "x"})
			})
		}
	})
	if err := store.Backup(t.Context(), dir, file); err != nil {
		t.Fatal(err)
	}
	cancel()
	writing.Wait()
	if err := store.Backup(t.Context(), dir, file); err == nil {
		t.Error("an existing file was replaced")
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}

	elsewhere := t.TempDir()
	if err := store.Restore(t.Context(), elsewhere, file); err != nil {
		t.Fatal(err)
	}
	restored := open(t, elsewhere)
	if u, err := restored.Read().GetUser(t.Context(), first.ID); err != nil || u.Email != first.Email {
		t.Errorf("got %v, %v", u, err)
	}
}

func TestRestoreRefuses(t *testing.T) {
	t.Parallel()
	dir, empty := t.TempDir(), filepath.Join(t.TempDir(), "empty.db")
	if err := os.WriteFile(empty, []byte("this is no database at all, but it is long enough to look at"), 0o600); err != nil {
		t.Fatal(err)
	}
	st := open(t, dir)
	addUser(t, st, "kept@example.com")
	newer := filepath.Join(t.TempDir(), "newer.db")
	if err := store.Backup(t.Context(), dir, newer); err != nil {
		t.Fatal(err)
	}
	exec(t, filepath.Dir(rename(t, newer)), "INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)")
	for name, file := range map[string]string{
		"damaged": empty, "absent": filepath.Join(dir, "absent"), "newer": filepath.Join(filepath.Dir(newer), store.File),
	} {
		if err := store.Restore(t.Context(), dir, file); err == nil {
			t.Errorf("%s: restored", name)
		}
	}
	if _, err := st.Read().GetUserByEmail(t.Context(), "kept@example.com"); err != nil {
		t.Errorf("a refused restore changed the data: %v", err)
	}
}

func rename(t *testing.T, file string) string {
	t.Helper()
	to := filepath.Join(filepath.Dir(file), store.File)
	if err := os.Rename(file, to); err != nil {
		t.Fatal(err)
	}
	return to
}

// A change that another process makes must be seen: adit-hub's commands work beside a running hub.
func TestFollowSeesAnotherProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	hub, other := open(t, dir), open(t, dir)
	ctx, cancel := context.WithCancel(t.Context())
	versions, done := make(chan int64, 100), make(chan error, 1)
	go func() {
		done <- hub.Follow(ctx, func(ctx context.Context) error {
			v, err := hub.Read().AccessVersion(ctx)
			versions <- v
			return err
		})
	}()
	before := <-versions
	began := time.Now()
	addUser(t, other, "cli@example.com")
	for <-versions == before { // a further look at the same version is allowed
	}
	if took := time.Since(began); took > 30*time.Second { // it looks twice a second, on a machine that has nothing else to do
		t.Errorf("seen after %v", took)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestSecretNeedsItsKey(t *testing.T) {
	t.Parallel()
	st := open(t, t.TempDir())
	sealer, err := seal.New(strings.Repeat("a", 32))
	if err != nil {
		t.Fatal(err)
	}
	first, err := st.Secret(t.Context(), sealer, "k", func() []byte { return []byte("one") })
	if err != nil || string(first) != "one" {
		t.Fatalf("%q, %v", first, err)
	}
	again, err := st.Secret(t.Context(), sealer, "k", func() []byte { return []byte("two") })
	if err != nil || string(again) != "one" {
		t.Errorf("%q, %v: a secret that exists was made anew", again, err)
	}
	other, err := seal.New(strings.Repeat("b", 32))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Secret(t.Context(), other, "k", nil); !errors.Is(err, seal.ErrOpen) {
		t.Errorf("got %v, want ErrOpen", err)
	}
	stored, err := st.Read().GetSecret(t.Context(), "k")
	if err != nil || strings.Contains(stored, "one") {
		t.Errorf("the secret lies open: %q, %v", stored, err)
	}
}
