//go:build linux

package e2e

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// A bridge connects a Mosquitto on the device with the hub: by itself through the agent's port, or by the agent.
type bridge struct {
	*rig
	name  string // also a level of its topics
	port  string // of the Mosquitto
	hub   speaker
	local speaker
}

// lines are its topics in Mosquitto's words; `both` needs a tree that the device may read and write.
func (b *bridge) lines() []string {
	return []string{
		"out/# out 1 up/ devices/kitchen/" + b.name + "/",
		"in/# in 1 down/ cmds/kitchen/" + b.name + "/",
		"both/# both 1 mix/ shared/kitchen/" + b.name + "/",
	}
}

// mosquittoBridge are the settings of one with these topic lines, all else at its default but for settings.
func mosquittoBridge(name string, lines []string, settings ...string) string {
	conf := "connection " + name + "\naddress 127.0.0.1:" + agentPort + "\n" + strings.Join(settings, "\n") + "\n"
	for _, line := range lines {
		conf += "topic " + line + "\n"
	}
	return conf
}

// agentBridge is the same as a part of agent.toml.
func agentBridge(name, port string, lines []string) string {
	return fmt.Sprintf("[[mqtt.bridge]]\nname = %q\nbroker = \"127.0.0.1:%s\"\ntopics = ['%s']\n", name, port, strings.Join(lines, "', '"))
}

// rule adds one made by hand.
func (r *rig) rule(subject, access, filter string) {
	r.t.Helper()
	if err := r.call("POST", "/api/v1/mqtt/rules", ask{"subject": subject, "access": access, "filter": filter}, nil); err != nil {
		r.t.Fatal(err)
	}
}

// up waits until messages pass both ways.
func (b *bridge) up(t *testing.T) {
	t.Helper()
	for _, way := range []struct {
		from, to        speaker
		written, arrive string
	}{
		{b.local, b.hub, "up/out/ready", "devices/kitchen/" + b.name + "/out/ready"},
		{b.hub, b.local, "cmds/kitchen/" + b.name + "/in/ready", "down/in/ready"},
	} {
		e := way.to.hear(t, hearing{Filter: way.arrive, QoS: 0})
		eventually(t, patience, b.name+" bridges to "+way.arrive, func() error {
			way.from.say(t, saying{Topic: way.written, Payload: "ready"})
			select {
			case <-e.lines:
				return nil
			case <-time.After(100 * time.Millisecond):
				return errNotYet
			}
		})
		e.stop()
	}
}

// publishes one of each kind on both sides, and gives what is to hear it there: each message once, with its QoS and whether it is retained.
func (b *bridge) publishes(t *testing.T) (far, near *ear) {
	t.Helper()
	b.up(t)
	hubTree := "/kitchen/" + b.name + "/"
	far = b.hub.hear(t, hearing{Filter: "+/kitchen/" + b.name + "/#", QoS: 2})
	near = b.local.hear(t, hearing{Filter: "#", QoS: 2})
	b.local.say(t, saying{Topic: "up/out/0", QoS: 0, Payload: "a"}, saying{Topic: "up/out/1", QoS: 1, Payload: "a"}, saying{Topic: "up/out/2", QoS: 2, Payload: "a"},
		saying{Topic: "mix/both/near", QoS: 1, Payload: "b"}, saying{Topic: "up/out/kept", QoS: 1, Retain: true, Payload: "k"},
		saying{Topic: "mix/both/kept-near", QoS: 1, Retain: true, Payload: "k"}, saying{Topic: "other/topic", QoS: 1, Payload: "c"})
	b.hub.say(t, saying{Topic: "cmds" + hubTree + "in/1", QoS: 1, Payload: "d"}, saying{Topic: "shared" + hubTree + "both/far", QoS: 1, Payload: "e"},
		saying{Topic: "cmds" + hubTree + "in/kept", QoS: 1, Retain: true, Payload: "k"}, saying{Topic: "shared" + hubTree + "both/kept-far", QoS: 1, Retain: true, Payload: "k"})
	return far, near
}

// everything is there, and stops both ears.
func (b *bridge) everything(t *testing.T, far, near *ear) {
	hubTree := "/kitchen/" + b.name + "/"
	b.hub.say(t, saying{Topic: "test" + hubTree + "end", QoS: 1, Payload: "end"})
	b.local.say(t, saying{Topic: "end", QoS: 1, Payload: "end"})
	want := []string{
		"cmds" + hubTree + "in/1 1 0 d", "cmds" + hubTree + "in/kept 1 0 k",
		"devices" + hubTree + "out/0 0 0 a", "devices" + hubTree + "out/1 1 0 a", "devices" + hubTree + "out/2 1 0 a", "devices" + hubTree + "out/kept 1 0 k",
		"shared" + hubTree + "both/far 1 0 e", "shared" + hubTree + "both/kept-far 1 0 k",
		"shared" + hubTree + "both/kept-near 1 0 k", "shared" + hubTree + "both/near 1 0 b",
	}
	if got := withoutReady(far.all(t, "end")); !slices.Equal(got, want) {
		t.Errorf("the hub has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	want = []string{
		"down/in/1 1 0 d", "down/in/kept 1 0 k", "mix/both/far 1 0 e", "mix/both/kept-far 1 0 k", "mix/both/kept-near 1 0 k", "mix/both/near 1 0 b",
		"other/topic 1 0 c", "up/out/0 0 0 a", "up/out/1 1 0 a", "up/out/2 2 0 a", "up/out/kept 1 0 k",
	}
	if got := withoutReady(near.all(t, "end")); !slices.Equal(got, want) {
		t.Errorf("the device's broker has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	far.stop()
	near.stop()
	b.kept(t)
}

// withoutReady leaves out what `up` published more than once, and arrived when it no longer waited for that.
func withoutReady(all []string) []string {
	return slices.DeleteFunc(all, func(line string) bool { return strings.HasSuffix(line, "/ready 0 0 ready") })
}

// kept looks at what is retained on each side of what was published on the other.
func (b *bridge) kept(t *testing.T) {
	t.Helper()
	for topic, at := range map[string]speaker{
		"devices/kitchen/" + b.name + "/out/kept": b.hub, "shared/kitchen/" + b.name + "/both/kept-near": b.hub,
		"down/in/kept": b.local, "mix/both/kept-far": b.local,
	} {
		e := at.hear(t, hearing{Filter: topic, QoS: 1})
		if got := e.next(t); got != topic+" 1 1 k" {
			t.Errorf("retained is %q", got)
		}
		e.stop()
	}
}

// during is what is published at QoS 1 while the cable is cut.
const during = 500

func (b *bridge) publishMany(t *testing.T) {
	t.Helper()
	b.device.sh(fmt.Sprintf("seq 1 %d | mosquitto_pub -V mqttv311 -p %s -l -q 1 -t up/out/cut", during, b.port))
}

// arrive reads until all of them are there, and gives how often each came.
func (b *bridge) arrive(t *testing.T, e *ear) map[string]int {
	t.Helper()
	count := map[string]int{}
	took := eventually(t, 3*patience, b.name+": all are there", func() error {
		for {
			select {
			case line := <-e.lines:
				count[line]++
				continue
			default:
			}
			break
		}
		if len(count) < during {
			return fmt.Errorf("%d of %d", len(count), during)
		}
		return nil
	})
	t.Logf("%s: %d messages within %v", b.name, len(count), took.Round(time.Millisecond))
	return count
}

// onceEach reads what has come since, and finds each message once.
func (b *bridge) onceEach(t *testing.T, e *ear, count map[string]int) {
	t.Helper()
	b.hub.say(t, saying{Topic: "devices/kitchen/" + b.name + "/out/cut", QoS: 1, Payload: "end"})
	for _, line := range e.all(t, "end") {
		count[line]++
	}
	twice := 0
	for line, n := range count {
		if n > 1 {
			twice++
			if twice <= 3 {
				t.Logf("%s: %q came %d times", b.name, line, n)
			}
		}
	}
	if twice > 0 || len(count) != during {
		t.Errorf("%s: %d messages, %d of them more than once, want %d once each", b.name, len(count), twice, during)
	}
}

// Mosquitto's bridges through the agent's port, one as it comes and one of MQTT 5, and the agent's own bridge.
func TestMQTTBridge(t *testing.T) {
	t.Parallel()
	r := newRig(t, "nginx")
	r.startSSHD()
	r.install()
	r.rule("device:kitchen", "readwrite", "shared/kitchen/#")
	hub := pahoGo5{r, r.mqttCredential(ask{"kind": "user"})}
	bridges := []*bridge{{name: "defaults", port: "2001"}, {name: "v5", port: "2002"}, {name: "agent", port: ownPort}}
	for _, b := range bridges {
		b.rig, b.hub, b.local = r, hub, mosquitto(r.device, "mqttv311", "127.0.0.1", b.port)
	}
	r.configure("[mqtt]\nlisten = \"127.0.0.1:" + agentPort + "\"\n" + agentBridge("agent", ownPort, bridges[2].lines()))
	r.mosquitto("own", ownPort, "")
	r.mosquitto("defaults", "2001", mosquittoBridge("defaults", bridges[0].lines()))
	r.mosquitto("v5", "2002", mosquittoBridge("v5", bridges[1].lines(), "bridge_protocol_version mqttv50"))
	ears := map[*bridge][2]*ear{}
	for _, b := range bridges {
		far, near := b.publishes(t)
		ears[b] = [2]*ear{far, near}
	}
	passes(10 * time.Second) // for what goes in circles
	for _, b := range bridges {
		t.Run(b.name, func(t *testing.T) { b.everything(t, ears[b][0], ears[b][1]) })
	}
	log := r.device.sh("cat /var/log/mosquitto-defaults.log /var/log/mosquitto-v5.log")
	if n := strings.Count(log, "Connecting bridge (step 1)"); n != 2 {
		t.Errorf("Mosquitto's two bridges connected %d times, want each at its first try", n)
	}
	e := hub.hear(t, hearing{Filter: "devices/kitchen/bridge/kitchen.defaults/state", QoS: 1})
	if got := e.next(t); !strings.HasSuffix(got, "state 1 1 1") {
		t.Errorf("the state of the bridge is %q", got)
	}
	e.stop()
	t.Run("500 messages in a cut of a minute", func(t *testing.T) { cutBridges(t, r, bridges) })
}

func cutBridges(t *testing.T, r *rig, bridges []*bridge) {
	ears := map[*bridge]*ear{}
	for _, b := range bridges {
		ears[b] = b.hub.hear(t, hearing{Filter: "devices/kitchen/" + b.name + "/out/cut", QoS: 1})
	}
	r.cut()
	over := time.After(outage)
	for _, b := range bridges {
		b.publishMany(t)
	}
	<-over
	r.heal()
	promised(t, noticedWithin, "kitchen back after the outage", r.online("kitchen", true))
	came := map[*bridge]map[string]int{}
	for _, b := range bridges {
		came[b] = b.arrive(t, ears[b])
	}
	passes(5 * time.Second) // for what comes again
	for _, b := range bridges {
		b.onceEach(t, ears[b], came[b])
		ears[b].stop()
	}
}

var meant = regexp.MustCompile(`You probably mean: topic (\S+ \S+ \S+ \S+ \S*[^.\s])`)

// The lines that are often copied are diagnosed, and what the diagnosis says works, with a rule that lets the bridge write
// its own tree and nothing else.
func TestMQTTCopiedLines(t *testing.T) {
	t.Parallel()
	r := newRig(t, "nginx")
	r.startSSHD()
	r.install()
	r.device.write("/root/copied.conf", "connection home\naddress 127.0.0.1:"+agentPort+"\ntopic devices/# out \"\" home\ntopic cmds/# in remote \"\"\n", 0o600)
	out, err := r.device.try("adit", "agent", "mqtt-check", "/root/copied.conf")
	var lines []string
	for _, found := range meant.FindAllStringSubmatch(out, -1) {
		lines = append(lines, found[1])
	}
	if err == nil || !slices.Equal(lines, []string{`devices/# out 1 "" home/`, `cmds/# in 1 remote/ ""`}) {
		t.Fatalf("mqtt-check: %v, corrected to %q\n%s", err, lines, out)
	}
	r.refusesCopiedLines(t, lines)
	r.rule("device:kitchen", "write", "home/devices/kitchen/#")
	r.rule("device:kitchen", "read", "cmds/#")
	r.configure("[mqtt]\nlisten = \"127.0.0.1:" + agentPort + "\"\n" + agentBridge("home", ownPort, lines))
	r.mosquitto("own", ownPort, "")
	r.mosquitto("home", "2001", mosquittoBridge("home", lines))
	hub := pahoGo5{r, r.mqttCredential(ask{"kind": "user"})}
	for name, port := range map[string]string{"Mosquitto": "2001", "the agent": ownPort} {
		t.Run(name, func(t *testing.T) { ownTree(t, hub, mosquitto(r.device, "mqttv311", "127.0.0.1", port), port) })
	}
}

// refusesCopiedLines has the agent say the same of its own settings.
func (r *rig) refusesCopiedLines(t *testing.T, corrected []string) {
	t.Helper()
	wrong := agentBridge("home", ownPort, []string{`devices/# out "" home`, `cmds/# in remote ""`})
	out, err := r.device.try("sh", "-c", "mkdir /root/try; cp -r /etc/adit/. /root/try; cat >>/root/try/agent.toml <<'END'\n"+wrong+"\nEND\nadit agent mqtt-check --dir /root/try")
	if err == nil || !strings.Contains(out, corrected[0]) {
		t.Errorf("of a copied line in agent.toml: %v\n%s", err, out)
	}
}

// ownTree has commands come, messages of the own tree arrive, and others not.
func ownTree(t *testing.T, hub, local speaker, port string) {
	far := hub.hear(t, hearing{Filter: "home/devices/#", QoS: 1})
	near := local.hear(t, hearing{Filter: "remote/cmds/#", QoS: 1})
	eventually(t, patience, "a command arrives", func() error {
		hub.say(t, saying{Topic: "cmds/cellar/light", QoS: 1, Payload: "on"})
		select {
		case line := <-near.lines:
			if line != "remote/cmds/cellar/light 1 0 on" {
				t.Errorf("the command came as %q", line)
			}
			return nil
		case <-time.After(100 * time.Millisecond):
			return errNotYet
		}
	})
	local.say(t, saying{Topic: "devices/cellar/" + port, QoS: 1, Payload: "no"}, saying{Topic: "devices/kitchen/" + port, QoS: 1, Payload: "yes"},
		saying{Topic: "devices/kitchen/end", QoS: 1, Payload: "end"})
	if got := far.all(t, "end"); !slices.Equal(got, []string{"home/devices/kitchen/" + port + " 1 0 yes"}) {
		t.Errorf("the hub has %q", got)
	}
	far.stop()
	near.stop()
}

// What the device's page gives to paste works as it is.
func TestMQTTSnippets(t *testing.T) {
	t.Parallel()
	r := newRig(t, "nginx")
	r.startSSHD()
	r.install()
	var page struct {
		MosquittoConf string `json:"mosquitto_conf"`
		AgentTOML     string `json:"agent_toml"`
	}
	if err := r.call("GET", "/api/v1/devices/kitchen/mqtt", nil, &page); err != nil {
		t.Fatal(err)
	}
	r.configure("[mqtt]\nlisten = \"127.0.0.1:" + agentPort + "\"\n\n" + page.AgentTOML)
	r.mosquitto("own", ownPort, "")
	r.mosquitto("pasted", "2001", page.MosquittoConf)
	if out := r.device.run("adit", "agent", "mqtt-check", "/etc/mosquitto-pasted.conf"); strings.Contains(out, "probably") {
		t.Errorf("mqtt-check has doubts about what the page gives:\n%s", out)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*patience)
	defer cancel()
	hub := pahoGo5{r, r.mqttCredential(ask{"kind": "user"})}
	for name, port := range map[string]string{"mosquitto.conf": "2001", "agent.toml": ownPort} {
		t.Run(name, func(t *testing.T) {
			local := mosquitto(r.device, "mqttv5", "127.0.0.1", port)
			far := hub.hear(t, hearing{Filter: "devices/kitchen/sensors/" + port + "/#", QoS: 1})
			near := local.hear(t, hearing{Filter: "cmds/+/" + port, QoS: 1}) // the other bridge's commands come here too, perhaps late
			eventually(t, patience, "a command arrives", func() error {
				hub.say(t, saying{Topic: "cmds/kitchen/light/" + port, QoS: 1, Payload: "on"})
				select {
				case line := <-near.lines:
					if line != "cmds/light/"+port+" 1 0 on" {
						t.Errorf("the command came as %q", line)
					}
					return nil
				case <-ctx.Done():
					t.Fatal(ctx.Err())
				case <-time.After(100 * time.Millisecond):
				}
				return errNotYet
			})
			local.say(t, saying{Topic: "sensors/" + port + "/temp", QoS: 1, Payload: "21.5"})
			if got := far.next(t); got != "devices/kitchen/sensors/"+port+"/temp 1 0 21.5" {
				t.Errorf("the hub has %q", got)
			}
			far.stop()
			near.stop()
		})
	}
}
