package broker

import (
	"strings"
	"testing"

	"github.com/aditdev/adit/internal/mqtt"
)

// A peer that takes Topic Aliases gets its first topics by them, each with its name first. It guards against an alias that was
// never said because the packet was too large for the peer, and against more of them than the peer takes.
func TestTopicAliasesToPeers(t *testing.T) {
	t.Parallel()
	r := start(t)
	sub := r.connect(t, hello(mqtt.V5, "admin", "s", asks(mqtt.TopicAliasMaximum, 2), asks(mqtt.MaximumPacketSize, 60)))
	sub.subscribe(1, "shared/#")
	pub := r.connect(t, hello(mqtt.V5, "oven", "p"))
	pub.publish("shared/a", strings.Repeat("too large ", 10), 1)
	for _, topic := range []string{"shared/a", "shared/b", "shared/c", "shared/a", "shared/b", "shared/c"} {
		pub.publish(topic, topic, 1)
	}
	for i, want := range []struct {
		topic string
		alias uint32
	}{{"shared/a", 1}, {"shared/b", 2}, {"shared/c", 0}, {"", 1}, {"", 2}, {"shared/c", 0}} {
		if m := sub.receive(); m.Topic != want.topic || m.Properties.Number(mqtt.TopicAlias, 0) != want.alias {
			t.Errorf("%d: topic %q, %+v; want %+v", i, m.Topic, m.Properties, want)
		}
	}
}
