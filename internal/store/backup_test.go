package store

import (
	"os"
	"path/filepath"
	"testing"
)

// A backup is nobody else's to read, not even while it is written; and it follows no link that somebody laid there.
func TestBackupIsPrivateFromTheStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, victim := filepath.Join(dir, "backup"), filepath.Join(dir, "victim")
	if err := os.Symlink(victim, file+".part"); err != nil {
		t.Fatal(err)
	}
	err := inPlace(file, func(part string) error {
		info, err := os.Lstat(part)
		if err != nil || info.Mode() != 0o600 {
			t.Errorf("%v, %v", info, err)
		}
		return os.WriteFile(part, []byte("x"), 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if _, err := os.Lstat(victim); err == nil {
		t.Error("a link was followed")
	}
}
