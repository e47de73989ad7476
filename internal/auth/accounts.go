// Package auth finds out who somebody is: passwords, login sessions, one-time links, API tokens and the CLI's login;
// and holds the live policy by which internal/access decides.
package auth

import (
	"context"
	"errors"
	"fmt"
	"net/mail"
	"regexp"
	"strings"
	"time"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

// How long things live.
const (
	SessionLife  = 14 * 24 * time.Hour
	TokenLife    = 90 * 24 * time.Hour
	SetupLife    = 24 * time.Hour
	LinkLife     = 15 * time.Minute
	CLILoginLife = 10 * time.Minute
	// FreshLink is how long a login session that began with a link may set a password without the old one.
	FreshLink = 10 * time.Minute
)

// Principal is who a request comes from. It is read anew for each request.
type Principal struct {
	User       store.User
	Credential string       // id of the login session or API token
	Session    bool         // by cookie
	ByLink     bool         // the login session began with a one-time link
	Since      time.Time    // of the login session
	Until      time.Time    // when the API token expires; zero for a login session
	Scope      access.Scope // of the API token; a login session may all
}

// Role is the user's.
func (p *Principal) Role() access.Role { return access.Role(p.User.Role) }

// Accounts signs people in. It is safe for concurrent use.
type Accounts struct {
	store     *store.Store
	gate      *Gate
	now       func() time.Time
	passwords *passwords
	byPlace   *Limiter // tries of an account from one network, or by somebody signed in
	byAccount *Limiter // tries of an account from anywhere
	byAddress *Limiter // tries from one network
	touched   *Limiter // one note of last use per token and minute
}

// NewAccounts makes Accounts on a store and its gate.
func NewAccounts(st *store.Store, gate *Gate) (*Accounts, error) {
	hashes, err := newPasswords()
	if err != nil {
		return nil, fmt.Errorf("passwords: %w", err)
	}
	now := gate.now
	return &Accounts{
		store: st, gate: gate, now: now, passwords: hashes,
		byPlace:   NewLimiter(10, time.Minute, now),
		byAccount: NewLimiter(100, 6*time.Second, now),
		byAddress: NewLimiter(30, 20*time.Second, now),
		touched:   NewLimiter(1, time.Minute, now),
	}, nil
}

var (
	errSignIn = wire.Errorf(wire.Unauthenticated, "This e-mail and password do not belong together.")
	errTries  = wire.Errorf(wire.RateLimited, "Too many tries. Wait some minutes; sign-ins that are open already go on.")
)

// Where tells a login's origin, for the list of login sessions and the log.
type Where struct {
	Address string // of the client, behind trusted proxies
	Program string // User-Agent
}

// Login checks a password and begins a login session. It returns the cookie's secret. Failures are counted by account,
// by network, and by both together; each runs dry as RateLimited before the password is looked at.
func (a *Accounts) Login(ctx context.Context, email, password string, where Where) (*Principal, string, error) {
	email = NormalEmail(email)
	giveBack, ok := a.try(email, where.Address)
	if !ok {
		return nil, "", errTries
	}
	user, err := a.store.Read().GetUserByEmail(ctx, email)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, "", fmt.Errorf("find user: %w", err)
	}
	ok, err = a.passwords.matches(ctx, user.PasswordHash, password)
	if err != nil {
		return nil, "", err
	}
	if !ok || user.Disabled {
		return nil, "", errSignIn
	}
	giveBack()
	return a.beginSession(ctx, user, false, where)
}

// try takes one try of an account and of a network, or none. From one network an account has few, so that it has some
// left for its owner at another.
func (a *Accounts) try(email, address string) (giveBack func(), ok bool) {
	network := Network(address)
	giveBack = func() {}
	for _, l := range []struct {
		limiter *Limiter
		key     string
	}{{a.byAddress, network}, {a.byPlace, network + " " + email}, {a.byAccount, email}} {
		if !l.limiter.Allow(l.key) {
			giveBack()
			return nil, false
		}
		taken := giveBack
		giveBack = func() { taken(); l.limiter.GiveBack(l.key) }
	}
	return giveBack, true
}

func (a *Accounts) beginSession(ctx context.Context, user store.User, byLink bool, where Where) (*Principal, string, error) {
	now := a.now()
	secret := newSecret()
	row := store.CreateLoginSessionParams{
		ID: store.NewID("ses"), SecretHash: Hash(secret), UserID: user.ID, ByLink: byLink, Address: where.Address,
		Program: wire.Printable(where.Program, 200), CreatedAt: store.Millis(now), ExpiresAt: store.Millis(now.Add(SessionLife)),
	}
	ms := row.CreatedAt
	err := a.gate.Change(ctx, func(q *store.Queries) error {
		if err := q.CreateLoginSession(ctx, row); err != nil {
			return err
		}
		return q.SetLastLogin(ctx, store.SetLastLoginParams{ID: user.ID, LastLoginAt: &ms})
	})
	if err != nil {
		return nil, "", fmt.Errorf("begin login session: %w", err)
	}
	user.LastLoginAt = &ms
	return &Principal{User: user, Credential: row.ID, Session: true, ByLink: byLink, Since: now, Scope: access.ScopeAll}, secret, nil
}

// BySession finds who a cookie's secret belongs to, or fails with Unauthenticated.
func (a *Accounts) BySession(ctx context.Context, secret string) (*Principal, error) {
	row, err := a.store.Read().FindLoginSession(ctx, store.FindLoginSessionParams{
		SecretHash: Hash(secret), Now: store.Millis(a.now())})
	if errors.Is(err, store.ErrNotFound) {
		return nil, wire.Errorf(wire.Unauthenticated, "You are signed out. Sign in again.")
	}
	if err != nil {
		return nil, fmt.Errorf("find login session: %w", err)
	}
	s := row.LoginSession
	return &Principal{User: row.User, Credential: s.ID, Session: true, ByLink: s.ByLink, Since: store.Time(s.CreatedAt),
		Scope: access.ScopeAll}, nil
}

// Logout ends a login session and what runs by it.
func (a *Accounts) Logout(ctx context.Context, p *Principal) error {
	return a.gate.Change(ctx, func(q *store.Queries) error {
		_, err := q.EndLoginSession(ctx, p.Credential)
		return err
	})
}

// ChangePassword sets the user's own password and ends every other login session of theirs. It needs the current one,
// unless the login session began with a one-time link just now.
func (a *Accounts) ChangePassword(ctx context.Context, p *Principal, current, next string) error {
	if err := checkNew(next); err != nil {
		return err
	}
	fresh := p.Session && p.ByLink && a.now().Sub(p.Since) < FreshLink
	if !fresh {
		if err := a.confirm(ctx, p.User, current); err != nil {
			return err
		}
	}
	return a.setPassword(ctx, p.User.ID, p.Credential, next)
}

// FreshLogin is how long a login session counts as a person who has just proven who they are.
const FreshLogin = 5 * time.Minute

// StepUp makes sure that it is really the user who asks for something that a session left open must not give away: they
// signed in just now, or give their password again. It fails with Forbidden, and with RateLimited after too many tries.
func (a *Accounts) StepUp(ctx context.Context, p *Principal, password string) error {
	if password == "" && p.Session && a.now().Sub(p.Since) < FreshLogin {
		return nil
	}
	if password == "" {
		return &wire.Error{Code: wire.Forbidden, Message: "Say your password once more: you did not sign in just now.",
			Fields: map[string]string{"password": "Your own password."}}
	}
	err := a.confirm(ctx, p.User, password)
	if e, ok := errors.AsType[*wire.Error](err); ok && e.Fields != nil {
		return &wire.Error{Code: wire.Forbidden, Message: "Your password is another one.",
			Fields: map[string]string{"password": "This is not your password."}}
	}
	return err
}

func (a *Accounts) confirm(ctx context.Context, user store.User, password string) error {
	if !a.byPlace.Allow(user.ID) { // whoever asks is signed in
		return errTries
	}
	ok, err := a.passwords.matches(ctx, user.PasswordHash, password)
	if ok {
		a.byPlace.GiveBack(user.ID)
	}
	if err == nil && !ok {
		return &wire.Error{Code: wire.Forbidden, Message: "The current password is another one.",
			Fields: map[string]string{"current_password": "This is not the current password."}}
	}
	return err
}

func (a *Accounts) setPassword(ctx context.Context, user, keptSession, password string) error {
	hash, err := a.passwords.hash(ctx, password)
	if err != nil {
		return err
	}
	return a.gate.Change(ctx, func(q *store.Queries) error {
		if err := q.SetPassword(ctx, store.SetPasswordParams{ID: user, PasswordHash: &hash}); err != nil {
			return err
		}
		if err := q.DropLoginLinksOf(ctx, &user); err != nil {
			return err
		}
		_, err := q.EndOtherLoginSessions(ctx, store.EndOtherLoginSessionsParams{UserID: user, Kept: keptSession})
		return err
	})
}

// NewUser is what CreateUser takes. Without a password the user signs in by a one-time link first.
type NewUser struct {
	Email, Handle, Password string
	Role                    access.Role
}

// CreateUser makes a user. The handle is made of the e-mail where it is empty.
func (a *Accounts) CreateUser(ctx context.Context, u NewUser) (user store.User, err error) {
	row, err := a.userRow(ctx, u)
	if err != nil {
		return user, err
	}
	err = a.gate.Change(ctx, func(q *store.Queries) error {
		user, err = insertUser(ctx, q, row, u.Handle == "")
		return err
	})
	return user, err
}

func (a *Accounts) userRow(ctx context.Context, u NewUser) (row store.CreateUserParams, err error) {
	row = store.CreateUserParams{ID: store.NewID("usr"), Email: NormalEmail(u.Email), Handle: u.Handle,
		Role: string(u.Role), CreatedAt: store.Millis(a.now())}
	if err := checkEmail(row.Email); err != nil {
		return row, err
	}
	if !u.Role.Valid() {
		return row, wire.Errorf(wire.Invalid, "%q is no role: owner, admin, operator or viewer.", u.Role)
	}
	if row.Handle == "" {
		row.Handle = handleOf(row.Email)
	}
	if err := CheckHandle(row.Handle); err != nil {
		return row, err
	}
	if u.Password == "" {
		return row, nil
	}
	if err := checkNew(u.Password); err != nil {
		return row, err
	}
	hash, err := a.passwords.hash(ctx, u.Password)
	row.PasswordHash = &hash
	return row, err
}

func insertUser(ctx context.Context, q *store.Queries, row store.CreateUserParams, mayNumber bool) (store.User, error) {
	base := row.Handle
	for n := 2; mayNumber; n++ {
		taken, err := q.HandleTaken(ctx, row.Handle)
		if err != nil {
			return store.User{}, err
		}
		if !taken {
			break
		}
		row.Handle = fmt.Sprintf("%.58s-%d", base, n)
	}
	user, err := q.CreateUser(ctx, row)
	if store.IsConflict(err) {
		return user, wire.Wrap(err, wire.Conflict, "There is a user with this e-mail or handle already.")
	}
	return user, err
}

// idPrefix begins the id of every user.
const idPrefix = "usr_"

var handlePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$`)

// CheckHandle refuses what may not stand as a handle: it is also an SSH user name, and must never be read as an id.
func CheckHandle(handle string) error {
	if !handlePattern.MatchString(handle) || strings.HasPrefix(handle, idPrefix) {
		return &wire.Error{Code: wire.Invalid, Message: "A handle takes 1 to 63 of a-z, 0-9, dot, dash and underscore, " +
			"with a letter or digit at both ends.", Fields: map[string]string{"handle": "a-z, 0-9, . - _"}}
	}
	return nil
}

func handleOf(email string) string {
	local, _, _ := strings.Cut(email, "@")
	handle := strings.Map(func(r rune) rune {
		if (r >= 'a' && r <= 'z') || (r >= '0' && r <= '9') || strings.ContainsRune("._-", r) {
			return r
		}
		return '-'
	}, local)
	handle = strings.TrimLeft(strings.TrimPrefix(handle, idPrefix), "._-")
	if handle = strings.Trim(handle[:min(len(handle), 58)], "._-"); handle == "" {
		return "user"
	}
	return handle
}

// NormalEmail is how an e-mail address is kept and compared.
func NormalEmail(email string) string { return strings.ToLower(strings.TrimSpace(email)) }

func checkEmail(email string) error {
	parsed, err := mail.ParseAddress(email)
	if err != nil || parsed.Address != email || len(email) > 254 || wire.Printable(email, 254) != email {
		return &wire.Error{Code: wire.Invalid, Message: "This is no e-mail address.",
			Fields: map[string]string{"email": "This is no e-mail address."}}
	}
	return nil
}
