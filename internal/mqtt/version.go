package mqtt

// Version is the Protocol Version (Protocol Level in 3.1.1) of a CONNECT.
type Version byte

// The versions, as CONNECT names them.
const (
	V31  Version = 3 // with the Protocol Name MQIsdp
	V311 Version = 4
	V5   Version = 5
)

// String is how people write it: 3.1, 3.1.1, 5.0.
func (v Version) String() string {
	switch v {
	case V31:
		return "3.1"
	case V311:
		return "3.1.1"
	case V5:
		return "5.0"
	}
	return "unknown"
}

// Type is the MQTT Control Packet type (5.0 §2.1.2).
type Type byte

// The types.
const (
	CONNECT Type = iota + 1
	CONNACK
	PUBLISH
	PUBACK
	PUBREC
	PUBREL
	PUBCOMP
	SUBSCRIBE
	SUBACK
	UNSUBSCRIBE
	UNSUBACK
	PINGREQ
	PINGRESP
	DISCONNECT
	AUTH
	will // not a packet: whose properties CONNECT carries
)

func (t Type) String() string {
	names := [...]string{"type 0", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBSCRIBE", "SUBACK",
		"UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH", "the Will"}
	return names[min(int(t), len(names)-1)]
}
