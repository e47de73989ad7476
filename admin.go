package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/config"
	"github.com/aditdev/adit/internal/devices"
	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

// byCommand is who the event log names for what was done on the data directory.
const byCommand = "adit-hub"

// admin is the data directory as the commands beside the hub see it. A hub that runs on it notices what they change.
type admin struct {
	program
	store    *store.Store
	accounts *auth.Accounts
	devices  *devices.Registry
	events   *events.Log
	mqtt     *messaging.Registry
}

func openAdmin(ctx context.Context, p program) (*admin, error) {
	dir, err := config.Data(p.environ)
	if err != nil {
		return nil, fmt.Errorf("settings: %w", err)
	}
	st, err := store.Open(ctx, dir)
	if err != nil {
		return nil, err
	}
	a := &admin{program: p, store: st, events: events.New(st, time.Now)}
	gate, err := auth.NewGate(ctx, st, time.Now)
	if err == nil {
		a.accounts, err = auth.NewAccounts(st, gate)
	}
	if err != nil {
		return nil, errors.Join(err, st.Close())
	}
	a.devices = devices.New(devices.Options{Store: st, Gate: gate, Events: a.events, Now: time.Now,
		Log: slog.New(slog.DiscardHandler), Drop: func(string, error) {}})
	a.mqtt = messaging.New(messaging.Options{Log: slog.New(slog.DiscardHandler), Now: time.Now, Store: st, Gate: gate, Events: a.events})
	return a, nil
}

// onData runs a command on the data directory.
func onData(ctx context.Context, p program, do func(*admin) error) error {
	a, err := openAdmin(ctx, p)
	if err != nil {
		return err
	}
	return errors.Join(do(a), a.store.Close())
}

// print writes a value as JSON, or its text.
func (p program) print(asJSON bool, value any, format string, args ...any) error {
	if !asJSON {
		_, err := fmt.Fprintf(p.stdout, format, args...)
		return err
	}
	e := json.NewEncoder(p.stdout)
	e.SetIndent("", "  ")
	return e.Encode(value)
}

type userCommands struct {
	Create userCreate `cmd:"" help:"Make a user."`
	Reset  userReset  `cmd:"" help:"Print a one-time link with which a user signs in and sets a new password."`
}

type userCreate struct {
	Email         string `required:"" help:"Address to sign in with."`
	Role          string `required:"" enum:"owner,admin,operator,viewer" help:"owner, admin, operator or viewer."`
	Handle        string `help:"Short name; made of the e-mail where absent."`
	PasswordStdin bool   `help:"Read the password from stdin: one line. Without it the user signs in by a link first."`
	JSON          bool   `name:"json" help:"Print JSON."`
}

// Run makes the user.
func (u userCreate) Run(ctx context.Context, p program) error {
	return onData(ctx, p, func(a *admin) error {
		n := auth.NewUser{Email: u.Email, Handle: u.Handle, Role: access.Role(u.Role)}
		if u.PasswordStdin {
			password, err := readLine(p.stdin)
			if err != nil {
				return err
			}
			if n.Password = password; password == "" {
				return wire.Errorf(wire.Invalid, "Stdin holds no password.")
			}
		}
		user, err := a.accounts.CreateUser(ctx, n)
		if err != nil {
			return err
		}
		err = a.events.Append(ctx, events.Event{Type: events.UserCreated, User: user.ID,
			Data: events.Data{"email": user.Email, "role": user.Role, "by": byCommand}})
		return errors.Join(err, a.print(u.JSON, map[string]string{"id": user.ID, "email": user.Email, "handle": user.Handle,
			"role": user.Role}, "%s is %s now (%s).\n", user.Email, user.Role, user.ID))
	})
}

// readLine reads one line of at most 1 KiB, a password's limit.
func readLine(r io.Reader) (string, error) {
	text, err := io.ReadAll(io.LimitReader(r, auth.MaxPassword+2))
	if err != nil {
		return "", fmt.Errorf("stdin: %w", err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimSuffix(line, "\r"), nil
}

type userReset struct {
	User string `arg:"" help:"E-mail, handle or id."`
	JSON bool   `name:"json" help:"Print JSON."`
}

// Run prints a sign-in link. The old password goes on working until a new one is set.
func (u userReset) Run(ctx context.Context, p program) error {
	return onData(ctx, p, func(a *admin) error {
		user, err := a.accounts.FindUser(ctx, u.User)
		if err != nil {
			return err
		}
		if user.Disabled {
			return wire.Errorf(wire.Forbidden, "%s is disabled. Enable the user first.", user.Email)
		}
		base, err := a.baseURL(ctx)
		if err != nil {
			return err
		}
		secret, err := a.accounts.NewLoginLink(ctx, user.ID)
		if err != nil {
			return err
		}
		err = a.events.Append(ctx, events.Event{Type: events.UserChanged, User: user.ID,
			Data: events.Data{"email": user.Email, "link": true, "by": byCommand}})
		if err != nil {
			return err
		}
		link := base + "/app/login#" + secret
		expires := time.Now().Add(auth.LinkLife).UTC().Truncate(time.Second)
		return a.print(u.JSON, map[string]any{"link": link, "expires_at": expires},
			"%s signs in once with this link, until %s:\n\n  %s\n", user.Email, expires.Format("15:04 MST"), link)
	})
}

// baseURL is where people reach the hub: as this command's environment says, else as the hub's last start did.
func (a *admin) baseURL(ctx context.Context) (string, error) {
	if c, err := config.Load(a.environ, true); err == nil && len(c.URLs) > 0 {
		return c.URLs[0].String(), nil
	}
	url, err := a.store.Read().GetSetting(ctx, urlSetting)
	if errors.Is(err, store.ErrNotFound) {
		return "", wire.Errorf(wire.Invalid, "Nobody has said where the hub is reached. Set ADIT_URL, or start the hub once.")
	}
	return url, err
}

type tokenCommands struct {
	Create tokenCreate `cmd:"" help:"Make an API token for a user; it is shown once."`
}

type tokenCreate struct {
	User    string        `required:"" help:"E-mail, handle or id."`
	Name    string        `default:"made by adit-hub" help:"What it is for."`
	Scope   string        `default:"all" enum:"all,connect,read" help:"What it may of what the user may: all, connect or read."`
	Expires time.Duration `help:"How long it works, as 1h or 720h; 90 days where absent."`
	JSON    bool          `name:"json" help:"Print JSON."`
}

// Run makes the token.
func (t tokenCreate) Run(ctx context.Context, p program) error {
	return onData(ctx, p, func(a *admin) error {
		user, err := a.accounts.FindUser(ctx, t.User)
		if err != nil {
			return err
		}
		made, err := a.accounts.CreateToken(ctx, user.ID, auth.TokenRequest{Name: t.Name, Scope: access.Scope(t.Scope), Life: t.Expires})
		if err != nil {
			return err
		}
		err = a.events.Append(ctx, events.Event{Type: events.TokenCreated, User: user.ID, Data: events.Data{"token_id": made.ID,
			"name": made.Name, "scope": string(made.Scope), "expires_at": made.Expires.UTC(), "by": byCommand}})
		if err != nil {
			return err
		}
		return a.print(t.JSON, map[string]any{"id": made.ID, "token": made.Secret, "scope": made.Scope,
			"expires_at": made.Expires.UTC().Truncate(time.Second)}, "%s\n", made.Secret)
	})
}
