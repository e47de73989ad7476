//go:build linux

package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// A talk is between one speaker and another who sees the same broker from elsewhere.
type talk struct {
	one, other speaker
	out, in    string // topics without their end: what one may write and other read, and the other way round
}

// everything checks QoS both ways, retained messages, the Will and shared subscriptions.
func (k talk) everything(t *testing.T) {
	for qos := range 3 {
		k.qos(t, qos)
	}
	k.retained(t)
	k.will(t)
	k.shared(t)
}

// qos subscribes at one QoS and publishes at all three, both ways: each message comes once, at the lower of the two.
func (k talk) qos(t *testing.T, qos int) {
	t.Helper()
	for _, way := range []struct {
		from, to speaker
		topic    string
	}{{k.one, k.other, k.out}, {k.other, k.one, k.in}} {
		e := way.to.hear(t, hearing{Filter: way.topic + "/qos/#", QoS: qos})
		var all []saying
		var want []string
		for sent := range 3 {
			topic := fmt.Sprintf("%s/qos/%d", way.topic, sent)
			all = append(all, saying{Topic: topic, QoS: sent, Payload: "grüße"})
			want = append(want, line4(topic, byte(min(sent, qos)), false, []byte("grüße")))
		}
		way.from.say(t, append(all, saying{Topic: way.topic + "/qos/end", QoS: 2, Payload: "end"})...)
		if got := e.all(t, "end"); !slices.Equal(got, want) {
			t.Errorf("%s at QoS %d heard %q, want %q", e.name, qos, got, want)
		}
		e.stop()
	}
}

// retained leaves a message both ways for who comes later, and clears it.
func (k talk) retained(t *testing.T) {
	t.Helper()
	for _, way := range []struct {
		from, to speaker
		topic    string
	}{{k.one, k.other, k.out}, {k.other, k.one, k.in}} {
		topic := way.topic + "/kept/x"
		way.from.say(t, saying{Topic: topic, QoS: 1, Retain: true, Payload: "still-here"})
		e := way.to.hear(t, hearing{Filter: way.topic + "/kept/#", QoS: 1})
		if got := e.next(t); got != topic+" 1 1 still-here" {
			t.Errorf("%s heard %q of what is retained", e.name, got)
		}
		e.stop()
		way.from.say(t, saying{Topic: topic, QoS: 1, Retain: true})
		e = way.to.hear(t, hearing{Filter: way.topic + "/kept/#", QoS: 1})
		way.from.say(t, saying{Topic: way.topic + "/kept/end", QoS: 1, Payload: "end"})
		if got := e.all(t, "end"); len(got) > 0 {
			t.Errorf("%s heard %q after it was cleared", e.name, got)
		}
		e.stop()
	}
}

// will loses a connection.
func (k talk) will(t *testing.T) {
	t.Helper()
	topic := k.out + "/will/state"
	e := k.other.hear(t, hearing{Filter: k.out + "/will/#", QoS: 1})
	dead := k.one.hear(t, hearing{Filter: k.in + "/will/#", Will: topic})
	dead.kill()
	if got := e.next(t); got != topic+" 1 0 gone" {
		t.Errorf("the Will of %s came as %q", dead.name, got)
	}
	e.stop()
}

// shared has two share a subscription: each of ten messages comes to one of them.
func (k talk) shared(t *testing.T) {
	t.Helper()
	h := hearing{Filter: "$share/group/" + k.in + "/shared/+", QoS: 1}
	first, second := k.one.hear(t, h), k.one.hear(t, h)
	var all []saying
	var want []string
	for i := range 10 {
		topic := fmt.Sprintf("%s/shared/%d", k.in, i)
		all = append(all, saying{Topic: topic, QoS: 1, Payload: "work"})
		want = append(want, topic+" 1 0 work")
	}
	k.other.say(t, all...)
	var got []string
	for range all {
		select {
		case line := <-first.lines:
			got = append(got, line)
		case line := <-second.lines:
			got = append(got, line)
		case <-time.After(patience):
			t.Fatalf("%s: of ten shared messages came %q", first.name, got)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("%s: of ten shared messages came %q", first.name, got)
	}
	first.stop()
	second.stop()
}

// Everybody's clients, over WebSocket behind the proxy.
func TestMQTTClients(t *testing.T) {
	t.Parallel()
	r := newRig(t, "nginx")
	r.login()
	owner := r.mqttCredential(ask{"kind": "user"})
	other := pahoGo5{r, owner}
	talks := map[string]speaker{"paho.golang 5": pahoGo5{r, owner}}
	for version, name := range map[int]string{3: "mqttv31", 4: "mqttv311", 5: "mqttv5"} {
		talks["adit "+name] = r.aditMQTT(name)
		talks["MQTT.js "+name] = r.scripted("MQTT.js", version, owner, "node", "mqttjs.mjs")
		talks["python3-paho-mqtt "+name] = r.scripted("python3-paho-mqtt", version, owner, "/usr/bin/python3", "mqttpaho.py")
		if version < 5 {
			talks["paho.mqtt.golang "+name] = pahoGo{r, uint(version), owner}
		}
	}
	for name, one := range talks {
		t.Run(name, func(t *testing.T) {
			topic := fmt.Sprintf("test/%x", name)
			talk{one, other, topic + "/out", topic + "/in"}.everything(t)
		})
	}
}
