// Package storetest gives tests data directories whose database is up to date: with the race detector the migrations cost more
// than a second of processor time, which hundreds of tests would pay.
package storetest

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/aditdev/adit/internal/store"
)

// migrated is an empty database, made once in a process.
var migrated = sync.OnceValues(func() (data []byte, err error) {
	dir, err := os.MkdirTemp("", "adit-store-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	st, err := store.Open(context.Background(), dir)
	if err != nil {
		return nil, err
	}
	if err := st.Close(); err != nil { // which puts the log into the file
		return nil, err
	}
	return os.ReadFile(filepath.Join(dir, store.File))
})

// Dir is a data directory of the test's own, for store.Open.
func Dir(t testing.TB) string {
	t.Helper()
	data, err := migrated()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, store.File), data, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}
