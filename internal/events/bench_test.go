package events_test

import (
	"testing"
	"time"

	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/store"
)

var enrolled = events.Event{Type: events.DeviceEnrolled, Device: "dev_01JB000000000000000000000", User: "usr_01JB000000000000000000000",
	Data: events.Data{"name": "kitchen", "address": "192.0.2.7", "status": "active", "code_id": "ins_01JB00000000000000000"}}

// What an event costs that is a transaction of its own: mostly the disk.
func BenchmarkAppend(b *testing.B) {
	log := open(b, b.TempDir())
	for b.Loop() {
		if err := log.Append(b.Context(), enrolled); err != nil {
			b.Fatal(err)
		}
	}
}

// What an event adds to a transaction of somebody else, as an enrolment.
func BenchmarkWrite(b *testing.B) {
	st, err := store.Open(b.Context(), b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer st.Close()
	log := events.New(st, time.Now)
	err = st.Write(b.Context(), func(q *store.Queries) error {
		for b.Loop() {
			if err := log.Write(b.Context(), q, enrolled); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}
