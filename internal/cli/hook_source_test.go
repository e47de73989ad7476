package cli

import (
	"testing"

	"github.com/aditdev/adit/internal/api"
)

// How long something waits, and what becomes of a sender that waits, was not to be seen: `1h0m0s for its device`, whatever was set.
func TestSourceSaysHowItWaits(t *testing.T) {
	t.Parallel()
	source := func(kind api.HookActionKind, seconds int, offline api.HookSourceOffline) api.HookSource {
		return api.HookSource{Action: api.HookAction{Kind: kind}, ExpiresSeconds: seconds, Offline: offline}
	}
	for _, c := range []struct {
		source api.HookSource
		want   string
	}{
		{source(api.Publish, 3600, api.HookSourceOfflineRefuse), "1h at most; with ?wait and nobody there it is refused"},
		{source(api.Command, 5400, api.HookSourceOfflineQueue), "1h30m at most; with ?wait and nobody there it is done later"},
		{source(api.Command, 90, api.HookSourceOfflineRefuse), "1m30s at most; with ?wait and nobody there it is refused"},
		{source(api.Command, 600, api.HookSourceOfflineRefuse), "10m at most; with ?wait and nobody there it is refused"},
		{source(api.Publish, 0, api.HookSourceOfflineQueue), "as long as it takes; with ?wait and nobody there it is done later"},
		{source(api.Store, 3600, api.HookSourceOfflineRefuse), ""},
	} {
		if got := sourceWaits(c.source); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
