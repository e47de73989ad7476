//go:build unix

package cli_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/mqtttest"
)

// A Mosquitto as people have it, bridged to the hub through the agent's loopback port: once each way, whatever it speaks.
func TestMosquittoBridgesThroughTheAgent(t *testing.T) {
	w := newWorld(t)
	for i, speaks := range [][]string{nil, {"try_private false"}, {"bridge_protocol_version mqttv50"}} {
		name := fmt.Sprint("b", i)
		local := mqtttest.Start(t, append([]string{
			"connection " + name, "address 127.0.0.1:" + w.mqtt, "remote_clientid " + name,
			`topic out/# out 1 "" devices/kitchen/` + name + "/", `topic in/# in 1 "" cmds/kitchen/` + name + "/",
		}, speaks...)...)
		home := local.Connect(mqtt.Options{ClientID: "home", Clean: true})
		atHome := local.Listen("in/#")
		if err := home.Publish(t.Context(), mqtt.Message{Topic: "out/kept", Payload: []byte("kept"), QoS: 1, Retain: true}); err != nil {
			t.Fatal(err)
		}
		// The hub has it, retained, under the device's own tree and nowhere else.
		await(t, name+" to arrive", func() bool {
			var page struct {
				Messages []struct{ Topic string } `json:"messages"`
			}
			w.call(http.MethodGet, "/api/v1/mqtt/retained?filter=devices/kitchen/"+name+"/out/kept", nil, &page)
			return len(page.Messages) == 1
		})
		for n := range 3 {
			w.call(http.MethodPost, "/api/v1/mqtt/publish", map[string]any{
				"topic": "cmds/kitchen/" + name + "/in/a", "payload": fmt.Sprint(n), "qos": 1}, nil)
		}
		for n := range 3 {
			if p := mqtttest.Next(t, atHome); p.Topic != "in/a" || string(p.Payload) != fmt.Sprint(n) {
				t.Errorf("%v: message %d is %s %s", speaks, n, p.Topic, p.Payload)
			}
		}
	}
}
