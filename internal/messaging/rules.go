package messaging

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/devices"
	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

// Rule is an access rule as people read it: its subject has names instead of ids.
type Rule struct {
	store.MQTTRule
	Builtin bool // given by a role; it has no id
}

// Rules lists those that roles give, then those made by hand.
func (r *Registry) Rules(ctx context.Context) ([]Rule, error) {
	rows, err := r.Store.Read().MQTTRules(ctx)
	if err != nil {
		return nil, fmt.Errorf("list MQTT rules: %w", err)
	}
	var rules []Rule
	for _, b := range access.BuiltinTopicRules() {
		rules = append(rules, Rule{Builtin: true, MQTTRule: store.MQTTRule{Subject: b.Subject, Access: string(b.Access), Filter: b.Filter}})
	}
	for _, row := range rows {
		rules = append(rules, r.named(row))
	}
	return rules, nil
}

// AddRule allows or denies topics to a subject. It takes effect at once.
func (r *Registry) AddRule(ctx context.Context, by, subject, what, filter string) (Rule, error) {
	kept, err := r.subject(ctx, subject)
	if err != nil {
		return Rule{}, err
	}
	if err := checkRule(access.TopicAccess(what), filter); err != nil {
		return Rule{}, err
	}
	var row store.MQTTRule
	err = r.Gate.Change(ctx, func(q *store.Queries) error {
		row, err = r.insertRule(ctx, q, kept, what, filter)
		if store.IsConflict(err) {
			return wire.Wrap(err, wire.Conflict, "There is this rule already.")
		}
		if err != nil {
			return err
		}
		return r.Events.Write(ctx, q, ruleEvent(events.MQTTRuleAdded, by, row))
	})
	return r.named(row), err
}

func (r *Registry) insertRule(ctx context.Context, q *store.Queries, subject, what, filter string) (row store.MQTTRule, err error) {
	n, err := q.CountMQTTRules(ctx)
	if err != nil {
		return row, fmt.Errorf("count MQTT rules: %w", err)
	}
	if n >= maxRules {
		return row, wire.Errorf(wire.Conflict, "The hub has %d MQTT rules, which is the most. Remove some, or write wider ones.", n)
	}
	return q.AddMQTTRule(ctx, store.AddMQTTRuleParams{ID: store.NewID("mqr"), Subject: subject, Access: what, Filter: filter, CreatedAt: r.millis()})
}

func ruleEvent(kind, by string, row store.MQTTRule) events.Event {
	return events.Event{Type: kind, Data: events.Data{"rule_id": row.ID, "subject": row.Subject, "access": row.Access,
		"filter": row.Filter, "by": by}}
}

// RemoveRule removes one made by hand. What it allowed ends at once.
func (r *Registry) RemoveRule(ctx context.Context, by, id string) error {
	return r.Gate.Change(ctx, func(q *store.Queries) error {
		row, err := q.RemoveMQTTRule(ctx, id)
		if errors.Is(err, store.ErrNotFound) {
			return wire.Errorf(wire.NotFound, "There is no MQTT rule with this id. Those of roles stay.")
		}
		if err != nil {
			return fmt.Errorf("remove MQTT rule: %w", err)
		}
		return r.Events.Write(ctx, q, ruleEvent(events.MQTTRuleRemoved, by, row))
	})
}

func checkRule(what access.TopicAccess, filter string) error {
	switch {
	case !what.Valid():
		return invalidField("access", "A rule says read, write, readwrite or deny.")
	case !access.ValidTopic(filter):
		return invalidField("filter", fmt.Sprintf("This is no topic filter of at most %d bytes and %d levels: + and # stand for whole levels, # only for the last.",
			access.MaxTopic, access.MaxTopicLevels))
	case strings.HasPrefix(filter, "$share/"):
		return invalidField("filter", "Write the filter behind $share/NAME/: a rule holds for shared subscriptions too.")
	case what != access.TopicDeny && (filter == "$SYS" || strings.HasPrefix(filter, "$SYS/")):
		return invalidField("filter", "Owner and admin read $SYS, nobody else does, and nobody writes it.")
	}
	return nil
}

// subject checks a subject and puts ids in the place of names, which may change.
func (r *Registry) subject(ctx context.Context, text string) (string, error) {
	kind, name, named := strings.Cut(text, ":")
	switch {
	case !named && (kind == "everybody" || kind == "devices" || kind == "things"):
		return kind, nil
	case kind == "role" && access.Role(name).Valid(), kind == "tag" && devices.CheckTags([]string{name}) == nil:
		return text, nil
	case kind == "user":
		u, err := r.findUser(ctx, name)
		return "user:" + u.ID, err
	case kind == "device":
		d, err := r.findDevice(ctx, name)
		return "device:" + d.ID, err
	case kind == "credential":
		return r.credentialSubject(ctx, name)
	}
	return "", invalidField("subject", "A rule is for everybody, devices, things, role:ROLE, tag:TAG, user:HANDLE, device:NAME or credential:USERNAME.")
}

func (r *Registry) credentialSubject(ctx context.Context, name string) (string, error) {
	if err := r.Gate.Refresh(ctx); err != nil {
		return "", err
	}
	for id, c := range r.Gate.Policy().MQTTCredentials {
		if id == name || c.Username == name {
			return "credential:" + id, nil
		}
	}
	return "", wire.Errorf(wire.NotFound, "There is no MQTT credential %s.", wire.Printable(name, maxUsername))
}

// named puts the names of now in the place of ids.
func (r *Registry) named(row store.MQTTRule) Rule {
	policy := r.Gate.Policy()
	kind, id, _ := strings.Cut(row.Subject, ":")
	name := ""
	switch kind {
	case "user":
		name = policy.Users[id].Handle
	case "device":
		name = policy.Devices[id].Name
	case "credential":
		name = policy.MQTTCredentials[id].Username
	}
	if name != "" {
		row.Subject = kind + ":" + name
	}
	return Rule{MQTTRule: row}
}
