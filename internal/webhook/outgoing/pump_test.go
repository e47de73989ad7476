package outgoing

import (
	"context"
	"sync"
	"testing"

	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/storetest"
)

// Who goes by tags gets the events of a device from its first to its last, also while the policy does not know the device yet, or any more.
func TestEventsByTag(t *testing.T) {
	t.Parallel()
	r, to := stillRig(t, storetest.Dir(t)), newReceiver(t, nil)
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup // but for the Gate, which is slow here
	running.Go(func() { _ = r.Events.Run(ctx) })
	running.Go(func() { _ = r.Run(ctx) })
	t.Cleanup(func() { stop(); running.Wait() })
	r.endpoint(to.URL, func(s *Spec) {
		s.Events, s.Devices, s.Mode = &[]string{"device.*"}, &[]string{"tag:home"}, ptr(ModeOrdered)
	})
	r.endpoint(to.URL, func(s *Spec) { s.Events, s.Devices = &[]string{"login.*"}, &[]string{"tag:home"} })
	for id, tag := range map[string]string{"dev_other": "work", "dev_new": "home"} {
		must(t, r.Store.WriteAccess(t.Context(), func(q *store.Queries) error {
			_, err := q.CreateDevice(t.Context(), store.CreateDeviceParams{ID: id, Name: id, PublicKey: id, Status: "active", Via: "agent", Facts: "{}", CreatedAt: 1})
			must(t, err)
			must(t, q.AddDeviceTag(t.Context(), store.AddDeviceTagParams{DeviceID: id, Tag: tag}))
			return r.Events.Write(t.Context(), q, events.Event{Type: events.DeviceEnrolled, Device: id, Data: events.Data{"name": id}})
		}))
	}
	to.await(t, 1)
	must(t, r.Store.WriteAccess(t.Context(), func(q *store.Queries) error {
		_, err := q.RemoveDevice(t.Context(), "dev_new")
		must(t, err)
		return r.Events.Write(t.Context(), q, events.Event{Type: events.DeviceRemoved, Device: "dev_new", Data: events.Data{"name": "dev_new", "tags": []string{"home"}}})
	}))
	for i, g := range to.await(t, 2) {
		body := g.json(t)
		if kind := []string{events.DeviceEnrolled, events.DeviceRemoved}[i]; body["type"] != kind || body["device"].(map[string]any)["name"] != "dev_new" {
			t.Errorf("%d is %s", i, g.body)
		}
	}
}
