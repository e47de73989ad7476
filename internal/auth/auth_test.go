package auth

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/leaktest"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/storetest"
	"github.com/aditdev/adit/internal/wire"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

const password = "correct horse battery"

type rig struct {
	*Accounts
	t     *testing.T
	dir   string
	began time.Time
	clock atomic.Int64
}

// now moves by clock alone, and a little at each look: what comes back with time must not come back because the machine is slow.
func (r *rig) now() time.Time {
	return r.began.Add(time.Duration(r.clock.Add(int64(time.Microsecond))))
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, dir: storetest.Dir(t), began: time.Now()}
	st, err := store.Open(t.Context(), r.dir)
	r.must(err)
	t.Cleanup(func() { _ = st.Close() })
	gate, err := NewGate(t.Context(), st, r.now)
	r.must(err)
	r.Accounts, err = NewAccounts(st, gate)
	r.must(err)
	return r
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) wants(code wire.Code, err error) {
	r.t.Helper()
	if err == nil || wire.CodeOf(err) != code {
		r.t.Errorf("got %v, want %s", err, code)
	}
}

func (r *rig) user(name string, role access.Role) store.User {
	r.t.Helper()
	u, err := r.CreateUser(r.t.Context(), NewUser{Email: name + "@example.com", Password: password, Role: role})
	r.must(err)
	return u
}

var here = Where{Address: "192.0.2.1", Program: "test"}

func TestLogin(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	u := r.user("ann", access.Operator)
	_, secret, err := r.Login(t.Context(), " Ann@Example.com ", password, here)
	r.must(err)
	p, err := r.BySession(t.Context(), secret)
	if err != nil || p.User.ID != u.ID || p.ByLink {
		t.Fatalf("%+v, %v", p, err)
	}
	r.must(r.Logout(t.Context(), p))
	_, err = r.BySession(t.Context(), secret)
	r.wants(wire.Unauthenticated, err)
	for _, try := range [][2]string{{"ann@example.com", "wrong"}, {"nobody@example.com", password}, {"", ""}, {"ann@example.com", strings.Repeat("x", 2000)}} {
		_, _, err := r.Login(t.Context(), try[0], try[1], here)
		r.wants(wire.Unauthenticated, err)
		if wire.MessageOf(err) != errSignIn.Message {
			t.Errorf("%q tells more than that it failed", wire.MessageOf(err))
		}
	}
}

func TestSessionsAndTokensExpire(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	u := r.user("ann", access.Operator)
	_, secret, err := r.Login(t.Context(), u.Email, password, here)
	r.must(err)
	token, err := r.CreateToken(t.Context(), u.ID, TokenRequest{Name: "ci", Life: time.Hour})
	r.must(err)
	if _, err := r.ByToken(t.Context(), token.Secret); err != nil {
		t.Fatal(err)
	}
	r.clock.Store(int64(time.Hour + time.Second))
	_, err = r.ByToken(t.Context(), token.Secret)
	r.wants(wire.Unauthenticated, err)
	r.clock.Store(int64(SessionLife + time.Second))
	_, err = r.BySession(t.Context(), secret)
	r.wants(wire.Unauthenticated, err)
}

// Whoever stole a token for an hour must not have one for years.
func TestTokensDoNotOutliveTheirMaker(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	first, err := r.CreateToken(t.Context(), r.user("ann", access.Operator).ID, TokenRequest{Name: "ci", Life: time.Hour})
	r.must(err)
	thief, err := r.ByToken(t.Context(), first.Secret)
	r.must(err)
	for _, life := range []time.Duration{0, time.Minute, maxTokenLife} {
		second, err := r.CreateTokenBy(t.Context(), thief, TokenRequest{Name: "mine", Life: life})
		r.must(err)
		if second.Expires.Sub(first.Expires) > 0 {
			t.Errorf("asked for %s: lives until %s, its maker until %s", life, second.Expires, first.Expires)
		}
	}
}

// Nor must a token that reads make one that opens.
func TestTokensMayNoMoreThanTheirMaker(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	user := r.user("ann", access.Owner)
	for _, maker := range []access.Scope{access.ScopeRead, access.ScopeConnect, access.ScopeAll} {
		first, err := r.CreateToken(t.Context(), user.ID, TokenRequest{Name: "ci", Scope: maker})
		r.must(err)
		p, err := r.ByToken(t.Context(), first.Secret)
		r.must(err)
		if p.Scope != maker {
			t.Errorf("a token of scope %s has %s", maker, p.Scope)
		}
		for _, asked := range []access.Scope{"", access.ScopeRead, access.ScopeConnect, access.ScopeAll} {
			second, err := r.CreateTokenBy(t.Context(), p, TokenRequest{Name: "mine", Scope: asked})
			if wider := !maker.Holds(asked) && asked != ""; wider {
				r.wants(wire.Forbidden, err)
				continue
			}
			r.must(err)
			if made, err := r.ByToken(t.Context(), second.Secret); err != nil || !maker.Holds(made.Scope) || made.Scope != second.Scope {
				t.Errorf("%q by %s: %+v, %v", asked, maker, made, err)
			}
		}
	}
	_, err := r.CreateToken(t.Context(), user.ID, TokenRequest{Name: "ci", Scope: "everything"})
	r.wants(wire.Invalid, err)
}

// Nothing that signs in lies readable in the database.
func TestSecretsAreHashed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	u := r.user("ann", access.Operator)
	_, session, err := r.Login(t.Context(), u.Email, password, here)
	r.must(err)
	token, err := r.CreateToken(t.Context(), u.ID, TokenRequest{Name: "ci"})
	r.must(err)
	link, err := r.NewLoginLink(t.Context(), u.ID)
	r.must(err)
	file := t.TempDir() + "/dump.db"
	r.must(store.Backup(t.Context(), r.dir, file))
	dump := read(t, file)
	for _, secret := range []string{session, token.Secret, link, password} {
		if strings.Contains(dump, strings.TrimPrefix(secret, TokenPrefix)) {
			t.Errorf("%s… lies in the database", secret[:6])
		}
	}
}

// Rule 28: limits per account and per address, and no way to learn who has an account.
func TestTriesAreLimited(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.user("ann", access.Operator)
	tries := func(email, address string) (n int) {
		for ; n < 100; n++ {
			_, _, err := r.Login(t.Context(), email, "wrong", Where{Address: address})
			if wire.CodeOf(err) == wire.RateLimited {
				return n
			}
		}
		return n
	}
	if n := tries("ann@example.com", "192.0.2.1"); n > 10 {
		t.Errorf("%d tries on one account", n)
	}
	_, _, err := r.Login(t.Context(), "ann@example.com", password, Where{Address: "192.0.2.1"})
	r.wants(wire.RateLimited, err)
	if _, _, err := r.Login(t.Context(), "ann@example.com", password, Where{Address: "192.0.2.2"}); err != nil {
		t.Errorf("a stranger elsewhere locked the account: %v", err)
	}
	all := 0
	for place := range 300 {
		if _, ok := r.try("bob@example.com", fmt.Sprintf("198.51.%d.1", place)); ok {
			all++
		}
	}
	if all > 105 { // one comes back every six seconds
		t.Errorf("%d tries on one account from many addresses", all)
	}
	n := 0
	for ; n < 100; n++ {
		_, _, err := r.Login(t.Context(), fmt.Sprintf("u%d@example.com", n), "wrong", Where{Address: "192.0.2.3"})
		if wire.CodeOf(err) == wire.RateLimited {
			break
		}
	}
	if n > 30 {
		t.Errorf("%d tries from one address", n)
	}
	r.clock.Store(int64(2*time.Minute + time.Second))
	if _, _, err := r.Login(t.Context(), "ann@example.com", password, Where{Address: "192.0.2.1"}); err != nil {
		t.Errorf("after a rest: %v", err)
	}
}

func TestUnknownUserCostsAsMuch(t *testing.T) {
	t.Parallel()
	p, err := newPasswords()
	if err != nil {
		t.Fatal(err)
	}
	hash, err := p.hash(t.Context(), password)
	if err != nil {
		t.Fatal(err)
	}
	// With every slot taken, whoever derives a key waits: for a wrong password of somebody, and for one of nobody.
	for range cap(p.slots) {
		p.slots <- struct{}{}
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for name, hash := range map[string]*string{"known": &hash, "unknown": nil} {
		if _, err := p.matches(over, hash, "wrong"); !errors.Is(err, context.Canceled) {
			t.Errorf("a %s user is told without a key being derived: %v", name, err)
		}
	}
	for range cap(p.slots) {
		<-p.slots
	}
	if ok, _ := p.matches(t.Context(), &hash, password); !ok {
		t.Error("the right password does not match")
	}
	if ok, _ := p.matches(t.Context(), nil, ""); ok {
		t.Error("nobody matches the absent hash")
	}
}

// Rule 28: two at a time, whoever waits can give up.
func TestHashingWaitsForASlot(t *testing.T) {
	t.Parallel()
	p, err := newPasswords()
	if err != nil {
		t.Fatal(err)
	}
	p.slots <- struct{}{}
	p.slots <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.hash(ctx, password); err == nil {
		t.Error("a third hash ran")
	}
}

func TestSetup(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if needed, err := r.NeedsOwner(t.Context()); err != nil || !needed {
		t.Fatalf("%v, %v", needed, err)
	}
	old, err := r.NewSetupLink(t.Context())
	r.must(err)
	secret, err := r.NewSetupLink(t.Context())
	r.must(err)
	try := func(secret, email, password string) error {
		_, _, err := r.CreateOwner(t.Context(), secret, email, password, here)
		return err
	}
	r.wants(wire.Unauthenticated, try("wrong", "me@example.com", password))
	r.wants(wire.Unauthenticated, try(old, "me@example.com", password))
	r.wants(wire.Invalid, try(secret, "no address", password))
	r.wants(wire.Invalid, try(secret, "me@example.com", "short"))
	r.must(try(secret, "me@example.com", password))
	r.wants(wire.Unauthenticated, try(secret, "you@example.com", password))
	again, err := r.NewSetupLink(t.Context())
	r.must(err)
	r.wants(wire.Conflict, try(again, "you@example.com", password))
}

// A one-time link is taken by one of many who click it at once.
func TestLinkWorksOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	u := r.user("ann", access.Operator)
	secret, err := r.NewLoginLink(t.Context(), u.ID)
	r.must(err)
	var won atomic.Int64
	var racing sync.WaitGroup
	for i := range 20 {
		racing.Go(func() {
			if _, _, err := r.LoginByLink(t.Context(), secret, Where{Address: fmt.Sprint(i)}); err == nil {
				won.Add(1)
			}
		})
	}
	racing.Wait()
	if won.Load() != 1 {
		t.Errorf("%d came in", won.Load())
	}
	late, err := r.NewLoginLink(t.Context(), u.ID)
	r.must(err)
	r.clock.Store(int64(LinkLife + time.Second))
	_, _, err = r.LoginByLink(t.Context(), late, here)
	r.wants(wire.Unauthenticated, err)
}

func TestChangePassword(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	u := r.user("ann", access.Operator)
	_, elsewhere, err := r.Login(t.Context(), u.Email, password, here)
	r.must(err)
	p, mine, err := r.Login(t.Context(), u.Email, password, here)
	r.must(err)
	r.wants(wire.Forbidden, r.ChangePassword(t.Context(), p, "wrong", "another good one"))
	r.wants(wire.Invalid, r.ChangePassword(t.Context(), p, password, "short"))
	r.must(r.ChangePassword(t.Context(), p, password, "another good one"))
	_, err = r.BySession(t.Context(), elsewhere)
	r.wants(wire.Unauthenticated, err)
	if _, err := r.BySession(t.Context(), mine); err != nil {
		t.Errorf("the own login session ended: %v", err)
	}
	// By a fresh link nobody asks for the old password; ten minutes later somebody does.
	link, err := r.NewLoginLink(t.Context(), u.ID)
	r.must(err)
	p, _, err = r.LoginByLink(t.Context(), link, here)
	r.must(err)
	r.clock.Store(int64(FreshLink + time.Second))
	r.wants(wire.Forbidden, r.ChangePassword(t.Context(), p, "", "yet another one"))
	r.clock.Store(0)
	r.must(r.ChangePassword(t.Context(), p, "", "yet another one"))
}

func decided(_ store.CLILogin, err error) error { return err }

func TestCLILogin(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	u := r.user("ann", access.Operator)
	p := &Principal{User: u, Session: true}
	poll := func(secret string) CLILoginAnswer {
		t.Helper()
		answer, err := r.PollCLILogin(t.Context(), secret)
		r.must(err)
		return answer
	}
	l, err := r.StartCLILogin(t.Context(), "laptop\x1b[2J", "192.0.2.1")
	r.must(err)
	if a := poll(l.Secret); a.Status != "pending" {
		t.Errorf("%+v", a)
	}
	shown, err := r.PendingCLILogin(t.Context(), p, strings.ToLower(FormatUserCode(l.UserCode)))
	if err != nil || shown.Host != "laptop[2J" {
		t.Errorf("%q, %v", shown.Host, err)
	}
	r.wants(wire.Forbidden, decided(r.DecideCLILogin(t.Context(), &Principal{User: u, Credential: "tok_1"}, l.UserCode, true)))
	r.must(decided(r.DecideCLILogin(t.Context(), p, l.UserCode, true)))
	r.wants(wire.NotFound, decided(r.DecideCLILogin(t.Context(), p, l.UserCode, false)))
	a := poll(l.Secret)
	if a.Status != "approved" || a.User.ID != u.ID {
		t.Fatalf("%+v", a)
	}
	if _, err := r.ByToken(t.Context(), a.Token); err != nil {
		t.Error(err)
	}
	if a := poll(l.Secret); a.Status != "expired" || a.Token != "" {
		t.Errorf("the token was given twice: %+v", a)
	}
	denied, err := r.StartCLILogin(t.Context(), "x", "192.0.2.1")
	r.must(err)
	r.must(decided(r.DecideCLILogin(t.Context(), p, denied.UserCode, false)))
	if a := poll(denied.Secret); a.Status != "denied" {
		t.Errorf("%+v", a)
	}
	late, err := r.StartCLILogin(t.Context(), "x", "192.0.2.1")
	r.must(err)
	r.clock.Store(int64(CLILoginLife + time.Second))
	r.wants(wire.NotFound, decided(r.DecideCLILogin(t.Context(), p, late.UserCode, true)))
	if a := poll(late.Secret); a.Status != "expired" {
		t.Errorf("%+v", a)
	}
}

func TestUserCodesAreNotGuessed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := &Principal{User: r.user("ann", access.Operator)}
	for n := range 100 {
		_, err := r.PendingCLILogin(t.Context(), p, "BBBB-BBBB")
		if wire.CodeOf(err) == wire.RateLimited {
			return
		}
		if n > 20 {
			t.Fatal("nobody counts the tries")
		}
	}
}

func TestUsers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	owner := r.user("own", access.Owner)
	role := func(r access.Role) UserPatch { return UserPatch{Role: &r} }
	yes := true
	_, err := r.UpdateUser(t.Context(), access.Owner, owner, role(access.Admin))
	r.wants(wire.Conflict, err) // the last owner
	_, err = r.UpdateUser(t.Context(), access.Owner, owner, UserPatch{Disabled: &yes})
	r.wants(wire.Conflict, err)
	r.wants(wire.Conflict, r.RemoveUser(t.Context(), access.Owner, owner))
	second := r.user("two", access.Admin)
	_, err = r.UpdateUser(t.Context(), access.Admin, second, role(access.Owner))
	r.wants(wire.Forbidden, err)
	r.wants(wire.Forbidden, r.RemoveUser(t.Context(), access.Admin, owner))
	second, err = r.UpdateUser(t.Context(), access.Owner, second, role(access.Owner))
	r.must(err)
	r.must(r.RemoveUser(t.Context(), access.Owner, owner))
	_, err = r.UpdateUser(t.Context(), access.Owner, second, role("root"))
	r.wants(wire.Invalid, err)
	for _, email := range []string{"", "x", "a b@example.com", "Ann <ann@example.com>", "a@b\u202ec.com", strings.Repeat("x", 260) + "@example.com"} {
		_, err := r.CreateUser(t.Context(), NewUser{Email: email, Role: access.Viewer})
		r.wants(wire.Invalid, err)
	}
	_, err = r.CreateUser(t.Context(), NewUser{Email: "TWO@example.com", Role: access.Viewer})
	r.wants(wire.Conflict, err)
	same, err := r.CreateUser(t.Context(), NewUser{Email: "two@example.org", Role: access.Viewer})
	if err != nil || same.Handle != "two-2" {
		t.Errorf("%q, %v", same.Handle, err)
	}
}

func TestLimiterForgetsWithinBounds(t *testing.T) {
	t.Parallel()
	now := time.Now()
	l := NewLimiter(1, time.Hour, func() time.Time { return now })
	for i := range 3 * l.max {
		l.Allow(fmt.Sprint(i))
	}
	if len(l.keys) > l.max {
		t.Errorf("%d keys are kept", len(l.keys))
	}
}

// A session that was left open does not give away what asks for a person: they signed in just now, or say their password.
func TestStepUp(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.user("ada", access.Admin)
	p, _, err := r.Login(t.Context(), "ada@example.com", password, Where{Address: "192.0.2.1"})
	r.must(err)
	r.must(r.StepUp(t.Context(), p, ""))
	r.wants(wire.Forbidden, r.StepUp(t.Context(), p, "wrong"))
	r.clock.Add(int64(FreshLogin))
	err = r.StepUp(t.Context(), p, "")
	if e, ok := errors.AsType[*wire.Error](err); !ok || e.Code != wire.Forbidden || e.Fields["password"] == "" {
		t.Errorf("later: %v", err)
	}
	r.must(r.StepUp(t.Context(), p, password))
	token := &Principal{User: p.User, Scope: access.ScopeAll}
	r.wants(wire.Forbidden, r.StepUp(t.Context(), token, ""))
	r.must(r.StepUp(t.Context(), token, password))
	for range 20 {
		err = r.StepUp(t.Context(), token, "wrong")
	}
	r.wants(wire.RateLimited, err)
}
