package outgoing

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/storetest"
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
		i := slices.IndexFunc(events.Types(), func(k events.Type) bool { return k.Name == one.Type })
		for name := range one.Data {
			if !slices.Contains(events.Types()[i].Data, name) {
				t.Errorf("%s has %s, which the catalogue does not know", one.Type, name)
			}
		}
	}
}
