//go:build linux

package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Whoever posts a hook and waits gets the answer of the device behind the tunnel, of a program there or of a command that its owner
// named. One that is not there is said so at once, one that is silent in time.
func TestHookWait(t *testing.T) {
	t.Parallel()
	r := newRig(t, "nginx")
	r.startSSHD()
	r.install()
	r.device.write("/usr/local/bin/door", "#!/bin/sh\necho \"$1 is open\"; cat; echo no light >&2; exit 3\n", 0o755)
	r.configure("[mqtt]\nlisten = \"127.0.0.1:" + agentPort + "\"\n" + `
[[command]]
name = "open-door"
argv = ["/usr/local/bin/door", "{door}"]
parameters = ["door=[a-z]{1,32}"]
`)
	for _, step := range []struct {
		name string
		run  func(*rig)
	}{
		{"MQTT 5", (*rig).answersByProperties},
		{"MQTT 3.1.1", (*rig).answersByEnvelope},
		{"silent", (*rig).staysSilent},
		{"command", (*rig).commandAnswers},
		{"not there", (*rig).isNotThere},
	} {
		t.Run(step.name, func(t *testing.T) {
			at, host, device := *r, *r.host, *r.device
			at.t, host.t, device.t = t, t, t
			at.host, at.device = &host, &device
			step.run(&at)
		})
	}
}

// responder runs a line of shell on the device for each message of a topic, as fields of mosquitto_sub's format, until the test ends. It
// returns once the hub's broker knows the subscription.
func (r *rig) responder(topic, version, format, line string) {
	r.t.Helper()
	name := newID()
	r.device.daemon(name, "/var/log/"+name+".log", nil, "bash", "-c", fmt.Sprintf(
		"mosquitto_sub -V %s -p %s -q 1 -t %s -F '%s' | while read -r a b c; do %s; done", version, agentPort, topic, format, line))
	r.t.Cleanup(func() {
		r.device.sh(`kill -- -$(cat /run/` + name + `.pid)`)
		if r.t.Failed() {
			r.t.Logf("the responder on %s said\n%s", topic, r.device.sh("cat /var/log/"+name+".log"))
		}
	})
	eventually(r.t, patience, "a responder on "+topic, func() error { return r.subscribed(topic) })
}

// subscribed reports whether anybody has a subscription.
func (r *rig) subscribed(filter string) error {
	var clients []struct{ Subscriptions []struct{ Filter string } }
	if err := r.call("GET", "/api/v1/mqtt/clients", nil, &clients); err != nil {
		return err
	}
	for _, c := range clients {
		for _, s := range c.Subscriptions {
			if s.Filter == filter {
				return nil
			}
		}
	}
	return errNotYet
}

// mosquittoReply is mosquitto_pub to the agent's port.
func mosquittoReply(version, rest string) string {
	return fmt.Sprintf("mosquitto_pub -V %s -p %s -q 1 %s", version, agentPort, rest)
}

// answers is what a sender that waited is to get.
func (r *rig) answers(a hookReply, status int, contentType, body string) {
	r.t.Helper()
	if a.status != status || a.header.Get("Content-Type") != contentType || a.body != body {
		r.t.Errorf("the sender got %d %s %q, want %d %s %q", a.status, a.header.Get("Content-Type"), a.body, status, contentType, body)
	}
}

// refusesAtOnce has a sender wait for somebody who is not there. The machine of the tests is shared: the best of three is within a second
// of what the hub's least answer takes there, ten times over.
func (r *rig) refusesAtOnce(s hookSource) {
	r.t.Helper()
	best, least := time.Hour, time.Hour
	for range 3 {
		least = min(least, r.curl("/readyz").took)
		a := r.send(s, "?wait=30s", `{"door":"open"}`)
		if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
			r.t.Errorf("nobody is there, and the answer is %d %v: %s", a.status, a.header, a.body)
		}
		best = min(best, a.took)
	}
	if best > time.Second+10*least {
		r.t.Errorf("nobody is there, which is said after %v, and that the hub is ready after %v", best, least)
	}
}

func (r *rig) answersByProperties() {
	s := r.newSource("garage", ask{"action": ask{"kind": "publish", "topic": "cmds/kitchen/garage"}})
	r.refusesAtOnce(s) // nobody listens yet
	r.responder("cmds/kitchen/garage", "mqttv5", "%R %D %p", mosquittoReply("mqttv5",
		`-t "$a" -D publish correlation-data "$b" -D publish content-type application/json -D publish user-property status 201 -m "{\"did\":$c}"`))
	r.answers(r.send(s, "?wait=30s", `{"door":"open"}`), 201, "application/json", `{"did":{"door":"open"}}`)
	if a := r.send(s, "", `{"door":"shut"}`); a.id(r.t) == "" {
		r.t.Error("a sender that does not wait gets no id")
	}
	if a := r.curl(s.path+"?wait=30s", "-d", `{"door":"open"}`); a.status != http.StatusUnauthorized {
		r.t.Errorf("without the secret: %d %s", a.status, a.body)
	}
}

func (r *rig) answersByEnvelope() {
	s := r.newSource("old", ask{"action": ask{"kind": "publish", "topic": "cmds/kitchen/old", "correlation": "envelope"}})
	const take = `reply=$(printf %s "$a" | sed -n "s/.*\"reply\":\"\([^\"]*\)\".*/\1/p"); id=$(printf %s "$a" | sed -n "s/.*\"id\":\"\([^\"]*\)\".*/\1/p"); `
	r.responder("cmds/kitchen/old", "mqttv311", "%p", take+mosquittoReply("mqttv311", `-t "$reply" -m done:"$a"`))
	if a := r.send(s, "?wait=30s", `{"door":"open"}`); a.status != http.StatusOK || !strings.HasPrefix(a.body, "done:{") || !strings.Contains(a.body, `"payload":{"door":"open"}`) {
		r.t.Errorf("the sender got %d %q", a.status, a.body)
	}
	header := r.newSource("evil", ask{"action": ask{"kind": "publish", "topic": "cmds/kitchen/evil", "correlation": "envelope"}})
	r.responder("cmds/kitchen/evil", "mqttv311", "%p", take+mosquittoReply("mqttv311",
		`-t "$reply" -m "{\"id\":\"$id\",\"payload\":\"text\",\"status\":418,\"content_type\":\"text/plain\\r\\nSet-Cookie: a=b\"}"`))
	if a := r.send(header, "?wait=30s", `{}`); a.status != http.StatusTeapot || a.body != "text" || a.header.Get("Set-Cookie") != "" {
		r.t.Errorf("with a content type of two lines the sender got %d %v %q", a.status, a.header, a.body)
	}
}

func (r *rig) staysSilent() {
	s := r.newSource("silent", ask{"action": ask{"kind": "publish", "topic": "cmds/kitchen/silent"}})
	r.responder("cmds/kitchen/silent", "mqttv5", "%R %D %p", `echo "$a $b" >/tmp/asked`)
	a := r.send(s, "?wait=2s", `{"door":"open"}`)
	location := a.header.Get("Location")
	if a.status != http.StatusGatewayTimeout || !strings.HasPrefix(location, "/hook/requests/req_") || a.took < 2*time.Second || a.took > 25*time.Second {
		r.t.Fatalf("in silence the sender got %d, Location %q after %v: %s", a.status, location, a.took, a.body)
	}
	if a := r.curl(location); a.status != http.StatusAccepted {
		r.t.Errorf("before there is an answer: %d %s", a.status, a.body)
	}
	r.device.sh(`read -r topic id </tmp/asked; ` + mosquittoReply("mqttv5", `-t "$topic" -D publish correlation-data "$id" -D publish content-type text/plain -m late`))
	eventually(r.t, patience, "the late answer", func() error {
		if a := r.curl(location); a.status != http.StatusOK || a.body != "late" {
			return fmt.Errorf("%d %s", a.status, a.body)
		}
		return nil
	})
	if bare, _, _ := strings.Cut(location, "?"); r.curl(bare).status != http.StatusNotFound {
		r.t.Error("the id, which is published with the message, opens the answer")
	}
	if a := r.curl("/hook/requests/req_AAAAAAAAAAAAAAAAAAAAAA?key=AAAAAAAAAAAAAAAAAAAAAA"); a.status != http.StatusNotFound {
		r.t.Errorf("an id that nobody has: %d %s", a.status, a.body)
	}
}

// commandAnswers runs what the device's owner named, and nothing until that owner says so.
func (r *rig) commandAnswers() {
	s := r.newSource("door", ask{"action": ask{"kind": "command", "device": "kitchen", "command": "open-door", "arguments": ask{"door": "{{ .body.door }}"}}})
	r.device.sh(`sed -i 's/^run = .*/run = false/' /etc/adit/agent.toml; grep -q '^run = false' /etc/adit/agent.toml`)
	r.restartAgent()
	if a := r.send(s, "?wait=30s", `{"door":"front"}`); a.status != http.StatusBadGateway || !strings.Contains(a.body, "policy.run") {
		r.t.Errorf("with the device's policy off: %d %s", a.status, a.body)
	}
	r.device.sh(`sed -i 's/^run = false/run = true/' /etc/adit/agent.toml`)
	r.restartAgent()
	r.answers(r.send(s, "?wait=30s", `{"door":"front"}`), 200, "application/json",
		`{"exit_code":3,"stdout":"front is open\n{\"door\":\"front\"}","stderr":"no light\n"}`)
	if a := r.send(s, "?wait=30s", `{"door":"front; reboot"}`); a.status != http.StatusBadGateway || !strings.Contains(a.body, "door") {
		r.t.Errorf("with a value that the pattern does not let through: %d %s", a.status, a.body)
	}
}

// isNotThere asks a device that is offline: at once, whatever is asked of it.
func (r *rig) isNotThere() {
	r.device.run("/usr/local/bin/adit", "agent", "uninstall")
	promised(r.t, noticedWithin, "kitchen offline", r.online("kitchen", false))
	for _, action := range []ask{
		{"kind": "publish", "topic": "cmds/kitchen/away"},
		{"kind": "command", "device": "kitchen", "command": "open-door", "arguments": ask{"door": "front"}},
	} {
		s := r.newSource("away-"+action["kind"].(string), ask{"action": action})
		r.refusesAtOnce(s)
	}
}
