// Package conformance holds the broker to MQTT 3.1.1 and 5.0: for each normative statement that a server can violate there
// is a row in rows/, and docs/mqtt-conformance.md names both. A row is bytes to send and bytes to expect, written down as they
// go over the network; no codec of ours stands on either side. Each runs in the versions that it names, over TCP and over
// WebSocket, against our broker, and against Debian's Mosquitto, which proves the rows themselves.
//
// A row begins with its name and the statements that it proves, without "MQTT-", of 3.1.1 behind 4: and of 5.0 behind 5:, and
// runs in those versions that have statements. What follows, until the first step, says in words what must hold.
//
//	== second 4:3.1.0-2 5:3.1.0-2
//	A second CONNECT ends the connection.
//	connect a
//	a> 10 . HEAD c2 003c [] "~a" USER PASS
//	a! 82
//
// Steps name connections by a word; one that is not open is opened by the first step that needs it.
//
//	a> BYTES   send; several packets behind each other are parted by ;
//	a< BYTES   one packet comes, and is this
//	a& BYTES   likewise, but steps of this kind that follow each other may come true in any order
//	a! CODE    the server ends the connection. In 5.0 it says DISCONNECT with that code first (any failure where none is given; -- for not a word)
//	a! CODE TIME..   and does so, but not before TIME has passed since the last step of a
//	a? CODE    the server refuses CONNECT: in 5.0 CONNACK with that code, then the end; in 3.1.1 the end without a word
//	a= TIME    nothing comes for so long, and the connection stays
//	a~ TIME BYTES   send byte by byte with TIME after each; the server ends the connection before all are sent
//	a-         close without a word
//	4| STEP    a step in 3.1.1 only; 5| likewise
//
// Short forms of steps that many rows need:
//
//	connect a [PROPERTIES]        Clean Start; let in
//	connect a keep [PROPERTIES]   a session that is kept, 5.0: for an hour; a new one
//	connect a again [PROPERTIES]  the same session once more
//	sub a QOS FILTER...           subscribed with that QoS
//	pub a QOS [retain] TOPIC [PROPERTIES] PAYLOAD   sent and acknowledged
//	get a QOS TOPIC [PROPERTIES] PAYLOAD            received and acknowledged
//	quiet a                       nothing has come
//
// Bytes are hexadecimal digits and
//
//	.          Remaining Length, of what follows up to the packet's end
//	"text"     a UTF-8 Encoded String with its length; ~ stands for a name that no other row uses; Go's escapes
//	'text'     the same without the length
//	[ID VALUE, …]  properties with their length, in 5.0; nothing in 3.1.1. Expected ones come in any order, except those named 26;
//	           * allows for others, -ID forbids one
//	HEAD       "MQTT" and the level of the version
//	USER PASS  strings of somebody who may everything
//	@x         two bytes: whatever comes where it is first expected, from then on the same; @x1 and @x2 differ
//	N*HH       a byte N times
//
// and, where they are expected, ?? for any byte, 00|10 for one of some, 01..10 for those and all between, ?00|10 for a Reason
// Code of these at the end of an acknowledgement, which may leave it out where it is 00, .. for any rest.
package conformance
