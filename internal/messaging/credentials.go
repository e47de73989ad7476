package messaging

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

// maxCredentials and maxRules bound what one hub keeps: the policy in memory has them all.
const (
	maxCredentials = 20_000
	maxRules       = 5_000
	maxOwn         = 50 // that somebody who does not manage may make
)

// CredentialRequest is what somebody wants a credential to be. Device and User are references as people write them.
type CredentialRequest struct {
	Kind                                 Kind
	Device, User, Thing, Username, Label string
	Life                                 time.Duration // 0: for ever
}

// Credential is one as it is listed. Principal has the names of now.
type Credential struct {
	store.MQTTCredential
	Principal Principal
}

// CreateCredentialFor is CreateCredential for the principal: who does not manage makes credentials for themselves only.
func (r *Registry) CreateCredentialFor(ctx context.Context, p *auth.Principal, q CredentialRequest) (Credential, string, error) {
	if q.Kind == KindUser && q.User == "" {
		q.User = p.User.ID
	}
	if !p.Role().Manages() {
		u, err := r.findUser(ctx, q.User)
		if q.Kind != KindUser || err != nil || u.ID != p.User.ID {
			return Credential{}, "", wire.Errorf(wire.Forbidden, "You make MQTT credentials for yourself; an admin makes others.")
		}
		if own, err := r.CredentialsFor(ctx, p); err != nil || len(own) >= maxOwn {
			return Credential{}, "", cmp.Or(err, error(wire.Errorf(wire.Conflict, "You have %d MQTT credentials, which is the most. Remove some.", maxOwn)))
		}
	}
	return r.CreateCredential(ctx, p.User.Handle, q)
}

// CreateCredential makes a username and password; the password is not kept and given this once.
func (r *Registry) CreateCredential(ctx context.Context, by string, q CredentialRequest) (Credential, string, error) {
	row, base, err := r.credentialRow(ctx, q)
	if err != nil {
		return Credential{}, "", err
	}
	password, hash := newPassword()
	row.Hash = hash
	if row.Username == "" {
		suffix, _ := newPassword()
		row.Username = base + "-" + strings.ToLower(suffix[:6])
	}
	var made store.MQTTCredential
	err = r.Gate.Change(ctx, func(q *store.Queries) error {
		if made, err = r.insertCredential(ctx, q, row); err != nil {
			return err
		}
		return r.Events.Write(ctx, q, credentialEvent(events.MQTTCredentialAdded, by, made))
	})
	return Credential{MQTTCredential: made, Principal: r.principal(made)}, password, err
}

func (r *Registry) insertCredential(ctx context.Context, q *store.Queries, row store.CreateMQTTCredentialParams) (made store.MQTTCredential, err error) {
	n, err := q.CountMQTTCredentials(ctx)
	if err != nil {
		return made, fmt.Errorf("count MQTT credentials: %w", err)
	}
	if n >= maxCredentials {
		return made, wire.Errorf(wire.Conflict, "The hub has %d MQTT credentials, which is the most. Remove some.", n)
	}
	made, err = q.CreateMQTTCredential(ctx, row)
	if store.IsConflict(err) {
		return made, wire.Wrap(err, wire.Conflict, "There is an MQTT credential with the username %s already.", row.Username)
	}
	return made, err
}

func credentialEvent(kind, by string, c store.MQTTCredential) events.Event {
	return events.Event{Type: kind, Device: orEmpty(c.DeviceID), User: orEmpty(c.UserID),
		Data: events.Data{"credential_id": c.ID, "username": c.Username, "kind": c.Kind, "by": by}}
}

// credentialRow checks a request; base is what a username may be made of.
func (r *Registry) credentialRow(ctx context.Context, q CredentialRequest) (row store.CreateMQTTCredentialParams, base string, err error) {
	now := r.Now()
	row = store.CreateMQTTCredentialParams{ID: store.NewID("mqc"), Kind: string(q.Kind), Username: q.Username, Thing: q.Thing,
		Label: wire.Printable(strings.TrimSpace(q.Label), 100), CreatedAt: store.Millis(now)}
	if q.Life != 0 {
		at := now.Add(q.Life)
		row.ExpiresAt = store.MillisOf(&at)
	}
	if q.Life < 0 {
		return row, "", wire.Errorf(wire.Invalid, "The credential would have expired already.")
	}
	if q.Username != "" {
		if err := checkUsername(q.Username); err != nil {
			return row, "", err
		}
	}
	if base, err = r.ofWhom(ctx, q, &row); err != nil {
		return row, "", err
	}
	return row, base, nil
}

// ofWhom fills in whose credential it is, and refuses what does not go with the kind.
func (r *Registry) ofWhom(ctx context.Context, q CredentialRequest, row *store.CreateMQTTCredentialParams) (base string, err error) {
	ofDevice := q.Kind == KindDevice || q.Kind == KindThing
	switch {
	case ofDevice != (q.Device != ""):
		return "", invalidField("device", "Credentials of kind device and thing name a device, others none.")
	case (q.Kind == KindUser) != (q.User != ""):
		return "", invalidField("user", "A credential of kind user names a user, others none.")
	case (q.Kind == KindThing) != (q.Thing != ""):
		return "", invalidField("thing", "A credential of kind thing names the thing, others none.")
	case q.Thing != "" && !wire.ValidDeviceName(q.Thing):
		return "", invalidField("thing", "A thing's name takes 1 to 63 of a-z, 0-9 and dash, with a letter or digit at both ends.")
	}
	switch q.Kind {
	case KindDevice, KindThing:
		d, err := r.findDevice(ctx, q.Device)
		row.DeviceID = orNil(d.ID)
		return strings.TrimSuffix(fmt.Sprintf("%.25s-%.25s", d.Name, q.Thing), "-"), err
	case KindUser:
		u, err := r.findUser(ctx, q.User)
		row.UserID = orNil(u.ID)
		return fmt.Sprintf("%.50s", u.Handle), err
	case KindApplication:
		return "app", nil
	}
	return "", invalidField("kind", "A credential is of a device, a thing, a user or an application.")
}

func invalidField(field, message string) error {
	return &wire.Error{Code: wire.Invalid, Message: message, Fields: map[string]string{field: message}}
}

// checkUsername refuses what people could not read back, and what a token would be taken for.
func checkUsername(name string) error {
	if name == "" || len(name) > maxUsername || wire.Printable(name, maxUsername) != name || strings.Contains(name, ":") {
		return invalidField("username", "A username takes 1 to 64 bytes that can be printed, without a colon.")
	}
	return nil
}

// CredentialsFor lists those in the principal's view.
func (r *Registry) CredentialsFor(ctx context.Context, p *auth.Principal) ([]Credential, error) {
	rows, err := r.Store.Read().ListMQTTCredentialsFor(ctx, p.User.ID)
	return r.listed(rows), wrap("list MQTT credentials", err)
}

// Credentials lists all.
func (r *Registry) Credentials(ctx context.Context) ([]Credential, error) {
	rows, err := r.Store.Read().ListMQTTCredentials(ctx)
	return r.listed(rows), wrap("list MQTT credentials", err)
}

func (r *Registry) listed(rows []store.MQTTCredential) []Credential {
	out := make([]Credential, 0, len(rows))
	for _, row := range rows {
		out = append(out, Credential{MQTTCredential: row, Principal: r.principal(row)})
	}
	return out
}

func wrap(step string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", step, err)
}

// RemoveCredentialFor removes one in the principal's view. Who is connected by it is disconnected.
func (r *Registry) RemoveCredentialFor(ctx context.Context, p *auth.Principal, id string) error {
	return r.removeCredential(ctx, p.User.Handle, func(q *store.Queries) (store.MQTTCredential, error) {
		return q.RemoveMQTTCredentialFor(ctx, store.RemoveMQTTCredentialForParams{ID: id, Principal: p.User.ID})
	})
}

// RemoveCredential removes the one of that id or username.
func (r *Registry) RemoveCredential(ctx context.Context, by, ref string) error {
	return r.removeCredential(ctx, by, func(q *store.Queries) (store.MQTTCredential, error) { return q.RemoveMQTTCredential(ctx, ref) })
}

func (r *Registry) removeCredential(ctx context.Context, by string, remove func(*store.Queries) (store.MQTTCredential, error)) error {
	return r.Gate.Change(ctx, func(q *store.Queries) error {
		row, err := remove(q)
		if errors.Is(err, store.ErrNotFound) {
			return wire.Errorf(wire.NotFound, "You have no such MQTT credential.")
		}
		if err == nil {
			err = q.DropMQTTRulesOf(ctx, "credential:"+row.ID)
		}
		if err != nil {
			return fmt.Errorf("remove MQTT credential: %w", err)
		}
		return r.Events.Write(ctx, q, credentialEvent(events.MQTTCredentialRemoved, by, row))
	})
}
