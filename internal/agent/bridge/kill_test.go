package bridge

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/mqtttest"
)

// The environment of a child process that is a bridge: its Config, the hub's address and where the queue lies.
const (
	childConfig = "ADIT_TEST_BRIDGE"
	childHub    = "ADIT_TEST_BRIDGE_HUB"
	childDir    = "ADIT_TEST_BRIDGE_DIR"
)

// runChild is a bridge until it is killed.
func runChild() {
	var c Config
	err := json.Unmarshal([]byte(os.Getenv(childConfig)), &c)
	if err == nil {
		var b *Bridge
		b, err = New(c, Options{
			Log: slog.New(slog.DiscardHandler), Device: "dev_1", Dir: os.Getenv(childDir), Online: func() bool { return true },
			Dial: func(ctx context.Context) (net.Conn, error) {
				conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", os.Getenv(childHub))
				if err == nil {
					context.AfterFunc(ctx, func() { _ = conn.Close() })
				}
				return conn, err
			},
		})
		if err == nil {
			b.Run(context.Background())
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// child starts a process that is the bridge c.
func child(t *testing.T, c Config, hub *mqtttest.Broker, dir string) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childConfig+"="+string(text), childHub+"="+hub.Address, childDir+"="+dir)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kill(cmd) })
	return cmd
}

func kill(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// QoS 2 is exactly once also where the agent is killed in the middle of a stream, each way; and in order, but that Mosquitto 2.0 gives
// a client that comes back a message of this moment before those that wait.
func TestKilledAgentsSendNothingTwice(t *testing.T) {
	for _, version := range []string{"5", "3.1.1"} {
		t.Run(version, func(t *testing.T) { killedInAStream(t, version) })
	}
}

func killedInAStream(t *testing.T, version string) {
	local, hub := mqtttest.Start(t, "max_queued_messages 0"), mqtttest.Start(t, "max_queued_messages 0")
	atHub, atLocal := hub.Listen("d/#"), local.Listen("c/#")
	home, away := local.Connect(mqtt.Options{ClientID: "home", Clean: true}), hub.Connect(mqtt.Options{ClientID: "away", Clean: true})
	c := DefaultConfig()
	c.Name, c.Broker, c.Version, c.Topics = "home", local.Address, version, []string{`s/# out 2 "" d/`, `# in 2 c/ c/`}
	dir := t.TempDir()
	bridge := child(t, c, hub, dir)
	publish(t, home, mqtt.Message{Topic: "s/first", Payload: []byte("-1"), QoS: 1, Retain: true})
	publish(t, away, mqtt.Message{Topic: "c/first", Payload: []byte("-1"), QoS: 1, Retain: true})
	mqtttest.Next(t, atHub)
	mqtttest.Next(t, atLocal)
	const messages, kills = 3000, 12
	var streams sync.WaitGroup
	stream := func(client *mqtt.Client, topic string) {
		for i := range messages {
			if err := client.Publish(t.Context(), mqtt.Message{Topic: topic, Payload: fmt.Append(nil, i), QoS: 2}); err != nil {
				t.Error(err)
				return
			}
		}
	}
	streams.Go(func() { stream(home, "s/n") })
	streams.Go(func() { stream(away, "c/n") })
	var seen [2][messages]bool
	var next, jumps [2]int
	for n := range 2 * messages {
		way, p := 0, (*mqtt.Publish)(nil)
		for p == nil || string(p.Payload) == "-1" { // retained ones come again by a new subscription
			select {
			case p = <-atHub:
				way = 0
			case p = <-atLocal:
				way = 1
			case <-time.After(3 * time.Minute):
				t.Fatalf("nothing more came after %v", next)
			}
		}
		i, err := strconv.Atoi(string(p.Payload))
		if err != nil || i < 0 || i >= messages || seen[way][i] {
			t.Fatalf("way %d: after %d came %s", way, next[way]-1, p.Payload)
		}
		seen[way][i] = true
		if i != next[way] {
			jumps[way]++
		}
		next[way] = i + 1
		if every := 2 * messages / (kills + 1); n%every == every-1 && n/every < kills {
			kill(bridge)
			bridge = child(t, c, hub, dir)
		}
	}
	streams.Wait()
	if most := 3 * kills; jumps[0] > most || jumps[1] > most { // one message out of its place is three jumps
		t.Errorf("%v messages did not follow the one before", jumps)
	}
	quiet(t, home, "s/n", atHub, "the hub")
	quiet(t, away, "c/n", atLocal, "home")
}
