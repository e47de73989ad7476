package broker

import (
	"fmt"
	"testing"

	"github.com/aditdev/adit/internal/mqtt"
)

// Who subscribes on one connection and publishes on another at once gets the message. Nothing in MQTT promises it, but people
// and Paho's scripts (test_subscribe_options, test_request_response) count on it. It guards against the runtime's order, in
// which the last of those that became readable together is woken first. Other load may still get in between, now and then.
func TestWhoCameFirstIsReadFirst(t *testing.T) {
	r := start(t)
	sub, pub := r.connect(t, hello(mqtt.V5, "admin", "s")), r.connect(t, hello(mqtt.V5, "admin", "p"))
	const rounds = 300
	missed := 0
	for i := range rounds {
		topic := fmt.Sprint("order/", i)
		pub.quiet() // what comes next is no stream of messages, in which nobody is let pass
		sub.send(&mqtt.Subscribe{ID: 1, Filters: []mqtt.Subscription{{Filter: topic}}})
		pub.send(&mqtt.Publish{Topic: topic, Payload: []byte("early")})
		// By the answer the message was taken; when the subscription is there too, what comes last tells that nothing is behind it.
		pub.quiet()
		if !sub.hears(topic, pub) {
			missed++
		}
	}
	if missed > rounds/5 {
		t.Errorf("%d of %d messages were handled before the subscription that was sent first", missed, rounds)
	}
}

// hears reports whether p, which awaits SUBACK, gets the early message: a last one is sent when SUBACK has come.
func (p *peer) hears(topic string, pub *peer) (early bool) {
	p.t.Helper()
	for {
		got, err := p.next()
		if err != nil {
			p.t.Fatal(err)
		}
		switch got := got.(type) {
		case *mqtt.Suback:
			pub.publish(topic, "last", 0)
		case *mqtt.Publish:
			if string(got.Payload) == "last" {
				return early
			}
			early = true
		}
	}
}
