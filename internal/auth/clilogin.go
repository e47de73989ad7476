package auth

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

// CLIPoll is how often the CLI asks whether its login was approved (RFC 8628 §3.2, interval).
const CLIPoll = 2 * time.Second

// maxPendingLogins bounds what strangers can leave lying in the table.
const maxPendingLogins = 1000

// CLILogin is a login that the CLI began; a person approves it in the browser by the user code.
type CLILogin struct {
	Secret, UserCode string
	Expires          time.Time
}

// StartCLILogin begins the flow of RFC 8628. host is what the machine calls itself.
func (a *Accounts) StartCLILogin(ctx context.Context, host, address string) (CLILogin, error) {
	if !a.byAddress.Allow(Network(address)) {
		return CLILogin{}, errTries
	}
	now := a.now()
	l := CLILogin{Secret: newSecret(), UserCode: newUserCode(), Expires: now.Add(CLILoginLife)}
	err := a.store.Write(ctx, func(q *store.Queries) error {
		pending, err := q.CountPendingCLILogins(ctx, store.Millis(now))
		if err == nil && pending >= maxPendingLogins {
			return errTries
		}
		if err != nil {
			return err
		}
		return q.CreateCLILogin(ctx, store.CreateCLILoginParams{SecretHash: Hash(l.Secret), UserCode: l.UserCode,
			Host: wire.Printable(host, 253), Address: address, CreatedAt: store.Millis(now), ExpiresAt: store.Millis(l.Expires)})
	})
	return l, err
}

// FormatUserCode writes a user code for reading: WDJB-MJHT.
func FormatUserCode(code string) string {
	if len(code) != 8 {
		return code
	}
	return code[:4] + "-" + code[4:]
}

func plainUserCode(code string) string {
	return strings.Map(func(r rune) rune {
		if r == '-' || r == ' ' {
			return -1
		}
		return r
	}, strings.ToUpper(code))
}

var errUserCode = wire.Errorf(wire.NotFound, "No login waits under this code. Look again, or start anew with: adit login")

// PendingCLILogin is what asks under a user code. Tries are counted by the principal: codes are short.
func (a *Accounts) PendingCLILogin(ctx context.Context, p *Principal, code string) (store.CLILogin, error) {
	key := "cli " + p.User.ID
	if !a.byPlace.Allow(key) {
		return store.CLILogin{}, errTries
	}
	l, err := a.store.Read().FindCLILogin(ctx, store.FindCLILoginParams{UserCode: plainUserCode(code), Now: store.Millis(a.now())})
	if errors.Is(err, store.ErrNotFound) {
		return l, errUserCode
	}
	a.byPlace.GiveBack(key)
	return l, err
}

// DecideCLILogin approves or denies a login in the principal's name. A token cannot approve: what it made would outlive
// it. It gives the login that was decided on.
func (a *Accounts) DecideCLILogin(ctx context.Context, p *Principal, code string, approve bool) (store.CLILogin, error) {
	l, err := a.PendingCLILogin(ctx, p, code)
	if err != nil {
		return l, err
	}
	if approve && !p.Session {
		return l, wire.Errorf(wire.Forbidden, "A token cannot approve this. Approve it in a browser where you are signed in, or use: adit login --token-stdin")
	}
	status := "denied"
	if approve {
		status = "approved"
	}
	return l, a.store.Write(ctx, func(q *store.Queries) error {
		n, err := q.DecideCLILogin(ctx, store.DecideCLILoginParams{Status: status, UserID: &p.User.ID,
			UserCode: plainUserCode(code), Now: store.Millis(a.now())})
		if err == nil && n == 0 {
			return errUserCode
		}
		return err
	})
}

// CLILoginAnswer is what a poll learns. Token is set once, when Status is "approved".
type CLILoginAnswer struct {
	Status string // pending, approved, denied, expired
	Token  string
	Made   Token // which it is
	User   store.User
}

// PollCLILogin answers the CLI. An approved login turns into a token at its first poll and is gone.
func (a *Accounts) PollCLILogin(ctx context.Context, secret string) (CLILoginAnswer, error) {
	l, err := a.store.Read().FindCLILoginBySecret(ctx, Hash(secret))
	if errors.Is(err, store.ErrNotFound) || (err == nil && l.ExpiresAt <= store.Millis(a.now())) {
		return CLILoginAnswer{Status: "expired"}, nil
	}
	if err != nil || l.Status != "approved" {
		return CLILoginAnswer{Status: l.Status}, err
	}
	err = a.store.Write(ctx, func(q *store.Queries) error {
		l, err = q.TakeApprovedCLILogin(ctx, store.TakeApprovedCLILoginParams{SecretHash: l.SecretHash, Now: store.Millis(a.now())})
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return CLILoginAnswer{Status: "expired"}, nil
	}
	if err != nil {
		return CLILoginAnswer{}, fmt.Errorf("take login: %w", err)
	}
	return a.finishCLILogin(ctx, l)
}

func (a *Accounts) finishCLILogin(ctx context.Context, l store.CLILogin) (CLILoginAnswer, error) {
	user, err := a.store.Read().GetUser(ctx, *l.UserID)
	if errors.Is(err, store.ErrNotFound) || (err == nil && user.Disabled) {
		return CLILoginAnswer{Status: "denied"}, nil
	}
	if err != nil {
		return CLILoginAnswer{}, fmt.Errorf("find user: %w", err)
	}
	name := "adit on " + l.Host
	if l.Host == "" {
		name = "adit login"
	}
	t, err := a.CreateToken(ctx, user.ID, TokenRequest{Name: name})
	if err != nil {
		return CLILoginAnswer{}, err
	}
	return CLILoginAnswer{Status: "approved", Token: t.Secret, Made: t, User: user}, nil
}
