// Package wire holds what the two ends of every connection of Adit must agree on: paths, subprotocols, limits, error
// codes, names, targets, key encodings and the messages of the tunnel. It knows no transport and imports only the
// standard library. docs/protocol.md is the same in prose.
package wire

const (
	// PathTunnel is where an agent opens its carriers.
	PathTunnel = "/tunnel"

	// SubprotocolTunnel is the WebSocket subprotocol of carriers (RFC 6455 §1.9).
	SubprotocolTunnel = "adit.tunnel.v1"
	// SubprotocolStream is that of a stream's door: the carrier's frames for one stream.
	SubprotocolStream = "adit.stream.v1"
	// SubprotocolBinary is that of a stream's door for clients that know no control frames: bytes only.
	SubprotocolBinary = "binary"
	// SubprotocolMQTT is that of MQTT over WebSocket (MQTT 5.0 §6).
	SubprotocolMQTT = "mqtt"
	// SubprotocolShell is that of a browser attached to a shell.
	SubprotocolShell = "adit.shell.v1"
)
