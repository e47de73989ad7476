package store

import (
	"strings"
	"testing"
)

// Rule 31: a disk that takes no more loses nothing, and needs no restart once there is room.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	put := func(name string) error {
		return s.Write(t.Context(), func(q *Queries) error {
			return q.PutSetting(t.Context(), PutSettingParams{Name: name, Value: strings.Repeat("x", 64<<10)})
		})
	}
	if err := put("before"); err != nil {
		t.Fatal(err)
	}
	limit := func(pages string) {
		if _, err := s.w.ExecContext(t.Context(), "PRAGMA max_page_count = "+pages); err != nil {
			t.Fatal(err)
		}
	}
	limit("1") // SQLite takes it for the size that the file has
	if err := put("full"); !IsFull(err) {
		t.Fatalf("got %v", err)
	}
	if _, err := s.Read().GetSetting(t.Context(), "before"); err != nil {
		t.Errorf("what was acknowledged is gone: %v", err)
	}
	limit("1000000")
	if err := put("after"); err != nil {
		t.Errorf("there is room again, and: %v", err)
	}
	if _, err := s.Read().GetSetting(t.Context(), "full"); err == nil {
		t.Error("a refused write stands")
	}
}
