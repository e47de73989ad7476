package external

import (
	"context"
	"slices"
	"strings"

	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/wire"
)

// Clients implements messaging.Backend: those that are connected through this hub. What they subscribe to passes as bytes, and
// is not known.
func (b *Broker) Clients() []messaging.Client {
	b.mu.Lock()
	list := make([]messaging.Client, 0, len(b.peers))
	for p := range b.peers {
		list = append(list, messaging.Client{ID: p.id(), ClientID: p.clientID, Principal: p.principal, Version: p.said.String(),
			Connected: true, Door: p.door, Since: p.since, KeepAlive: p.keepAlive, Clean: p.clean, Bridge: p.bridge})
	}
	b.mu.Unlock()
	slices.SortFunc(list, func(x, y messaging.Client) int {
		return strings.Compare(x.ClientID+"\x00"+x.Principal.ID, y.ClientID+"\x00"+y.Principal.ID)
	})
	return list
}

func (p *peer) id() string { return opaque(clientID(p.principal, p.clientID)) }

// Kick implements messaging.Backend. Its MQTT session is ended by beginning a clean one in its place.
func (b *Broker) Kick(ctx context.Context, id string, forget bool) error {
	var kicked *peer
	b.mu.Lock()
	for p := range b.peers {
		if p.id() == id {
			kicked = p
			p.cut(mqtt.AdministrativeAction)
		}
	}
	b.mu.Unlock()
	if kicked == nil {
		return wire.Errorf(wire.NotFound, "There is no such MQTT client any more.")
	}
	if !forget {
		return nil
	}
	c, err := b.connect(ctx, mqtt.Options{ClientID: clientID(kicked.principal, kicked.clientID), Username: kicked.username})
	if err != nil {
		return err
	}
	return c.Close()
}

// Stats implements messaging.Backend. Messages are counted where the hub itself sends or is sent them; what is retained the
// broker alone knows.
func (b *Broker) Stats() messaging.Stats {
	b.mu.Lock()
	clients := len(b.peers)
	b.mu.Unlock()
	s := messaging.Stats{Backend: messaging.BackendExternal, Clients: clients, Sessions: clients, Started: b.started}
	h := b.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	s.Problem, s.Subscriptions, s.Received, s.Sent = h.trouble(), len(h.filters()), h.received, h.sent
	return s
}
