package messaging

import (
	"fmt"
	"net"
)

// DefaultListener is where the agent's loopback port for MQTT is, in what people are given to paste: a Mosquitto on the same
// machine has 1883 itself.
const DefaultListener = "127.0.0.1:11883"

// MosquittoConf is a bridge of a device's Mosquitto to the hub, through the agent's loopback port: what Debian's 2.0.11 and
// 2.1 read alike. Each topic line names its QoS and both prefixes, and each prefix ends with a slash: with one left out,
// Mosquitto shifts the rest and says nothing.
func MosquittoConf(device, listener string) string {
	if _, _, err := net.SplitHostPort(listener); err != nil {
		listener = DefaultListener
	}
	return fmt.Sprintf(`# /etc/mosquitto/conf.d/adit.conf
# Needs in agent.toml: [mqtt] listen = "%[2]s"
connection adit
address %[2]s
remote_clientid mosquitto-%[1]s
bridge_protocol_version mqttv311
try_private true
cleansession false
notifications true
keepalive_interval 60
restart_timeout 5 30

# topic PATTERN DIRECTION QOS LOCAL-PREFIX REMOTE-PREFIX
# Here sensors/# is what leaves: write your own topics in its place. The hub has it as devices/%[1]s/sensors/#.
topic sensors/# out 1 "" devices/%[1]s/
# What people send to cmds/%[1]s/... arrives here as cmds/...
topic # in 1 cmds/ cmds/%[1]s/
`, device, listener)
}

// AgentTOML is the same bridge made by the agent, which also keeps messages while the hub is away.
func AgentTOML(device string) string {
	return fmt.Sprintf(`[[mqtt.bridge]]
name = "local"
broker = "127.0.0.1:1883"
topics = [
  'sensors/# out 1 "" devices/%[1]s/',
  '# in 1 cmds/ cmds/%[1]s/',
]
`, device)
}
