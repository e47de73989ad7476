package messaging

import (
	"context"
	"slices"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/mqtt"
)

// Send publishes in the name of something that is no person, past the rules of people: whoever set it up could. Errors are the
// Backend's, or say that the hub stops.
func (e *Exchange) Send(ctx context.Context, m mqtt.Message, from string) error {
	ctx, done, err := e.during(ctx)
	if err != nil {
		return err
	}
	defer done()
	return e.Backend.Publish(ctx, m, from)
}

// Ask is Send for a message with a response topic. Answer gets what comes on it, from a goroutine of the broker's, until end is
// called; it must not block. Where the response topic is one of ReplyTopic's, whoever may receive the message may write it for
// as long. The caller bounds how many are asked at once.
func (e *Exchange) Ask(ctx context.Context, m mqtt.Message, from string, answer func(Received)) (end func(), err error) {
	ctx, done, err := e.during(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	forbid := func() {}
	if e.ownsReply(m.ResponseTopic) {
		forbid = e.Registry.replies.allow(m.ResponseTopic, m.Topic)
	}
	unsubscribe, err := e.Backend.Subscribe(m.ResponseTopic, answer)
	if err != nil {
		forbid()
		return nil, err
	}
	end = func() { unsubscribe(); forbid() }
	if err := e.Backend.Publish(ctx, m, from); err != nil {
		end()
		return nil, err
	}
	return end, nil
}

// ReplyTopic is this hub's topic for the answer to a request of that id.
func (e *Exchange) ReplyTopic(id string) string { return "replies/" + e.Name + "/" + id }

func (e *Exchange) ownsReply(topic string) bool {
	prefix := e.ReplyTopic("")
	return len(topic) > len(prefix) && topic[:len(prefix)] == prefix
}

// Listens reports whether a client whose principal is one of those is connected and subscribed to a topic. Of an external broker
// the hub knows who is connected, since it is the door, and not to what they subscribe: there being connected is enough. Who is there
// past the hub is nobody that it knows: where those may be anybody, it says that somebody listens.
func (e *Exchange) Listens(topic string, of func(Principal) bool) bool {
	if e.Backend.Stats().Backend == BackendExternal {
		return of(Principal{}) || slices.ContainsFunc(e.Backend.Clients(), func(c Client) bool { return c.Connected && of(c.Principal) })
	}
	return slices.ContainsFunc(e.Backend.Clients(), func(c Client) bool {
		return c.Connected && of(c.Principal) && slices.ContainsFunc(c.Subscriptions, func(s Subscription) bool {
			filter, ok := access.Unshared(s.Filter)
			return ok && access.ContainsTopics(filter, topic)
		})
	})
}
