package auth

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func (r *rig) run() {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.t.Context())
	done := make(chan error, 1)
	go func() { done <- r.gate.Run(ctx) }()
	r.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
	})
}

func (r *rig) newDevice() string {
	r.t.Helper()
	id := store.NewID("dev")
	r.must(r.gate.Change(r.t.Context(), func(q *store.Queries) error {
		_, err := q.CreateDevice(r.t.Context(), store.CreateDeviceParams{ID: id, Name: id, PublicKey: id, Status: "active", Via: "agent", Facts: "{}"})
		return err
	}))
	return id
}

func (r *rig) grant(user, device string, expires *int64) string {
	r.t.Helper()
	id := store.NewID("grt")
	r.must(r.gate.Change(r.t.Context(), func(q *store.Queries) error {
		_, err := q.AddGrant(r.t.Context(), store.AddGrantParams{ID: id, UserID: user, DeviceID: &device, Logins: `["*"]`,
			Targets: `["*"]`, ExpiresAt: expires})
		return err
	}))
	return id
}

// patience is how long a test waits for what must come: only what never comes is a fault here, on a machine that does other
// things too.
const patience = time.Minute

// promptly is for what must come within two seconds (rule 17), counted likewise: nothing that ends by itself ends as soon.
const promptly = 30 * time.Second

// Rule 17: what a revoked sign-in or grant carried ends within two seconds, whichever way it was revoked.
func TestRevocationEndsWhatRuns(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.run()
	second, err := store.Open(t.Context(), r.dir) // as a command beside the hub has it
	r.must(err)
	defer second.Close()
	ctx := t.Context()
	for name, revoke := range map[string]func(user store.User, token Token, grant string) error{
		"token": func(u store.User, token Token, _ string) error {
			return r.RevokeToken(ctx, &Principal{User: u}, token.ID)
		},
		"user": func(u store.User, _ Token, _ string) error { return r.RemoveUser(ctx, access.Owner, u) },
		"disabled": func(u store.User, _ Token, _ string) error {
			yes := true
			_, err := r.UpdateUser(ctx, access.Owner, u, UserPatch{Disabled: &yes})
			return err
		},
		"grant": func(_ store.User, _ Token, grant string) error {
			return r.gate.Change(ctx, func(q *store.Queries) error { _, err := q.RemoveGrant(ctx, grant); return err })
		},
		"grant, by another process": func(_ store.User, _ Token, grant string) error {
			return second.WriteAccess(ctx, func(q *store.Queries) error { _, err := q.RemoveGrant(ctx, grant); return err })
		},
		"role": func(u store.User, _ Token, _ string) error {
			viewer := access.Viewer
			_, err := r.UpdateUser(ctx, access.Owner, u, UserPatch{Role: &viewer})
			return err
		},
	} {
		user, device := r.user(store.NewID("u")[20:], access.Operator), r.newDevice()
		grant := r.grant(user.ID, device, nil)
		token, err := r.CreateToken(ctx, user.ID, TokenRequest{Name: "x"})
		r.must(err)
		held, release, err := r.gate.Hold(ctx, access.Use{User: user.ID, Credential: token.ID, Device: device, Target: "ssh", Login: "pi"})
		r.must(err)
		r.must(held.Err())
		began := time.Now()
		r.must(revoke(user, token, grant))
		select {
		case <-held.Done():
		case <-time.After(patience):
			t.Fatalf("%s: it runs on", name)
		}
		if took := time.Since(began); took > promptly {
			t.Errorf("%s: ended after %v", name, took)
		}
		if code := wire.CodeOf(context.Cause(held)); code == wire.Internal {
			t.Errorf("%s: the cause is %v", name, context.Cause(held))
		}
		release()
	}
}

func TestExpiryEndsWhatRuns(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	user, device := r.user("ann", access.Operator), r.newDevice()
	expires := r.now().Add(time.Hour).UnixMilli()
	r.grant(user.ID, device, &expires)
	r.run()
	held, release, err := r.gate.Hold(t.Context(), access.Use{User: user.ID, Device: device, Target: "mqtt"})
	r.must(err)
	defer release()
	r.clock.Add(int64(time.Hour))
	select {
	case <-held.Done():
	case <-time.After(patience):
		t.Fatal("it outlives its grant")
	}
}

// One user must not use up the hub.
func TestOneUserHoldsSoMuchAndNoMore(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	user, other := r.user("ann", access.Viewer), r.user("bob", access.Viewer)
	var first context.CancelFunc
	for range maxHeld {
		_, release, err := r.gate.Hold(t.Context(), access.Use{User: user.ID})
		r.must(err)
		first = release
	}
	_, _, err := r.gate.Hold(t.Context(), access.Use{User: user.ID})
	r.wants(wire.RateLimited, err)
	_, release, err := r.gate.Hold(t.Context(), access.Use{User: other.ID})
	r.must(err)
	release()
	first()
	first() // twice is no harm
	_, _, err = r.gate.Hold(t.Context(), access.Use{User: user.ID})
	r.must(err)
}

func TestHoldRefuses(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	user, device := r.user("ann", access.Operator), r.newDevice()
	_, _, err := r.gate.Hold(t.Context(), access.Use{User: user.ID, Device: device, Target: "ssh"})
	r.wants(wire.NotFound, err)
	_, _, err = r.gate.Hold(t.Context(), access.Use{User: user.ID, Credential: "tok_none"})
	r.wants(wire.Unauthenticated, err)
	_, release, err := r.gate.Hold(t.Context(), access.Use{User: user.ID})
	r.must(err)
	release()
	if len(r.gate.held) != 0 {
		t.Errorf("%d uses are still held", len(r.gate.held))
	}
}
