package messaging

import (
	"context"
	"fmt"

	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

// MaxFile is the most that either file may have, in bytes.
const MaxFile = 1 << 20

// Import is what is taken over from Mosquitto: the texts of its files, either of which may be empty.
type Import struct {
	PasswordFile, ACLFile string
	DryRun                bool
}

// Imported counts what was taken over, or would be. Where there are problems nothing was.
type Imported struct {
	Credentials, Rules int
	Problems           []ImportProblem
}

// Import makes an application's credential of each user, and a rule of each line. It takes all or nothing.
func (r *Registry) Import(ctx context.Context, by string, what Import) (Imported, error) {
	if len(what.PasswordFile) > MaxFile || len(what.ACLFile) > MaxFile {
		return Imported{}, wire.Errorf(wire.TooLarge, "A file may have %d bytes.", MaxFile)
	}
	users, problems := parsePasswordFile(what.PasswordFile)
	rules, more := parseACLFile(what.ACLFile)
	if err := r.Gate.Refresh(ctx); err != nil {
		return Imported{}, err
	}
	known := r.usernames()
	for _, u := range users {
		if known[u.username] != "" {
			problems = append(problems, ImportProblem{File: PasswordFile, Line: u.line, Message: fmt.Sprintf(
				"The hub has an MQTT credential %s already. Remove it first, or rename this one.", u.username)})
		}
	}
	for _, u := range users {
		known[u.username] = store.NewID("mqc")
	}
	for _, rule := range rules {
		if rule.userSpecific && known[rule.user] == "" {
			more = append(more, ImportProblem{File: ACLFile, Line: rule.line, Message: fmt.Sprintf(
				"Nobody is called %s here: the password_file must have this user, or the hub such an MQTT credential.", wire.Printable(rule.user, maxUsername))})
		}
	}
	result := Imported{Problems: append(problems, more...), Credentials: len(users), Rules: len(distinct(rules, known))}
	if len(result.Problems) > 0 {
		result.Credentials, result.Rules = 0, 0
		result.Problems = result.Problems[:min(len(result.Problems), 2*maxProblems)]
		return result, nil
	}
	if what.DryRun {
		return result, nil
	}
	return result, r.Gate.Change(ctx, func(q *store.Queries) error {
		return r.take(ctx, q, by, users, distinct(rules, known), known)
	})
}

// usernames gives the ids of credentials by username.
func (r *Registry) usernames() map[string]string {
	known := map[string]string{}
	for id, c := range r.Gate.Policy().MQTTCredentials {
		known[c.Username] = id
	}
	return known
}

// distinct gives the rules as the table takes them, each once, without those that are there.
func distinct(rules []mosquittoRule, ids map[string]string) []store.AddMQTTRuleParams {
	seen := map[store.AddMQTTRuleParams]bool{}
	var out []store.AddMQTTRuleParams
	for _, rule := range rules {
		row := store.AddMQTTRuleParams{Subject: "everybody", Access: string(rule.access), Filter: rule.topic}
		if rule.userSpecific {
			row.Subject = "credential:" + ids[rule.user]
		}
		if !seen[row] {
			out = append(out, row)
		}
		seen[row] = true
	}
	return out
}

// take writes what was read, in a transaction under way.
func (r *Registry) take(ctx context.Context, q *store.Queries, by string, users []mosquittoUser, rules []store.AddMQTTRuleParams,
	ids map[string]string) error {
	for _, u := range users {
		_, err := r.insertCredential(ctx, q, store.CreateMQTTCredentialParams{ID: ids[u.username], Kind: string(KindApplication), Username: u.username,
			Hash: u.hash, Label: "from Mosquitto", CreatedAt: r.millis()})
		if err != nil {
			return err
		}
	}
	there, err := q.MQTTRules(ctx)
	if err != nil {
		return fmt.Errorf("list MQTT rules: %w", err)
	}
	has := map[store.AddMQTTRuleParams]bool{}
	for _, row := range there {
		has[store.AddMQTTRuleParams{Subject: row.Subject, Access: row.Access, Filter: row.Filter}] = true
	}
	for _, rule := range rules {
		if has[rule] {
			continue
		}
		if _, err := r.insertRule(ctx, q, rule.Subject, rule.Access, rule.Filter); err != nil {
			return err
		}
	}
	return r.Events.Write(ctx, q, events.Event{Type: events.MQTTImported, Data: events.Data{"credentials": len(users), "rules": len(rules), "by": by}})
}
