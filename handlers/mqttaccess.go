package handlers

import (
	"context"
	"time"

	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

// CreateMQTTToken makes a username and password that speak as the caller for five minutes.
func (a *api) CreateMQTTToken(ctx context.Context, _ CreateMQTTTokenRequestObject) (CreateMQTTTokenResponseObject, error) {
	t := a.MQTT.Registry.CreateToken(principalOf(ctx))
	return CreateMQTTToken201JSONResponse{URL: a.mqttURL(), Username: t.Username, Password: t.Password, ExpiresAt: t.Expires}, nil
}

// ListMQTTCredentials lists the caller's own; managers see all.
func (a *api) ListMQTTCredentials(ctx context.Context, _ ListMQTTCredentialsRequestObject) (ListMQTTCredentialsResponseObject, error) {
	list, err := a.MQTT.Registry.CredentialsFor(ctx, principalOf(ctx))
	if err != nil {
		return nil, err
	}
	out := ListMQTTCredentials200JSONResponse{}
	for _, c := range list {
		out = append(out, apiMQTTCredential(c))
	}
	return out, nil
}

// CreateMQTTCredential makes one; its password is shown once.
func (a *api) CreateMQTTCredential(ctx context.Context, r CreateMQTTCredentialRequestObject) (CreateMQTTCredentialResponseObject, error) {
	b := r.Body
	q := messaging.CredentialRequest{Kind: messaging.Kind(b.Kind), Device: value(b.Device), User: value(b.User), Thing: value(b.Thing),
		Username: value(b.Username), Label: value(b.Label)}
	if b.ExpiresIn != nil {
		life, err := time.ParseDuration(*b.ExpiresIn)
		if err != nil || life <= 0 {
			return nil, &wire.Error{Code: wire.Invalid, Message: "A life is a duration such as 720h.", Fields: map[string]string{"expires_in": "A duration such as 720h."}}
		}
		q.Life = life
	}
	c, password, err := a.MQTT.Registry.CreateCredentialFor(ctx, principalOf(ctx), q)
	if err != nil {
		return nil, err
	}
	return CreateMQTTCredential201JSONResponse{Credential: apiMQTTCredential(c), Password: password, URL: a.mqttURL()}, nil
}

// RemoveMQTTCredential removes one.
func (a *api) RemoveMQTTCredential(ctx context.Context, r RemoveMQTTCredentialRequestObject) (RemoveMQTTCredentialResponseObject, error) {
	return RemoveMQTTCredential204Response{}, a.MQTT.Registry.RemoveCredentialFor(ctx, principalOf(ctx), r.MqttCredential)
}

func apiMQTTCredential(c messaging.Credential) MQTTCredential {
	return MQTTCredential{ID: c.ID, Kind: MQTTCredentialKind(c.Kind), Username: c.Username, Principal: apiMQTTPrincipal(c.Principal), Label: some(c.Label),
		CreatedAt: store.Time(c.CreatedAt), ExpiresAt: store.TimeOf(c.ExpiresAt), LastUsedAt: store.TimeOf(c.LastUsedAt)}
}

// ListMQTTRules lists the rules, those of roles first.
func (a *api) ListMQTTRules(ctx context.Context, _ ListMQTTRulesRequestObject) (ListMQTTRulesResponseObject, error) {
	list, err := a.MQTT.Registry.Rules(ctx)
	if err != nil {
		return nil, err
	}
	out := ListMQTTRules200JSONResponse{}
	for _, rule := range list {
		out = append(out, apiMQTTRule(rule))
	}
	return out, nil
}

// CreateMQTTRule allows or denies topics.
func (a *api) CreateMQTTRule(ctx context.Context, r CreateMQTTRuleRequestObject) (CreateMQTTRuleResponseObject, error) {
	rule, err := a.MQTT.Registry.AddRule(ctx, principalOf(ctx).User.Handle, r.Body.Subject, string(r.Body.Access), r.Body.Filter)
	if err != nil {
		return nil, err
	}
	return CreateMQTTRule201JSONResponse(apiMQTTRule(rule)), nil
}

// RemoveMQTTRule removes one made by hand.
func (a *api) RemoveMQTTRule(ctx context.Context, r RemoveMQTTRuleRequestObject) (RemoveMQTTRuleResponseObject, error) {
	return RemoveMQTTRule204Response{}, a.MQTT.Registry.RemoveRule(ctx, principalOf(ctx).User.Handle, r.MqttRule)
}

func apiMQTTRule(r messaging.Rule) MQTTRule {
	out := MQTTRule{ID: some(r.ID), Subject: r.Subject, Access: MQTTRuleAccess(r.Access), Filter: r.Filter, Builtin: r.Builtin}
	if !r.Builtin {
		at := store.Time(r.CreatedAt)
		out.CreatedAt = &at
	}
	return out
}

// ImportMQTT takes over Mosquitto's files.
func (a *api) ImportMQTT(ctx context.Context, r ImportMQTTRequestObject) (ImportMQTTResponseObject, error) {
	done, err := a.MQTT.Registry.Import(ctx, principalOf(ctx).User.Handle, messaging.Import{PasswordFile: value(r.Body.PasswordFile),
		ACLFile: value(r.Body.ACLFile), DryRun: value(r.Body.DryRun)})
	if err != nil {
		return nil, err
	}
	out := ImportMQTT200JSONResponse{Credentials: done.Credentials, Rules: done.Rules, Problems: []MQTTImportProblem{}}
	for _, p := range done.Problems {
		out.Problems = append(out.Problems, MQTTImportProblem{File: MQTTImportProblemFile(p.File), Line: p.Line, Message: p.Message})
	}
	return out, nil
}
