package bridge

import (
	"fmt"
	"log/slog"
	"testing"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"

	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/mqtttest"
	"github.com/aditdev/adit/internal/porttest"
)

// A real broker that refuses the bridge bit is spoken to without it, and what it sends back goes round no second time.
func TestABrokerThatKnowsNoBridges(t *testing.T) {
	address := porttest.Address(t)
	old := mochi.New(&mochi.Options{Logger: slog.New(slog.DiscardHandler)})
	if err := old.AddHook(&auth.AllowHook{}, nil); err != nil {
		t.Fatal(err)
	}
	if err := old.AddListener(listeners.NewTCP(listeners.Config{ID: "t", Address: address})); err != nil {
		t.Fatal(err)
	}
	if err := old.Serve(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = old.Close() })
	r := newRig(t, func(c *Config) { c.Broker, c.Version = address, "3.1.1" }, `# both 1 a/ a/`)
	if d := r.Bridge.local.speaks(); d.version != mqtt.V311 || d.bridge {
		t.Errorf("it is spoken to as %+v", d)
	}
	atHub, away := r.hub.Listen("a/#"), r.hub.Connect(mqtt.Options{ClientID: "away", Clean: true})
	for i := range 10 {
		publish(t, away, mqtt.Message{Topic: "a/b", Payload: fmt.Append(nil, i), QoS: 1})
		if p := mqtttest.Next(t, atHub); string(p.Payload) != fmt.Sprint(i) {
			t.Fatalf("%d came back as %s", i, p.Payload)
		}
	}
	mqtttest.Eventually(t, "each echo is known", func() bool { return r.Status().Looped == 10 })
	quiet(t, away, "a/b", atHub, "the echoes")
	if s := r.Status(); s.ForwardedOut != 0 || s.ForwardedIn < 10 {
		t.Errorf("%+v", s)
	}
}
