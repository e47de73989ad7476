package mqtt

import (
	"fmt"
	"strings"
)

// ReasonCode is a Reason Code of MQTT 5.0 §2.4. Return Codes of 3.1 and 3.1.1 are kept apart where they are read and
// written: ReturnCode and reasonOfReturn.
type ReasonCode byte

// Reason Codes. Those below 0x80 are good.
const (
	Success                  ReasonCode = 0x00 // also Normal disconnection and Granted QoS 0
	DisconnectWithWill       ReasonCode = 0x04
	NoMatchingSubscribers    ReasonCode = 0x10
	NoSubscriptionExisted    ReasonCode = 0x11
	ContinueAuthentication   ReasonCode = 0x18
	Unspecified              ReasonCode = 0x80
	MalformedPacket          ReasonCode = 0x81
	ProtocolError            ReasonCode = 0x82
	ImplementationSpecific   ReasonCode = 0x83
	UnsupportedVersion       ReasonCode = 0x84
	ClientIDNotValid         ReasonCode = 0x85
	BadUserNameOrPassword    ReasonCode = 0x86
	NotAuthorized            ReasonCode = 0x87
	ServerUnavailable        ReasonCode = 0x88
	ServerBusy               ReasonCode = 0x89
	Banned                   ReasonCode = 0x8A
	ServerShuttingDown       ReasonCode = 0x8B
	BadAuthenticationMethod  ReasonCode = 0x8C
	KeepAliveTimeout         ReasonCode = 0x8D
	SessionTakenOver         ReasonCode = 0x8E
	TopicFilterInvalid       ReasonCode = 0x8F
	TopicNameInvalid         ReasonCode = 0x90
	PacketIDInUse            ReasonCode = 0x91
	PacketIDNotFound         ReasonCode = 0x92
	ReceiveMaximumExceeded   ReasonCode = 0x93
	TopicAliasInvalid        ReasonCode = 0x94
	PacketTooLarge           ReasonCode = 0x95
	MessageRateTooHigh       ReasonCode = 0x96
	QuotaExceeded            ReasonCode = 0x97
	AdministrativeAction     ReasonCode = 0x98
	PayloadFormatInvalid     ReasonCode = 0x99
	RetainNotSupported       ReasonCode = 0x9A
	QoSNotSupported          ReasonCode = 0x9B
	UseAnotherServer         ReasonCode = 0x9C
	ServerMoved              ReasonCode = 0x9D
	SharedNotSupported       ReasonCode = 0x9E
	ConnectionRateExceeded   ReasonCode = 0x9F
	MaximumConnectTime       ReasonCode = 0xA0
	SubscriptionIDsForbidden ReasonCode = 0xA1
	WildcardsNotSupported    ReasonCode = 0xA2
)

// Failed reports a code that means that something did not happen.
func (c ReasonCode) Failed() bool { return c >= 0x80 }

// reasonNames are the words of the standard, from 0x80.
const reasonNames = "Unspecified error|Malformed Packet|Protocol Error|Implementation specific error|Unsupported Protocol Version|" +
	"Client Identifier not valid|Bad User Name or Password|Not authorized|Server unavailable|Server busy|Banned|Server shutting down|" +
	"Bad authentication method|Keep Alive timeout|Session taken over|Topic Filter invalid|Topic Name invalid|" +
	"Packet Identifier in use|Packet Identifier not found|Receive Maximum exceeded|Topic Alias invalid|Packet too large|" +
	"Message rate too high|Quota exceeded|Administrative action|Payload format invalid|Retain not supported|QoS not supported|" +
	"Use another server|Server moved|Shared Subscriptions not supported|Connection rate exceeded|Maximum connect time|" +
	"Subscription Identifiers not supported|Wildcard Subscriptions not supported"

func (c ReasonCode) String() string {
	if names := strings.Split(reasonNames, "|"); c.Failed() && int(c-0x80) < len(names) {
		return names[c-0x80]
	}
	return fmt.Sprintf("reason code 0x%02x", byte(c))
}

// ReturnCode is c as CONNACK of 3.1 and 3.1.1 says it (3.1.1 §3.2.2.3), which know five ways to refuse.
func (c ReasonCode) ReturnCode() byte {
	switch c {
	case Success:
		return 0
	case UnsupportedVersion:
		return 1
	case ClientIDNotValid:
		return 2
	case BadUserNameOrPassword:
		return 4
	case NotAuthorized, Banned:
		return 5
	}
	return 3 // Server unavailable
}

// reasonOfReturn is the opposite of ReturnCode; ok is false for codes that the standard does not know.
func reasonOfReturn(code byte) (c ReasonCode, ok bool) {
	codes := [...]ReasonCode{Success, UnsupportedVersion, ClientIDNotValid, ServerUnavailable, BadUserNameOrPassword, NotAuthorized}
	if int(code) >= len(codes) {
		return Unspecified, false
	}
	return codes[code], true
}

// mayCarry reports whether a packet of type t may carry c (5.0 table 2-6). A list that a code is missing from makes its
// packet malformed.
func (t Type) mayCarry(c ReasonCode) bool {
	var good string
	switch t {
	case CONNACK:
		return c == Success || c >= 0x80 && c <= 0x8A || c == 0x8C || within(c, "\x90\x95\x97\x99\x9a\x9b\x9c\x9d\x9f")
	case PUBACK, PUBREC:
		good = "\x00\x10\x80\x83\x87\x90\x91\x97\x99"
	case PUBREL, PUBCOMP:
		good = "\x00\x92"
	case SUBACK:
		good = "\x00\x01\x02\x80\x83\x87\x8f\x91\x97\x9e\xa1\xa2"
	case UNSUBACK:
		good = "\x00\x11\x80\x83\x87\x8f\x91"
	case DISCONNECT:
		return c == Success || c == DisconnectWithWill || c >= 0x80 && c <= 0x83 || c == 0x87 || c == 0x89 ||
			c >= 0x8B && c != 0x8C && c != 0x91 && c != 0x92 && c <= 0xA2
	case AUTH:
		good = "\x00\x18\x19"
	}
	return within(c, good)
}

func within(c ReasonCode, codes string) bool {
	for i := range len(codes) {
		if codes[i] == byte(c) {
			return true
		}
	}
	return false
}

// Error is what a peer did wrong or refused, with the Reason Code that says so to a peer of 5.0.
type Error struct {
	Code    ReasonCode
	Message string // what, in words; may be empty
}

func (e *Error) Error() string {
	if e.Message == "" {
		return e.Code.String()
	}
	return e.Code.String() + ": " + e.Message
}

// Errorf makes an Error.
func Errorf(code ReasonCode, format string, args ...any) error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

func malformed(format string, args ...any) error { return Errorf(MalformedPacket, format, args...) }
