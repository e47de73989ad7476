package incoming

import (
	"testing"
	"time"

	"github.com/aditdev/adit/internal/storetest"
	"github.com/aditdev/adit/internal/wire"
)

// Whoever knows an address and no secret shuts it for nobody but their own network: the rate of the source is for who is verified.
func TestStrangersDoNotUseUpTheRate(t *testing.T) {
	t.Parallel()
	r := newRig(t, storetest.Dir(t))
	s, secret, err := r.Create(t.Context(), "", Change{Settings: func(s *Settings) {
		*s = Settings{Verify: Verification{Kind: VerifyBearer}, Rate: 0.01, Burst: 2, Action: Action{Kind: ActionStore}}
	}})
	if err != nil {
		t.Fatal(err)
	}
	from := func(address, token string) wire.Code {
		_, err := r.sendFrom(address, s, "x", "Authorization", "Bearer "+token)
		if err == nil {
			return ""
		}
		return wire.CodeOf(err)
	}
	tries := 0
	for from("192.0.2.1", "guess") == wire.Unauthenticated && tries < 100*strangersBurst {
		tries++
	}
	if tries < strangersBurst || tries == 100*strangersBurst {
		t.Errorf("a stranger is heard %d times", tries)
	}
	for _, row := range []struct {
		what, address, token string
		want                 wire.Code
	}{
		{"its sender", "192.0.2.2", secret, ""},
		{"its sender again", "192.0.2.2", secret, ""},
		{"more than the source takes", "192.0.2.2", secret, wire.RateLimited},
		{"a stranger elsewhere", "192.0.2.2", "guess", wire.Unauthenticated},
	} {
		if code := from(row.address, row.token); code != row.want {
			t.Errorf("%s: %q, want %q", row.what, code, row.want)
		}
	}
	r.forward(time.Hour)
	if code := from("192.0.2.1", secret); code != "" {
		t.Errorf("an hour later: %s", code)
	}
}
