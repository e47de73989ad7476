package broker

import (
	"testing"

	"github.com/aditdev/adit/internal/mqtt"
)

// A peer that is still sending when it is sent away can go on until it has read why. It guards against closing at once, which
// resets the connection: the peer's next write fails, and it never reads the DISCONNECT.
func TestReasonArrivesBeforeTheEnd(t *testing.T) {
	t.Parallel()
	r := start(t)
	p := r.connect(t, hello(mqtt.V5, "oven", "p"))
	p.send(&mqtt.Publish{Topic: "shared/a", Properties: mqtt.Properties{{ID: mqtt.SubscriptionID, Number: 1}}})
	eventually(t, "the peer is sent away", func() bool { return r.Stats().Clients == 0 })
	if _, err := p.r.Peek(1); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		p.send(&mqtt.Publish{Topic: "shared/a", Payload: make([]byte, 1<<10)})
	}
	if code := p.gone(); code != mqtt.ProtocolError {
		t.Errorf("DISCONNECT said %v", code)
	}
}
