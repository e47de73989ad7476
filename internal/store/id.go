package store

import (
	"encoding/json"
	"time"

	"github.com/oklog/ulid/v2"
)

// NewID makes an id such as `dev_01JD…`: a prefix of the table's own and a ULID. Ids need no coordination between hubs.
func NewID(prefix string) string { return prefix + "_" + ulid.Make().String() }

// Millis is t as the database keeps it.
func Millis(t time.Time) int64 { return t.UnixMilli() }

// MillisOf is Millis for a time that may be absent.
func MillisOf(t *time.Time) *int64 {
	if t == nil {
		return nil
	}
	ms := t.UnixMilli()
	return &ms
}

// Time reads what Millis wrote.
func Time(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// TimeOf is Time for a column that may be absent.
func TimeOf(ms *int64) *time.Time {
	if ms == nil {
		return nil
	}
	t := Time(*ms)
	return &t
}

// JSONList writes a list as its column keeps it; nil is an empty list.
func JSONList(list []string) string {
	if len(list) == 0 {
		return "[]"
	}
	text, err := json.Marshal(list)
	if err != nil {
		panic(err) // strings always marshal
	}
	return string(text)
}

// List reads what JSONList wrote. Text that is no list reads as an empty one, which allows nothing.
func List(text string) []string {
	list := []string{}
	if json.Unmarshal([]byte(text), &list) != nil {
		return []string{}
	}
	return list
}
