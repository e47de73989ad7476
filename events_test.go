package main

import (
	"database/sql"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	_ "modernc.org/sqlite"
)

// A hub writes its own start and stop, and verify finds who changes the log behind its back.
func TestEventsVerify(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	environ := production(dir)
	if out := must(t, environ, "", "events", "verify"); !strings.Contains(out, "no event yet") {
		t.Errorf("at first: %s", out)
	}
	must(t, environ, "", "user", "create", "--email", "owner@example.com", "--role", "owner")
	hub := serve(t, environ)
	token(t, environ, "owner")
	if status := hub.stop(); status != 0 {
		t.Fatal(hub.stderr)
	}
	var found struct {
		OK            bool
		Checked, Last int64
		Head          string
		Broken        *struct {
			ID   int64
			Kind string
		}
	}
	read := func(text string) {
		t.Helper()
		if err := json.Unmarshal([]byte(text), &found); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
	}
	read(must(t, environ, "", "events", "verify", "--json"))
	if !found.OK || found.Checked != 4 || found.Last != 4 || found.Broken != nil { // user, start, token, stop
		t.Errorf("%+v", found)
	}
	must(t, environ, "", "events", "verify", "--head", found.Head)
	if status, _, stderr := adithub(t, environ, "", "events", "verify", "--head", "4:abc"); status != 2 {
		t.Errorf("a head that is none: %d %s", status, stderr)
	}
	db, err := sql.Open("sqlite", filepath.Join(dir, "adit.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), "UPDATE events SET user_id = 'usr_else' WHERE type = 'token.created'"); err != nil {
		t.Fatal(err)
	}
	status, stdout, stderr := adithub(t, environ, "", "events", "verify", "--json")
	read(stdout)
	if status != 6 || found.OK || found.Broken == nil || found.Broken.ID != 3 || found.Broken.Kind != "changed" ||
		!strings.Contains(stderr, "event 3 is not what the hub wrote") {
		t.Errorf("%d %s %s", status, stdout, stderr)
	}
}
