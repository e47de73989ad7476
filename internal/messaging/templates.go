package messaging

import (
	"context"
	"fmt"
	"strings"

	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

// What a person may keep of saved messages.
const (
	maxTemplates     = 100
	maxTemplateBytes = 64 << 10
)

// Templates lists the principal's saved messages by name.
func (r *Registry) Templates(ctx context.Context, p *auth.Principal) ([]store.MQTTTemplate, error) {
	rows, err := r.Store.Read().ListMQTTTemplatesFor(ctx, p.User.ID)
	return rows, wrap("list MQTT templates", err)
}

// SaveTemplate keeps a message, as JSON, under a name of the principal's; the same name again replaces it.
func (r *Registry) SaveTemplate(ctx context.Context, p *auth.Principal, name, message string) (row store.MQTTTemplate, err error) {
	name = wire.Printable(strings.TrimSpace(name), 60)
	switch {
	case name == "":
		return row, invalidField("name", "Give the message a name.")
	case len(message) > maxTemplateBytes:
		return row, wire.Errorf(wire.TooLarge, "A saved message takes at most %d bytes.", maxTemplateBytes)
	}
	err = r.Store.Write(ctx, func(q *store.Queries) error {
		row, err = q.SaveMQTTTemplate(ctx, store.SaveMQTTTemplateParams{ID: store.NewID("mqm"), UserID: p.User.ID, Name: name,
			Message: message, CreatedAt: r.millis()})
		if err != nil {
			return fmt.Errorf("save MQTT template: %w", err)
		}
		n, err := q.CountMQTTTemplatesFor(ctx, p.User.ID)
		if err == nil && n > maxTemplates {
			return wire.Errorf(wire.Conflict, "You have %d saved messages, which is the most. Remove some.", maxTemplates)
		}
		return err
	})
	return row, err
}

// RemoveTemplate removes one of the principal's.
func (r *Registry) RemoveTemplate(ctx context.Context, p *auth.Principal, id string) error {
	return r.Store.Write(ctx, func(q *store.Queries) error {
		n, err := q.RemoveMQTTTemplateFor(ctx, store.RemoveMQTTTemplateForParams{ID: id, Principal: p.User.ID})
		if err == nil && n == 0 {
			return wire.Errorf(wire.NotFound, "You have no such saved message.")
		}
		return wrap("remove MQTT template", err)
	})
}
