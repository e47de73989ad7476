package messaging

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/leaktest"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/storetest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// rig is a Registry on a real database with an owner, an operator, and the devices kitchen and shed.
type rig struct {
	*Registry
	t       *testing.T
	now     time.Time
	people  map[string]*auth.Principal
	kitchen Principal
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, now: time.Now().Truncate(time.Millisecond), people: map[string]*auth.Principal{}}
	st, err := store.Open(t.Context(), storetest.Dir(t))
	r.must(err)
	t.Cleanup(func() { _ = st.Close() })
	clock := func() time.Time { return r.now }
	gate, err := auth.NewGate(t.Context(), st, clock)
	r.must(err)
	r.Registry = New(Options{Log: slog.New(slog.DiscardHandler), Now: clock, Store: st, Gate: gate, Events: events.New(st, clock),
		TokenKey: make([]byte, 32)})
	accounts, err := auth.NewAccounts(st, gate)
	r.must(err)
	for name, role := range map[string]access.Role{"olivia": access.Owner, "otto": access.Operator} {
		u, err := accounts.CreateUser(t.Context(), auth.NewUser{Email: name + "@example.com", Role: role})
		r.must(err)
		token, err := accounts.CreateToken(t.Context(), u.ID, auth.TokenRequest{Name: "test"})
		r.must(err)
		r.people[name], err = accounts.ByToken(t.Context(), token.Secret)
		r.must(err)
	}
	r.kitchen = r.DevicePrincipal(r.device("kitchen"))
	r.device("shed")
	return r
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) device(name string) string {
	r.t.Helper()
	id := store.NewID("dev")
	r.must(r.Gate.Change(r.t.Context(), func(q *store.Queries) error {
		_, err := q.CreateDevice(r.t.Context(), store.CreateDeviceParams{ID: id, Name: name, PublicKey: id, Status: "active", Via: "agent", Facts: "{}"})
		return err
	}))
	return id
}

func (r *rig) write(fn func(context.Context, *store.Queries) error) {
	r.t.Helper()
	r.must(r.Gate.Change(r.t.Context(), func(q *store.Queries) error { return fn(r.t.Context(), q) }))
}

// admit connects from an address of its own, by password.
func (r *rig) admit(username, password string) (Principal, error) {
	return r.Admit(r.t.Context(), Door{Name: "tcp", Address: "192.0.2.1"}, username, password)
}

func (r *rig) credential(q CredentialRequest) (Credential, string) {
	r.t.Helper()
	c, password, err := r.CreateCredential(r.t.Context(), "test", q)
	r.must(err)
	return c, password
}
