package incoming

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/storetest"
)

// The log says which source was made, changed in what, and removed, by a name that is there later too; and never by a slug that is its secret.
func TestEventsOfSourcesNameThem(t *testing.T) {
	t.Parallel()
	r := newRig(t, storetest.Dir(t))
	s := r.publishing(nil)
	secret := "0123456789ab"
	for _, c := range []Change{
		{Name: new("garage"), Settings: func(s *Settings) { s.Rate, s.Transform = 5, &Transform{Kind: "jq", Text: "."} }},
		{Settings: func(s *Settings) { s.Transform = nil }, Enabled: new(false)},
		{Secret: &secret, Settings: func(s *Settings) { s.Verify = Verification{Kind: VerifyBearer} }},
		{Settings: func(*Settings) {}},
	} {
		if _, err := r.Change(t.Context(), "", s.ID, c); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := r.Rotate(t.Context(), "", s.ID, "", nil); err != nil {
		t.Fatal(err)
	}
	if err := r.Remove(t.Context(), "", s.ID); err != nil {
		t.Fatal(err)
	}
	list, _, err := r.Events.Page(t.Context(), events.Filter{Types: []string{"hook.source_*"}, Sees: func(events.Event) bool { return true }}, 0, 20)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range list {
		text := fmt.Sprint(e.Type, " ", e.Data["name"], " ", e.Data["changed"])
		got = append([]string{text}, got...)
		if strings.Contains(fmt.Sprint(e.Data), s.Slug) {
			t.Errorf("the log holds the secret: %v", e.Data)
		}
	}
	want := []string{"hook.source_added source <nil>", "hook.source_changed garage [name rate transform]", "hook.source_changed garage [enabled transform]",
		"hook.source_changed garage [secret verify]", "hook.source_changed garage <nil>", "hook.source_changed garage [secret]", "hook.source_removed garage <nil>"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
