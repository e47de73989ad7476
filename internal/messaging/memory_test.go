package messaging

import (
	"context"
	"io"
	"net"
	"slices"
	"strings"
	"sync"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/mqtt"
)

// memory is a Backend as small as can be: what is published goes to whoever subscribed here.
type memory struct {
	mu       sync.Mutex
	subs     map[*memorySub]struct{}
	retained map[string]Received
	clients  []Client
	moved    []string
	served   chan Door
}

type memorySub struct {
	filter string
	fn     func(Received)
}

func newMemory() *memory {
	return &memory{subs: map[*memorySub]struct{}{}, retained: map[string]Received{}, served: make(chan Door, 10)}
}

func (m *memory) run(ctx context.Context) error { <-ctx.Done(); return nil }

func (m *memory) Serve(ctx context.Context, conn net.Conn, door Door) error {
	m.served <- door
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	_, err := io.Copy(io.Discard, conn)
	_ = conn.Close()
	return err
}

func (m *memory) Publish(_ context.Context, msg mqtt.Message, from string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := Received{Message: msg, From: from}
	if msg.Retain && len(msg.Payload) > 0 {
		m.retained[msg.Topic] = r
	} else if msg.Retain {
		delete(m.retained, msg.Topic)
	}
	for s := range m.subs {
		if access.ContainsTopics(s.filter, msg.Topic) {
			go s.fn(r)
		}
	}
	return nil
}

func (m *memory) Subscribe(filter string, fn func(Received)) (func(), error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := &memorySub{filter, fn}
	m.subs[s] = struct{}{}
	return func() { m.mu.Lock(); defer m.mu.Unlock(); delete(m.subs, s) }, nil
}

func (m *memory) Retained(_ context.Context, filter, after string, limit int, may func(string) bool) (RetainedPage, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var page RetainedPage
	for _, r := range byName(m.retained) {
		if !access.ContainsTopics(filter, r.Topic) || (may != nil && !may(r.Topic)) {
			continue
		}
		page.Total++
		page.TotalBytes += int64(len(r.Payload))
		switch {
		case r.Topic <= after:
		case len(page.Messages) == limit:
			page.More = true
		default:
			page.Messages = append(page.Messages, r)
		}
	}
	return page, nil
}

func (m *memory) Clients() []Client { m.mu.Lock(); defer m.mu.Unlock(); return slices.Clone(m.clients) }

func (m *memory) Kick(context.Context, string, bool) error { return nil }

func (m *memory) Moved(_ context.Context, from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.moved = append(m.moved, strings.TrimSpace(from+" "+to))
	return nil
}

func (m *memory) Stats() Stats { return Stats{Backend: "embedded"} }
