package outgoing

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/storetest"
	"github.com/aditdev/adit/internal/wire"
)

// Of many receivers the URL is the secret. The log keeps it out, which nobody can correct later, and which other receivers get.
func TestEventsOfEndpointsHaveNoURL(t *testing.T) {
	t.Parallel()
	r := stillRig(t, storetest.Dir(t))
	e := r.endpoint("http://127.0.0.1/services/T0/B0/s3cretpath")
	_, err := r.Change(t.Context(), somebody, e.ID, Spec{URL: ptr("http://127.0.0.1/services/T0/B0/s3cretpath2")})
	must(t, err)
	must(t, r.Remove(t.Context(), somebody, e.ID))
	list, _, err := r.Events.Page(t.Context(), events.Filter{Types: []string{"hook.endpoint_*"}}, 0, 10)
	must(t, err)
	if len(list) != 3 {
		t.Errorf("%d events", len(list))
	}
	for _, one := range list {
		text, err := json.Marshal(one.Data)
		must(t, err)
		if strings.Contains(string(text), "s3cret") {
			t.Errorf("%s: %s", one.Type, text)
		}
		inCatalogue(t, one.Type, one.Data)
	}
}

// inCatalogue checks that the catalogue knows a type, and each member that it has.
func inCatalogue(t *testing.T, kind string, data events.Data) {
	t.Helper()
	i := slices.IndexFunc(events.Types(), func(k events.Type) bool { return k.Name == kind })
	if i < 0 {
		t.Fatalf("the catalogue has no %s", kind)
	}
	for name := range data {
		if !slices.Contains(events.Types()[i].Data, name) {
			t.Errorf("%s has %s, which the catalogue does not know", kind, name)
		}
	}
}

// What the test button sends is what the catalogue says: to that endpoint alone, also where it wants no hook.*, and not to the log.
func TestOfEndpointIsAsDocumented(t *testing.T) {
	t.Parallel()
	r, to, other := newRig(t), newReceiver(t, nil), newReceiver(t, nil)
	e := r.endpoint(to.URL, func(s *Spec) { s.Name, s.Events = ptr("one"), &[]string{"device.*"} })
	r.endpoint(other.URL, func(s *Spec) { s.Name, s.Events = ptr("other"), &[]string{"hook.test"} })
	_, err := r.Test(t.Context(), somebody, e.ID)
	must(t, err)
	sent := to.await(t, 1)[0].json(t)
	data, _ := sent["data"].(map[string]any)
	if sent["type"] != events.HookTest || data["endpoint"] != e.ID || data["by"] != somebody.User.Handle || data["message"] == "" {
		t.Errorf("%v", sent)
	}
	inCatalogue(t, events.HookTest, data)
	list, _, err := r.Events.Page(t.Context(), events.Filter{Types: []string{events.HookTest}}, 0, 10)
	if err != nil || len(list) != 0 || len(other.all()) != 0 {
		t.Errorf("%d in the log, %d sent to another, %v", len(list), len(other.all()), err)
	}
}

// A misspelt type is refused: the endpoint would never get anything. One that was stored by another version of the hub stays.
func TestTypesOfEvents(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	to := newReceiver(t, nil)
	_, _, err := r.Create(t.Context(), somebody, Spec{URL: &to.URL, Events: &[]string{"device.*", "device.onlin"}})
	if fieldsOf(err) != "events" || !strings.Contains(wire.MessageOf(err), "Did you mean device.online?") {
		t.Errorf("%v", err)
	}
	e := r.endpoint(to.URL)
	must(t, r.change(t.Context(), func(q *store.Queries) error {
		found, err := q.FindHookEndpoint(t.Context(), e.ID)
		must(t, err)
		found.HookEndpoint.Events = `["old.type"]`
		opened, err := r.open(found.HookEndpoint, nil)
		must(t, err)
		return q.ChangeHookEndpoint(t.Context(), r.changeParams(opened))
	}))
	for _, s := range []Spec{{Name: ptr("renamed")}, {Events: &[]string{"old.type", "device.online"}}} {
		if _, err := r.Change(t.Context(), somebody, e.ID, s); err != nil {
			t.Errorf("%v", err)
		}
	}
	if _, err := r.Change(t.Context(), somebody, e.ID, Spec{Events: &[]string{"older.type"}}); fieldsOf(err) != "events" {
		t.Errorf("%v", err)
	}
}
