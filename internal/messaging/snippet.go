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
// Mosquitto shifts the rest and says nothing. An empty listener is one that the agent does not have yet.
func MosquittoConf(device, listener string) string {
	needs := ""
	if _, _, err := net.SplitHostPort(listener); err != nil {
		listener = DefaultListener
		needs = fmt.Sprintf("# Needs in agent.toml: [mqtt] listen = %q\n", listener)
	}
	return fmt.Sprintf(`# /etc/mosquitto/conf.d/adit.conf
%[3]sconnection adit
address %[2]s
# With a [[mqtt.user]] in agent.toml Mosquitto needs one too: adit agent mqtt-user add mosquitto --device
#remote_username mosquitto
#remote_password PASSWORD
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
`, device, listener, needs)
}

// AgentTOML is the same bridge made by the agent, which also keeps messages while the hub is away.
func AgentTOML(device string) string {
	return fmt.Sprintf(`[[mqtt.bridge]]
name = "local"
# where the device's own broker is
broker = "127.0.0.1:1883"
topics = [
  'sensors/# out 1 "" devices/%[1]s/',
  '# in 1 cmds/ cmds/%[1]s/',
]
`, device)
}
