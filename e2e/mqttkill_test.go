//go:build linux

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	paho3 "github.com/eclipse/paho.mqtt.golang"
)

// The hub is killed again and again while real clients publish at QoS 1 and 2: what was acknowledged arrives, and what went
// at QoS 2 arrives once.
//
// At QoS 2 both sides are MQTT.js. paho.mqtt.golang v1.5.1, when it connects again, repeats a PUBLISH whose PUBREL it has sent
// already, which is a new message (MQTT 3.1.1 §4.3.3).
func TestMQTTKill(t *testing.T) {
	t.Parallel()
	duration := soakFor(t, 30*time.Second)
	r := newRig(t, "nginx")
	owner := r.mqttCredential(ask{"kind": "user"})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ears, acknowledged := [3]*ear{}, [3][]string{}
	var writers sync.WaitGroup
	var mu sync.Mutex
	for qos, streams := range map[int][]func() []string{
		1: {pahoGo{r, 4, owner}.stream(ctx, t, 1)},
		2: {r.stream(ctx, owner, 4, 2), r.stream(ctx, owner, 5, 2)},
	} {
		ears[qos] = r.keptEar(owner, qos)
		for _, stream := range streams {
			writers.Go(func() {
				all := stream()
				mu.Lock()
				defer mu.Unlock()
				acknowledged[qos] = append(acknowledged[qos], all...)
			})
		}
	}
	kills := 0
	for over := elapsed(duration); over() != nil; kills++ {
		eventually(t, 5*time.Second, "some seconds of the stream", elapsed(2*time.Second))
		r.stopHub("KILL")
		r.startHub()
	}
	eventually(t, 5*time.Second, "the last seconds of the stream", elapsed(2*time.Second))
	cancel()
	writers.Wait()
	t.Logf("killed the hub %d times; acknowledged: %d at QoS 1, %d at QoS 2", kills, len(acknowledged[1]), len(acknowledged[2]))
	for qos := 1; qos <= 2; qos++ {
		pahoGo{r, 4, owner}.say(t, saying{Topic: fmt.Sprintf("kill/%d", qos), QoS: qos, Payload: "end"})
		judge(t, qos, acknowledged[qos], ears[qos].all(t, "end"))
	}
	r.stopHub("KILL")
	r.intact()
}

// keptEar is MQTT.js with a session that outlives its connections.
func (r *rig) keptEar(c mqttCredential, qos int) *ear {
	r.t.Helper()
	js := r.scripted("MQTT.js", 5, c, "node", "mqttjs.mjs")
	sub := js.sub
	js.sub = func(id string, h hearing) []string {
		args := sub(id, h)
		args[len(args)-1] = strings.Replace(args[len(args)-1], `"hear":{`, `"hear":{"keep":true,`, 1)
		return args
	}
	return js.hear(r.t, hearing{Filter: fmt.Sprintf("kill/%d", qos), QoS: qos})
}

// stream prepares MQTT.js as a publisher that connects again by itself, with eight messages under way until ctx ends. The
// function gives what was acknowledged.
func (r *rig) stream(ctx context.Context, c mqttCredential, version, qos int) func() []string {
	r.t.Helper()
	what := ask{"stream": ask{"topic": fmt.Sprintf("kill/%d", qos), "qos": qos, "window": 8}}
	js := r.scripted("MQTT.js", version, c, "node", "mqttjs.mjs")
	cmd := r.host.command(context.Background(), js.env, js.run(newID(), what)...)
	in, err := cmd.StdinPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	var problem bytes.Buffer // also each time that the hub is away
	cmd.Stderr = &problem
	return func() []string {
		context.AfterFunc(ctx, func() { in.Close() })
		out, err := cmd.Output()
		if err != nil {
			r.t.Errorf("MQTT.js, publishing: %v\n%s", err, tail(problem.String()))
		}
		return strings.Fields(string(out))
	}
}

// judge compares what was acknowledged with what came.
func judge(t *testing.T, qos int, acknowledged, came []string) {
	t.Helper()
	if len(acknowledged) < 100 {
		t.Errorf("QoS %d: %d messages were acknowledged, which proves nothing", qos, len(acknowledged))
	}
	count := map[string]int{}
	for _, line := range came {
		count[line[strings.LastIndexByte(line, ' ')+1:]]++
	}
	lost := slices.DeleteFunc(slices.Clone(acknowledged), func(payload string) bool { return count[payload] > 0 })
	if len(lost) > 0 {
		t.Errorf("QoS %d: %d of %d acknowledged messages are lost: %.200q", qos, len(lost), len(acknowledged), lost)
	}
	twice := 0
	for payload, n := range count {
		if n > 1 {
			twice++
			if qos == 2 {
				t.Errorf("QoS 2: %s came %d times", payload, n)
			}
		}
	}
	t.Logf("QoS %d: %d messages came, %d of them more than once", qos, len(count), twice)
}

// stream prepares a publisher that connects again by itself, with eight messages under way until ctx ends. The function gives
// what was acknowledged.
func (p pahoGo) stream(ctx context.Context, t testing.TB, qos int) func() []string {
	o, _ := p.options(t)
	o.SetAutoReconnect(true).SetMaxReconnectInterval(300 * time.Millisecond).SetCleanSession(false).SetConnectTimeout(5 * time.Second)
	client := paho3.NewClient(o)
	done(t, "connect", client.Connect())
	return func() (acknowledged []string) {
		defer client.Disconnect(250)
		all := make(chan string, 8)
		var senders sync.WaitGroup
		for sender := range 8 {
			senders.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					payload := fmt.Sprintf("%d-%d", sender, n)
					token := client.Publish(fmt.Sprintf("kill/%d", qos), byte(qos), false, payload)
					if token.WaitTimeout(patience) && token.Error() == nil {
						all <- payload
					}
				}
			})
		}
		go func() { senders.Wait(); close(all) }()
		for payload := range all {
			acknowledged = append(acknowledged, payload)
		}
		return acknowledged
	}
}
