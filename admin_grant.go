package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aditdev/adit/internal/devices"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

type grantCommands struct {
	Add    grantAdd    `cmd:"" help:"Allow or deny a user devices, logins and targets. Deny wins."`
	List   grantList   `cmd:"" help:"List all grants."`
	Remove grantRemove `cmd:"" help:"Remove a grant. What it carried ends within two seconds."`
}

type grantAdd struct {
	User    string        `required:"" help:"E-mail, handle or id."`
	Device  string        `help:"Name or id, or * for every device."`
	Tag     string        `help:"Every device with this tag."`
	Login   []string      `help:"Unix account, or *; may be repeated."`
	Target  []string      `help:"ssh (the default), mqtt, http, rescue, tcp:HOST:PORT, or *; may be repeated."`
	Deny    bool          `help:"Deny instead of allow."`
	Strict  bool          `help:"The hub ends SSH: shells in the browser and ssh through the gate, no SSH past the hub."`
	Expires time.Duration `help:"How long it lasts, as 8h; for ever where absent."`
	JSON    bool          `name:"json" help:"Print JSON."`
}

// grantJSON is a grant as --json prints it.
type grantJSON struct {
	ID        string     `json:"id"`
	User      string     `json:"user"`
	Device    string     `json:"device,omitempty"`
	Tag       string     `json:"tag,omitempty"`
	Logins    []string   `json:"logins"`
	Targets   []string   `json:"targets"`
	Deny      bool       `json:"deny"`
	Strict    bool       `json:"strict"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
}

// Run adds the grant.
func (g grantAdd) Run(ctx context.Context, p program) error {
	if (g.Device == "") == (g.Tag == "") {
		return wire.Errorf(wire.Invalid, "A grant names either --device (* is every one) or --tag.")
	}
	return onData(ctx, p, func(a *admin) error {
		user, err := a.accounts.FindUser(ctx, g.User)
		if err != nil {
			return err
		}
		grant := devices.Grant{User: user, Tag: g.Tag, Logins: g.Login, Targets: g.Target, Deny: g.Deny,
			Strict: g.Strict}
		if g.Device != "" && g.Device != "*" {
			d, err := a.store.Read().FindDevice(ctx, g.Device)
			if errors.Is(err, store.ErrNotFound) {
				return wire.Errorf(wire.NotFound, "There is no device %s.", wire.Printable(g.Device, 63))
			}
			if err != nil {
				return fmt.Errorf("find device: %w", err)
			}
			grant.Device = d.ID
		}
		if g.Expires != 0 {
			at := time.Now().Add(g.Expires)
			grant.Expires = &at
		}
		row, err := a.devices.AddGrant(ctx, byCommand, grant)
		if err != nil {
			return err
		}
		return a.print(g.JSON, grantOut(row, user.Email, g.Device), "%s\n", row.ID)
	})
}

func grantOut(row store.Grant, user, device string) grantJSON {
	out := grantJSON{ID: row.ID, User: user, Device: device, Logins: store.List(row.Logins), Targets: store.List(row.Targets),
		Deny: row.Deny, Strict: row.Strict, ExpiresAt: store.TimeOf(row.ExpiresAt)}
	if row.Tag != nil {
		out.Tag = *row.Tag
	}
	return out
}

type grantList struct {
	JSON bool `name:"json" help:"Print JSON."`
}

// Run lists the grants.
func (g grantList) Run(ctx context.Context, p program) error {
	return onData(ctx, p, func(a *admin) error {
		rows, err := a.store.Read().ListGrants(ctx)
		if err != nil {
			return fmt.Errorf("list grants: %w", err)
		}
		out := make([]grantJSON, 0, len(rows))
		var text strings.Builder
		for _, row := range rows {
			device := "*"
			if row.Grant.Tag != nil {
				device = ""
			} else if row.DeviceName != nil {
				device = *row.DeviceName
			}
			grant := grantOut(row.Grant, row.UserEmail, device)
			out = append(out, grant)
			text.WriteString(grant.line())
		}
		return a.print(g.JSON, out, "%s", text.String())
	})
}

func (g grantJSON) line() string {
	verb, until := "allow", ""
	switch {
	case g.Deny:
		verb = "deny"
	case g.Strict:
		verb = "allow strictly"
	}
	if g.ExpiresAt != nil {
		until = " until " + g.ExpiresAt.Format(time.RFC3339)
	}
	return fmt.Sprintf("%s %s %s on %s: %s as %s%s\n", g.ID, verb, g.User, cmp.Or(g.Device, "tag "+g.Tag),
		strings.Join(g.Targets, ","), cmp.Or(strings.Join(g.Logins, ","), "nobody"), until)
}

type grantRemove struct {
	ID   string `arg:"" help:"The grant's id."`
	JSON bool   `name:"json" help:"Print JSON."`
}

// Run removes the grant.
func (g grantRemove) Run(ctx context.Context, p program) error {
	return onData(ctx, p, func(a *admin) error {
		if err := a.devices.RemoveGrant(ctx, byCommand, g.ID); err != nil {
			return err
		}
		return a.print(g.JSON, map[string]string{"id": g.ID}, "%s is gone.\n", g.ID)
	})
}
