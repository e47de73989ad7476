package broker

import (
	"fmt"
	"testing"

	"github.com/aditdev/adit/internal/mqtt"
)

var versions = []mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5}

func TestMessagesArriveInEveryVersionAndQoS(t *testing.T) {
	t.Parallel()
	r := start(t)
	for _, from := range versions {
		for _, to := range versions {
			for qos := byte(0); qos <= 2; qos++ {
				t.Run(fmt.Sprintf("%s to %s at QoS %d", from, to, qos), func(t *testing.T) {
					sub := r.connect(t, hello(to, "admin", "sub"))
					if codes := sub.subscribe(2, "devices/+/t"); codes[0] != 2 {
						t.Fatalf("granted %v", codes)
					}
					pub := r.connect(t, hello(from, "oven", "pub"))
					if code := pub.publish("devices/oven/t", "warm", qos); code != mqtt.Success {
						t.Fatalf("acknowledged with %v", code)
					}
					if m := sub.receive(); string(m.Payload) != "warm" || m.QoS != qos || m.Topic != "devices/oven/t" || m.Dup {
						t.Errorf("got %+v", m)
					}
					sub.quiet()
				})
			}
		}
	}
}

func TestWhatWaitsComesInOrder(t *testing.T) {
	t.Parallel()
	r := start(t)
	sub := r.connect(t, hello(mqtt.V311, "oven", "o", kept))
	sub.subscribe(1, "cmds/oven/#")
	_ = sub.Close()
	eventually(t, "the subscriber is away", func() bool { return r.Stats().Clients == 0 })
	pub := r.connect(t, hello(mqtt.V311, "admin", "a"))
	for i := range 200 {
		pub.publish("cmds/oven/do", fmt.Sprint(i), 1)
	}
	sub = r.connect(t, hello(mqtt.V311, "oven", "o", kept))
	if !sub.ack.SessionPresent {
		t.Error("no session present")
	}
	for i := range 200 {
		if m := sub.receive(); string(m.Payload) != fmt.Sprint(i) {
			t.Fatalf("message %d is %s", i, m.Payload)
		}
	}
	sub.quiet()
}
