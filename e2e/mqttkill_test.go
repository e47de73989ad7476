//go:build linux

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// underWay is how many messages of a stream may be anywhere between it and its ear. The hub keeps 1000 for an ear that is away,
// which on a busy machine it may be for longer than the streams are.
const underWay = 200

// The hub is killed again and again while real clients publish at QoS 1 and 2: what was acknowledged arrives, and what went
// at QoS 2 arrives once.
//
// The clients are MQTT.js, programs of their own. Others do not outlive a hub that is killed well enough. paho.mqtt.golang v1.5.1,
// when it connects again, tells a message that was not acknowledged that it was, changes it while another goroutine writes it (a
// data race, of which each test that runs then dies), and repeats a PUBLISH of QoS 2 whose PUBREL it has sent already, which is
// a new message (MQTT 3.1.1 §4.3.3). The network thread of Python's paho 1.6.1 dies of a TLS connection that ends within a write.
func TestMQTTKill(t *testing.T) {
	t.Parallel()
	duration := soakFor(t, 30*time.Second)
	r := newRig(t, "nginx")
	owner := r.mqttCredential(ask{"kind": "user"})
	js4, js5 := r.scripted("MQTT.js", 4, owner, "node", "mqttjs.mjs"), r.scripted("MQTT.js", 5, owner, "node", "mqttjs.mjs")
	streams := map[int][]*stream{1: {r.stream(js4, "4-", 1)}, 2: {r.stream(js4, "4-", 2), r.stream(js5, "5-", 2)}}
	heard := map[int]<-chan []string{}
	for qos, of := range streams {
		heard[qos] = follow(t, r.keptEar(owner, qos), of)
	}
	kills := 0
	for began := time.Now(); time.Since(began) < duration; kills++ {
		passes(2 * time.Second) // of the streams
		r.stopHub("KILL")
		r.startHub()
	}
	passes(2 * time.Second)
	for qos, of := range streams {
		var acknowledged []string
		for _, s := range of {
			acknowledged = append(acknowledged, s.end()...)
		}
		t.Logf("killed the hub %d times; at QoS %d %d messages were acknowledged", kills, qos, len(acknowledged))
		pahoGo{r, 4, owner}.say(t, saying{Topic: fmt.Sprintf("kill/%d", qos), QoS: qos, Payload: "end"})
		select {
		case came := <-heard[qos]:
			judge(t, qos, acknowledged, came)
		case <-time.After(3 * patience):
			t.Errorf("QoS %d: the last message has not come", qos)
		}
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

// A stream is a client that publishes numbers and connects again by itself.
type stream struct {
	prefix  string         // of its payloads
	permits io.WriteCloser // takes a byte for each message that it may publish
	end     func() []string
}

// stream starts a script as one, with eight messages unacknowledged at most. Its end gives what was acknowledged.
func (r *rig) stream(v *voice, prefix string, qos int) *stream {
	r.t.Helper()
	what := ask{"stream": ask{"topic": fmt.Sprintf("kill/%d", qos), "qos": qos, "window": 8}}
	cmd := r.host.command(context.Background(), v.env, v.run(newID(), what)...)
	in, err := cmd.StdinPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	var out, problem bytes.Buffer // the latter also each time that the hub is away
	cmd.Stdout, cmd.Stderr = &out, &problem
	done := start(r.t, cmd)
	return &stream{prefix: prefix, permits: in, end: func() []string {
		in.Close()
		late := time.AfterFunc(3*patience, func() { _ = cmd.Process.Kill() })
		defer late.Stop()
		if err := <-done; err != nil {
			r.t.Errorf("%s, publishing: %v\n%s", v.name, err, tail(problem.String()))
		}
		return strings.Fields(out.String())
	}}
}

// follow takes what comes until "end", and lets a stream publish one more for each of its messages that has come.
func follow(t *testing.T, e *ear, streams []*stream) <-chan []string {
	heard := make(chan []string, 1)
	var all []string
	came := map[string]bool{}
	take := func(line string) {
		all = append(all, line)
		payload := line[strings.LastIndexByte(line, ' ')+1:]
		for _, s := range streams {
			if strings.HasPrefix(payload, s.prefix) && !came[payload] {
				_, _ = io.WriteString(s.permits, "\n") // it may have ended
			}
		}
		came[payload] = true
	}
	for _, s := range streams {
		_, _ = io.WriteString(s.permits, strings.Repeat("\n", underWay))
	}
	var following sync.WaitGroup
	following.Go(func() {
		for {
			select {
			case <-t.Context().Done():
				return
			case line := <-e.lines:
				if strings.HasSuffix(line, " end") {
					heard <- all
					return
				}
				take(line)
			}
		}
	})
	t.Cleanup(following.Wait)
	return heard
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
