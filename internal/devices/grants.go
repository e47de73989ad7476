package devices

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

// Grant is what AddGrant takes. Device and Tag are both empty for every device.
type Grant struct {
	User            store.User
	Device, Tag     string // Device is an id
	Logins, Targets []string
	Deny            bool
	Strict          bool // the hub ends SSH: access.Held
	Expires         *time.Time
}

// AddGrant allows or denies a user devices, logins and targets. It takes effect at once.
func (r *Registry) AddGrant(ctx context.Context, by string, g Grant) (row store.Grant, err error) {
	if err := g.check(r.Now()); err != nil {
		return row, err
	}
	err = r.Gate.Change(ctx, func(q *store.Queries) error {
		row, err = q.AddGrant(ctx, store.AddGrantParams{ID: store.NewID("grt"), UserID: g.User.ID, DeviceID: orNil(g.Device),
			Tag: orNil(g.Tag), Logins: store.JSONList(g.Logins), Targets: store.JSONList(g.Targets), Deny: g.Deny,
			Strict: g.Strict, CreatedAt: r.millis(), ExpiresAt: store.MillisOf(g.Expires)})
		if err != nil {
			return fmt.Errorf("add grant: %w", err)
		}
		return r.Events.Write(ctx, q, events.Event{Type: events.GrantAdded, Device: g.Device, User: g.User.ID, Data: events.Data{
			"grant_id": row.ID, "by": by, "tag": g.Tag, "logins": g.Logins, "targets": g.Targets, "deny": g.Deny, "strict": g.Strict}})
	})
	return row, err
}

// check brings the grant into the form in which access reads it.
func (g *Grant) check(now time.Time) error {
	if g.Tag != "" {
		if err := CheckTags([]string{g.Tag}); err != nil {
			return err
		}
	}
	for _, login := range g.Logins {
		if login != "*" && !wire.ValidLogin(login) {
			return &wire.Error{Code: wire.Invalid, Message: fmt.Sprintf("%q is no Unix account's name, nor *.", wire.Printable(login, 32)),
				Fields: map[string]string{"logins": "Unix accounts, or *"}}
		}
	}
	if len(g.Targets) == 0 {
		g.Targets = []string{string(wire.TargetSSH)}
	}
	for i, target := range g.Targets {
		pattern, err := parsePattern(target)
		if err != nil {
			return err
		}
		g.Targets[i] = pattern
	}
	onlySSH := !slices.ContainsFunc(g.Targets, func(t string) bool { return t != "ssh" && t != "rescue" })
	if !g.Deny && len(g.Logins) == 0 && onlySSH {
		return &wire.Error{Code: wire.Invalid, Message: "SSH needs to know as whom: name the logins, or * for every one.",
			Fields: map[string]string{"logins": "Name one or more, or *"}}
	}
	if err := g.checkWay(); err != nil {
		return err
	}
	if g.Expires != nil && !g.Expires.After(now) {
		return wire.Errorf(wire.Invalid, "The grant would have expired already.")
	}
	return nil
}

// checkWay refuses a way into accounts where the grant opens none.
func (g *Grant) checkWay() error {
	opens := slices.ContainsFunc(g.Targets, func(t string) bool { return t == "ssh" || t == "rescue" || t == "*" })
	switch {
	case g.Strict && g.Deny:
		return wire.Errorf(wire.Invalid, "A grant that denies is not strict: that says how somebody gets in.")
	case g.Strict && (!opens || len(g.Logins) == 0):
		return wire.Errorf(wire.Invalid, "Strict is about SSH: such a grant needs the target ssh, and logins.")
	}
	return nil
}

// parsePattern reads a target with * for everything, or for the host or port of a tcp target.
func parsePattern(text string) (string, error) {
	if text == "*" || text == "tcp:*" || text == "tcp:*:*" {
		return text, nil
	}
	host, port, ok := cutAddress(text)
	if !ok || (host != "*" && port != "*") {
		target, err := wire.ParseTarget(text)
		return string(target), err
	}
	probe := "tcp:" + host + ":1"
	if host == "*" {
		probe = "tcp:any:" + port
	}
	target, err := wire.ParseTarget(probe)
	if err != nil {
		return "", wire.Errorf(wire.Invalid, "%q is no target. Write ssh, mqtt, http, rescue, * or tcp:HOST:PORT; host or port may be *.",
			wire.Printable(text, 80))
	}
	if host == "*" {
		return "tcp:*" + strings.TrimPrefix(string(target), "tcp:any"), nil
	}
	return strings.TrimSuffix(string(target), ":1") + ":*", nil
}

func cutAddress(text string) (host, port string, ok bool) {
	address, ok := strings.CutPrefix(text, "tcp:")
	i := strings.LastIndexByte(address, ':')
	if !ok || i < 0 {
		return "", "", false
	}
	return address[:i], address[i+1:], true
}

// RemoveGrant removes a grant. What it carried ends at once.
func (r *Registry) RemoveGrant(ctx context.Context, by, id string) error {
	return r.Gate.Change(ctx, func(q *store.Queries) error {
		n, err := q.RemoveGrant(ctx, id)
		if err == nil && n == 0 {
			return wire.Errorf(wire.NotFound, "There is no grant with this id.")
		}
		if err != nil {
			return fmt.Errorf("remove grant: %w", err)
		}
		return r.Events.Write(ctx, q, events.Event{Type: events.GrantRemoved, Data: events.Data{"grant_id": id, "by": by}})
	})
}

func orNil(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
