package handlers

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

// PublishMQTT publishes, and waits for the answer where asked.
func (a *api) PublishMQTT(ctx context.Context, r PublishMQTTRequestObject) (PublishMQTTResponseObject, error) {
	p := principalOf(ctx)
	m, err := messageOf(*r.Body)
	if err != nil {
		return nil, err
	}
	device, held, release, err := a.holdBroker(ctx, p, value(r.Body.Device))
	if err != nil {
		return nil, err
	}
	defer release()
	wait := time.Duration(float64(value(r.Body.WaitSeconds)) * float64(time.Second))
	reply, err := a.MQTT.Publish(held, p, device, m, wait)
	if err != nil {
		return nil, err
	}
	out := PublishMQTT200JSONResponse{}
	if reply != nil {
		answer, took := apiMQTTMessage(messaging.Sample{Received: reply.Received, Bytes: len(reply.Payload)}), int(reply.Took.Milliseconds())
		out.Reply, out.TookMs = &answer, &took
	}
	return out, nil
}

// maxWait is how long a request may wait: proxies cut what takes longer.
const maxWait = 30

// messageOf checks what the schema cannot say to a server that reads it by hand.
func messageOf(b MQTTPublish) (m mqtt.Message, err error) {
	bad := func(field, message string) (mqtt.Message, error) {
		return m, &wire.Error{Code: wire.Invalid, Message: message, Fields: map[string]string{field: message}}
	}
	qos, expiry, wait := value(b.Qos), value(b.ExpirySeconds), value(b.WaitSeconds)
	switch {
	case qos < 0 || qos > 2:
		return bad("qos", "QoS is 0, 1 or 2.")
	case b.ExpirySeconds != nil && (expiry < 1 || expiry > 1<<32-1):
		return bad("expiry_seconds", "A message expires after 1 to 4294967295 seconds.")
	case b.WaitSeconds != nil && !(wait >= 0.1 && wait <= maxWait):
		return bad("wait_seconds", "An answer is awaited for 0.1 to 30 seconds.")
	case b.Payload != nil && b.PayloadBase64 != nil:
		return bad("payload_base64", "Give payload or payload_base64, not both.")
	case len(value(b.ContentType)) > 256:
		return bad("content_type", "A content type has at most 256 bytes.")
	}
	m = mqtt.Message{Topic: b.Topic, Payload: []byte(value(b.Payload)), QoS: byte(qos), Retain: value(b.Retain), ContentType: value(b.ContentType),
		ResponseTopic: value(b.ResponseTopic), Expiry: time.Duration(expiry) * time.Second}
	for field, into := range map[string]struct {
		text *string
		to   *[]byte
	}{"payload_base64": {b.PayloadBase64, &m.Payload}, "correlation_base64": {b.CorrelationBase64, &m.Correlation}} {
		if into.text == nil {
			continue
		}
		if *into.to, err = base64.StdEncoding.DecodeString(*into.text); err != nil {
			return bad(field, "This is no base64.")
		}
	}
	if len(m.Correlation) > 1024 {
		return bad("correlation_base64", "Correlation data has at most 1,024 bytes.")
	}
	list := value(b.UserProperties)
	for _, u := range list {
		if len(list) > 32 || len(u.Name) > 256 || len(u.Value) > 1024 || !mqtt.ValidText(u.Name) || !mqtt.ValidText(u.Value) {
			return bad("user_properties", "At most 32 user properties, with names of 256 and values of 1,024 bytes.")
		}
		m.UserProperties = append(m.UserProperties, mqtt.UserProperty{Name: u.Name, Value: u.Value})
	}
	if !mqtt.ValidText(m.ContentType) {
		return bad("content_type", "A content type is text without U+0000.")
	}
	return m, nil
}

// ListMQTTRetained lists retained messages that the caller may read.
func (a *api) ListMQTTRetained(ctx context.Context, r ListMQTTRetainedRequestObject) (ListMQTTRetainedResponseObject, error) {
	p, filter, limit := principalOf(ctx), "#", 200
	if r.Params.Filter != nil {
		filter = *r.Params.Filter
	}
	if r.Params.Limit != nil {
		limit = *r.Params.Limit
	}
	if limit < 1 || limit > 1000 {
		return nil, wire.Errorf(wire.Invalid, "A page has 1 to 1,000 messages.")
	}
	page, err := a.retained(ctx, p, value(r.Params.Device), filter, value(r.Params.After), limit)
	if err != nil {
		return nil, err
	}
	out := ListMQTTRetained200JSONResponse{Messages: []MQTTMessage{}, Total: page.Total, TotalBytes: page.TotalBytes, More: page.More}
	for _, m := range page.Messages {
		out.Messages = append(out.Messages, apiMQTTMessage(messaging.SampleOf(m)))
	}
	return out, nil
}

// retained gives a page of what the hub's broker retains, or a device's own.
func (a *api) retained(ctx context.Context, p *auth.Principal, ref, filter, after string, limit int) (page messaging.RetainedPage, err error) {
	if plain, ok := access.Unshared(filter); !ok || plain != filter || !access.ValidTopic(filter) {
		return page, wire.Errorf(wire.Invalid, "This is no topic filter: + and # stand for whole levels, # only for the last.")
	}
	device, held, release, err := a.holdBroker(ctx, p, ref)
	if err != nil {
		return page, err
	}
	defer release()
	if device == "" {
		return a.MQTT.Backend.Retained(held, filter, after, limit, a.mayReceive(p))
	}
	all, err := a.MQTT.DeviceRetained(held, device, p.User.ID, filter)
	for _, m := range all {
		page.Total++
		page.TotalBytes += int64(len(m.Payload))
		switch {
		case m.Topic <= after:
		case len(page.Messages) == limit:
			page.More = true
		default:
			page.Messages = append(page.Messages, m)
		}
	}
	return page, err
}

// ClearMQTTRetained clears what the caller may write, or counts it.
func (a *api) ClearMQTTRetained(ctx context.Context, r ClearMQTTRetainedRequestObject) (ClearMQTTRetainedResponseObject, error) {
	p, ref := principalOf(ctx), value(r.Body.Device)
	topics, err := a.clearable(ctx, p, ref, r.Body.Filter)
	if err != nil {
		return nil, err
	}
	out := ClearMQTTRetained200JSONResponse{Count: len(topics), Topics: nonNil(topics[:min(len(topics), 100)])}
	if value(r.Body.DryRun) || len(topics) == 0 {
		return out, nil
	}
	if r.Body.Expect != nil && *r.Body.Expect != len(topics) {
		return nil, wire.Errorf(wire.Conflict, "%d retained messages match now, not %d. Nothing was cleared: look again.", len(topics), *r.Body.Expect)
	}
	device, held, release, err := a.holdBroker(ctx, p, ref)
	if err != nil {
		return nil, err
	}
	defer release()
	if device == "" {
		err = a.MQTT.Clear(held, p, topics)
	} else {
		err = a.MQTT.DeviceClear(held, device, p.User.ID, topics)
	}
	if err != nil {
		return nil, err
	}
	a.note(ctx, events.Event{Type: events.MQTTCleared, Device: device, User: p.User.ID,
		Data: events.Data{"filter": wire.Printable(r.Body.Filter, 256), "count": len(topics), "by": p.User.Handle}})
	return out, nil
}

func (a *api) clearable(ctx context.Context, p *auth.Principal, ref, filter string) ([]string, error) {
	const page = 1000
	var topics []string
	who := messaging.PrincipalOf(p)
	for after := ""; ; {
		got, err := a.retained(ctx, p, ref, filter, after, page)
		if err != nil {
			return nil, err
		}
		for _, m := range got.Messages {
			if after = m.Topic; ref != "" || a.MQTT.Registry.MayPublish(who, "", m.Topic) {
				topics = append(topics, m.Topic)
			}
		}
		if !got.More {
			return topics, nil
		}
	}
}

// ListMQTTTemplates lists the caller's saved messages.
func (a *api) ListMQTTTemplates(ctx context.Context, _ ListMQTTTemplatesRequestObject) (ListMQTTTemplatesResponseObject, error) {
	rows, err := a.MQTT.Registry.Templates(ctx, principalOf(ctx))
	if err != nil {
		return nil, err
	}
	out := ListMQTTTemplates200JSONResponse{}
	for _, row := range rows {
		t, err := apiMQTTTemplate(row)
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}

// SaveMQTTTemplate saves a message. It is checked as if it were published, but for the rights, which may come later.
func (a *api) SaveMQTTTemplate(ctx context.Context, r SaveMQTTTemplateRequestObject) (SaveMQTTTemplateResponseObject, error) {
	if _, err := messageOf(r.Body.Message); err != nil {
		return nil, err
	}
	text, err := json.Marshal(r.Body.Message)
	if err != nil {
		return nil, fmt.Errorf("save MQTT template: %w", err)
	}
	row, err := a.MQTT.Registry.SaveTemplate(ctx, principalOf(ctx), r.Body.Name, string(text))
	if err != nil {
		return nil, err
	}
	t, err := apiMQTTTemplate(row)
	return SaveMQTTTemplate201JSONResponse(t), err
}

// RemoveMQTTTemplate removes one of the caller's.
func (a *api) RemoveMQTTTemplate(ctx context.Context, r RemoveMQTTTemplateRequestObject) (RemoveMQTTTemplateResponseObject, error) {
	return RemoveMQTTTemplate204Response{}, a.MQTT.Registry.RemoveTemplate(ctx, principalOf(ctx), r.MqttTemplate)
}

func apiMQTTTemplate(row store.MQTTTemplate) (MQTTTemplate, error) {
	t := MQTTTemplate{ID: row.ID, Name: row.Name}
	if err := json.Unmarshal([]byte(row.Message), &t.Message); err != nil {
		return t, fmt.Errorf("read MQTT template: %w", err)
	}
	return t, nil
}
