package store

import (
	"context"
	"fmt"
	"time"

	"github.com/aditdev/adit/internal/access"
)

// Policy reads the snapshot that internal/access decides by, together with the version that it has. All of it is read
// in one transaction.
func (s *Store) Policy(ctx context.Context, now time.Time) (*access.Policy, int64, error) {
	tx, err := s.r.BeginTx(ctx, nil)
	if err != nil {
		return nil, 0, fmt.Errorf("read policy: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // only read
	r := policyReader{ctx: ctx, q: New(tx), now: Millis(now), policy: &access.Policy{
		Users:       map[string]access.User{},
		Credentials: map[string]access.Credential{},
		Devices:     map[string]access.Device{},
		Grants:      map[string][]access.Grant{},

		DeviceIDs:       map[string]string{},
		MQTTCredentials: map[string]access.MQTTCredential{},
	}}
	version, err := r.q.AccessVersion(ctx)
	for _, read := range []func() error{r.users, r.credentials, r.devices, r.grants, r.mqttCredentials, r.topicRules} {
		if err == nil {
			err = read()
		}
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read policy: %w", err)
	}
	return r.policy, version, nil
}

type policyReader struct {
	ctx    context.Context
	q      *Queries
	now    int64
	policy *access.Policy
}

func (r policyReader) users() error {
	rows, err := r.q.PolicyUsers(r.ctx)
	for _, u := range rows {
		r.policy.Users[u.ID] = access.User{Handle: u.Handle, Role: access.Role(u.Role), Disabled: u.Disabled}
	}
	return err
}

func (r policyReader) credentials() error {
	sessions, err := r.q.PolicyLoginSessions(r.ctx, r.now)
	if err != nil {
		return err
	}
	for _, c := range sessions {
		r.policy.Credentials[c.ID] = access.Credential{User: c.UserID, Expires: Time(c.ExpiresAt)}
	}
	tokens, err := r.q.PolicyTokens(r.ctx, r.now)
	if err != nil {
		return err
	}
	for _, c := range tokens {
		r.policy.Credentials[c.ID] = access.Credential{User: c.UserID, Expires: Time(c.ExpiresAt)}
	}
	keys, err := r.q.PolicySSHKeys(r.ctx, r.now)
	for _, k := range keys {
		r.policy.Credentials[k.ID] = access.Credential{User: k.UserID}
		if k.ExpiresAt != nil {
			r.policy.Credentials[k.ID] = access.Credential{User: k.UserID, Expires: Time(*k.ExpiresAt)}
		}
	}
	return err
}

func (r policyReader) devices() error {
	tags := map[string][]string{}
	rows, err := r.q.PolicyTags(r.ctx)
	if err != nil {
		return err
	}
	for _, t := range rows {
		tags[t.DeviceID] = append(tags[t.DeviceID], t.Tag)
	}
	devices, err := r.q.PolicyDevices(r.ctx)
	for _, d := range devices {
		r.policy.Devices[d.ID] = access.Device{Name: d.Name, Tags: tags[d.ID], Active: d.Status == "active", SSHPort: int(d.SSHPort)}
		r.policy.DeviceIDs[d.Name] = d.ID
	}
	return err
}

func (r policyReader) grants() error {
	rows, err := r.q.PolicyGrants(r.ctx)
	for _, g := range rows {
		grant := access.Grant{User: g.UserID, Logins: List(g.Logins), Targets: List(g.Targets), Deny: g.Deny, Way: WayOf(g)}
		if g.DeviceID != nil {
			grant.Device = *g.DeviceID
		}
		if g.Tag != nil {
			grant.Tag = *g.Tag
		}
		if g.ExpiresAt != nil {
			grant.Expires = Time(*g.ExpiresAt)
		}
		r.policy.Grants[g.UserID] = append(r.policy.Grants[g.UserID], grant)
	}
	return err
}

// WayOf is how a grant has accounts entered.
func WayOf(g Grant) access.Way {
	if g.Strict {
		return access.Held
	}
	return access.Raw
}

func (r policyReader) mqttCredentials() error {
	rows, err := r.q.PolicyMQTTCredentials(r.ctx)
	for _, c := range rows {
		credential := access.MQTTCredential{Username: c.Username, Kind: access.SpeakerKind(c.Kind), Thing: c.Thing}
		if c.DeviceID != nil {
			credential.Device = *c.DeviceID
		}
		if c.UserID != nil {
			credential.User = *c.UserID
		}
		if c.ExpiresAt != nil {
			credential.Expires = Time(*c.ExpiresAt)
		}
		r.policy.MQTTCredentials[c.ID] = credential
	}
	return err
}

func (r policyReader) topicRules() error {
	rows, err := r.q.MQTTRules(r.ctx)
	for _, row := range rows {
		r.policy.AddTopicRule(access.TopicRule{Subject: row.Subject, Access: access.TopicAccess(row.Access), Filter: row.Filter})
	}
	return err
}
