//go:build linux

package e2e

import (
	"fmt"
	"slices"
	"strings"
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
		way.from.say(t, all...)
		var got []string
		for range all { // each may go by a connection of its own: in no order
			got = append(got, e.next(t))
		}
		way.from.say(t, saying{Topic: way.topic + "/qos/end", QoS: 2, Payload: "end"})
		got = append(got, e.all(t, "end")...)
		slices.Sort(got)
		if !slices.Equal(got, want) {
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
	owner := r.mqttCredential(ask{"kind": "user"})
	other := pahoGo5{r, owner}
	talks := map[string]speaker{"paho.golang 5": pahoGo5{r, owner}}
	for version, name := range map[int]string{3: "mqttv31", 4: "mqttv311", 5: "mqttv5"} {
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

// Ports of the device in the tests. Its own Mosquitto has 1883.
const (
	agentPort = "11883" // the agent's, on loopback
	ownPort   = "1883"
)

// configure adds settings to agent.toml, as an editor does, and has the agent start again.
func (r *rig) configure(settings string) {
	r.t.Helper()
	r.device.sh("cat >>/etc/adit/agent.toml <<'END'\n" + settings + "\nEND")
	r.restartAgent()
}

func (r *rig) restartAgent() {
	r.t.Helper()
	reached := func() string { return r.device.sh("grep -c 'hub reached' /etc/adit/agent.log || :") }
	before := reached()
	r.device.sh(`for p in /proc/[0-9]*; do if tr '\0' ' ' <$p/cmdline | grep -q '[a]dit agent run'; then kill ${p#/proc/}; fi; done 2>/dev/null`)
	// By its log: it is away for a moment only, which whoever asks the hub may miss.
	promised(r.t, noticedWithin, "the hub reached again", func() error {
		if reached() == before {
			return errNotYet
		}
		return nil
	})
	promised(r.t, noticedWithin, "kitchen online again", r.online("kitchen", true))
}

// mosquitto starts a broker on the device with settings beside a listener, and waits for it.
func (r *rig) mosquitto(name, port, settings string) {
	r.t.Helper()
	file, log := "/etc/mosquitto-"+name+".conf", "/var/log/mosquitto-"+name+".log"
	r.device.write(file, "listener "+port+" 127.0.0.1\nallow_anonymous true\nuser root\n"+settings+"\n", 0o600)
	r.device.daemon(name, log, nil, "mosquitto", "-v", "-c", file)
	eventually(r.t, patience, "mosquitto "+name, func() error {
		_, err := r.device.try("mosquitto_pub", "-p", port, "-t", "up", "-n")
		return err
	})
	r.t.Cleanup(func() {
		if out, err := r.device.try("tail", "-n", "60", log); err == nil && r.t.Failed() {
			r.t.Logf("the log of mosquitto %s ends with\n%s", name, out)
		}
	})
}

// Clients without TLS: at the agent's loopback port, which comes out at the hub as the device; at that port and at the
// device's own broker through `ssh -L`; at the latter through `adit forward` and `adit mqtt --device`.
func TestMQTTClientsOfDevice(t *testing.T) {
	t.Parallel()
	r := newRig(t, "nginx")
	r.startSSHD()
	r.install()
	r.login()
	r.configure("[mqtt]\nlisten = \"127.0.0.1:" + agentPort + "\"")
	r.mosquitto("own", ownPort, "")
	r.adit(t.Context(), "ssh-config").text(t)
	r.stays("L", "ssh", "-N", "-L", "21883:127.0.0.1:"+agentPort, "-L", "21884:127.0.0.1:"+ownPort, login+"@kitchen.adit")
	r.host.daemon("forward", r.dir+"/forward.log", r.userEnv(), built("adit"), "forward", "kitchen", "22883:127.0.0.1:"+ownPort)
	for _, port := range []string{"21883", "21884", "22883"} {
		eventually(t, patience, "port "+port, func() error {
			_, err := r.host.try("mosquitto_pub", "-p", port, "-t", "devices/kitchen/up", "-n")
			return err
		})
	}
	hub := pahoGo5{r, r.mqttCredential(ask{"kind": "user"})}
	own := mosquitto(r.device, "mqttv5", "127.0.0.1", ownPort)
	for _, version := range []string{"mqttv31", "mqttv311", "mqttv5"} {
		for name, k := range map[string]talk{
			"the agent's port":              {mosquitto(r.device, version, "127.0.0.1", agentPort), hub, "devices/kitchen/a", "cmds/kitchen/a"},
			"ssh -L to the agent's port":    {mosquitto(r.host, version, "127.0.0.1", "21883"), hub, "devices/kitchen/b", "cmds/kitchen/b"},
			"ssh -L to the device's own":    {mosquitto(r.host, version, "127.0.0.1", "21884"), own, "c/out", "c/in"},
			"adit forward to its own":       {mosquitto(r.host, version, "127.0.0.1", "22883"), own, "d/out", "d/in"},
			"adit mqtt --device, its own":   {r.aditOfDevice(version), own, "e/out", "e/in"},
			"adit mqtt at the hub's broker": {r.aditMQTT(version), hub, "f/out", "f/in"},
		} {
			t.Run(name+" "+version, func(t *testing.T) { k.everything(t) })
		}
	}
}

// aditOfDevice is `adit mqtt --device kitchen`. It hears a retained message first, and so says that it has subscribed. When
// it is killed its stream stays open for a while, so that it is the keep-alive by which the device's broker misses it.
func (r *rig) aditOfDevice(version string) *voice {
	v := r.aditMQTT(version, "--device", "kitchen")
	r.device.run("mosquitto_pub", "-p", ownPort, "-t", "ready", "-r", "-m", "ready")
	sub := v.sub
	v.sub = func(id string, h hearing) []string { return append(sub(id, h), "-t", "ready", "-k", "5") }
	v.ready = func(line string) bool { return strings.HasPrefix(line, "ready ") }
	return v
}
