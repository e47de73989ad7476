package handlers

import (
	"context"

	"github.com/aditdev/adit/internal/wire"
)

var errNoBroker = wire.Errorf(wire.NotFound, "This hub has no MQTT broker yet.")

func (a *api) GetMQTT(context.Context, GetMQTTRequestObject) (GetMQTTResponseObject, error) {
	return nil, errNoBroker
}
func (a *api) ListMQTTClients(context.Context, ListMQTTClientsRequestObject) (ListMQTTClientsResponseObject, error) {
	return nil, errNoBroker
}
func (a *api) KickMQTTClient(context.Context, KickMQTTClientRequestObject) (KickMQTTClientResponseObject, error) {
	return nil, errNoBroker
}
func (a *api) PublishMQTT(context.Context, PublishMQTTRequestObject) (PublishMQTTResponseObject, error) {
	return nil, errNoBroker
}
func (a *api) ListMQTTRetained(context.Context, ListMQTTRetainedRequestObject) (ListMQTTRetainedResponseObject, error) {
	return nil, errNoBroker
}
func (a *api) ClearMQTTRetained(context.Context, ClearMQTTRetainedRequestObject) (ClearMQTTRetainedResponseObject, error) {
	return nil, errNoBroker
}
func (a *api) ListMQTTTemplates(context.Context, ListMQTTTemplatesRequestObject) (ListMQTTTemplatesResponseObject, error) {
	return nil, errNoBroker
}
func (a *api) SaveMQTTTemplate(context.Context, SaveMQTTTemplateRequestObject) (SaveMQTTTemplateResponseObject, error) {
	return nil, errNoBroker
}
func (a *api) RemoveMQTTTemplate(context.Context, RemoveMQTTTemplateRequestObject) (RemoveMQTTTemplateResponseObject, error) {
	return nil, errNoBroker
}
func (a *api) CreateMQTTToken(context.Context, CreateMQTTTokenRequestObject) (CreateMQTTTokenResponseObject, error) {
	return nil, errNoBroker
}
func (a *api) ListMQTTCredentials(context.Context, ListMQTTCredentialsRequestObject) (ListMQTTCredentialsResponseObject, error) {
	return nil, errNoBroker
}
func (a *api) CreateMQTTCredential(context.Context, CreateMQTTCredentialRequestObject) (CreateMQTTCredentialResponseObject, error) {
	return nil, errNoBroker
}
func (a *api) RemoveMQTTCredential(context.Context, RemoveMQTTCredentialRequestObject) (RemoveMQTTCredentialResponseObject, error) {
	return nil, errNoBroker
}
func (a *api) ListMQTTRules(context.Context, ListMQTTRulesRequestObject) (ListMQTTRulesResponseObject, error) {
	return nil, errNoBroker
}
func (a *api) CreateMQTTRule(context.Context, CreateMQTTRuleRequestObject) (CreateMQTTRuleResponseObject, error) {
	return nil, errNoBroker
}
func (a *api) RemoveMQTTRule(context.Context, RemoveMQTTRuleRequestObject) (RemoveMQTTRuleResponseObject, error) {
	return nil, errNoBroker
}
func (a *api) ImportMQTT(context.Context, ImportMQTTRequestObject) (ImportMQTTResponseObject, error) {
	return nil, errNoBroker
}
func (a *api) GetDeviceMQTT(context.Context, GetDeviceMQTTRequestObject) (GetDeviceMQTTResponseObject, error) {
	return nil, errNoBroker
}
