package mqtt

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// everyPacket is one of each kind with everything in it that its version has.
func everyPacket() map[Version][]Packet {
	user := Property{ID: UserPropertyID, Text: "a", Value: "b"}
	why := Property{ID: ReasonString, Text: "so"}
	five := []Packet{
		&Connect{Version: V5, Clean: true, KeepAlive: 60, ClientID: "c", HasUsername: true, Username: "u", HasPassword: true, Password: "\x00\xff",
			Properties: Properties{{ID: SessionExpiry, Number: 7}, {ID: ReceiveMaximum, Number: 20}, {ID: MaximumPacketSize, Number: 9000},
				{ID: TopicAliasMaximum, Number: 3}, {ID: RequestResponseInfo, Number: 1}, {ID: RequestProblemInfo},
				{ID: AuthenticationMethod, Text: "m"}, {ID: AuthenticationData, Text: "\xff"}, user, user},
			Will: &Publish{Topic: "w", Payload: []byte("gone"), QoS: 2, Retain: true, Properties: Properties{{ID: WillDelay, Number: 5}, user}}},
		&Connect{Version: V5, HasPassword: true, Password: "alone"},
		&Connack{SessionPresent: true, Properties: Properties{{ID: MaximumQoS, Number: 1}, {ID: RetainAvailable}, {ID: AssignedClientID, Text: "x"},
			{ID: ServerKeepAlive, Number: 9}, {ID: WildcardsAvailable, Number: 1}, {ID: SubscriptionIDsUsable}, {ID: SharedAvailable},
			{ID: ResponseInfo, Text: "r"}, {ID: ServerReference, Text: "s"}, why}},
		&Connack{Code: ServerUnavailable},
		&Publish{Topic: "a/b", QoS: 1, ID: 9, Dup: true, Retain: true, Payload: []byte("hi"), Properties: Properties{{ID: PayloadFormat, Number: 1},
			{ID: MessageExpiry, Number: 3}, {ID: ContentType, Text: "t"}, {ID: ResponseTopic, Text: "r"}, {ID: CorrelationData, Text: "\x00"},
			{ID: SubscriptionID, Number: 300}, {ID: SubscriptionID, Number: 1}, {ID: TopicAlias, Number: 2}, user}},
		&Publish{Properties: Properties{{ID: TopicAlias, Number: 1}}, Payload: []byte{}},
		&Ack{Kind: PUBACK, ID: 1, Code: NoMatchingSubscribers}, &Ack{Kind: PUBREC, ID: 2, Code: NotAuthorized, Properties: Properties{why, user}},
		&Ack{Kind: PUBREL, ID: 3, Code: PacketIDNotFound}, &Ack{Kind: PUBCOMP, ID: 65535},
		&Subscribe{ID: 5, Properties: Properties{{ID: SubscriptionID, Number: 268435455}},
			Filters: []Subscription{{Filter: "a/#", QoS: 2, NoLocal: true, RetainAsPublished: true, RetainHandling: 2}, {Filter: "$share/g/+"}}},
		&Suback{ID: 5, Codes: []ReasonCode{2, NotAuthorized}, Properties: Properties{why}},
		&Unsubscribe{ID: 6, Filters: []string{"a/#", "b"}, Properties: Properties{user}},
		&Unsuback{ID: 6, Codes: []ReasonCode{Success, NoSubscriptionExisted}},
		&Disconnect{Code: DisconnectWithWill, Properties: Properties{{ID: SessionExpiry, Number: 0}}}, &Disconnect{Code: SessionTakenOver},
		&Auth{Code: ContinueAuthentication, Properties: Properties{{ID: AuthenticationMethod, Text: "m"}}}, &Auth{},
	}
	older := []Packet{
		&Connack{Code: BadUserNameOrPassword}, &Publish{Topic: "$SYS/a", Payload: []byte{0}}, &Publish{Topic: "ä", QoS: 2, ID: 1, Payload: []byte{}},
		&Ack{Kind: PUBACK, ID: 1}, &Ack{Kind: PUBREC, ID: 1}, &Ack{Kind: PUBREL, ID: 1}, &Ack{Kind: PUBCOMP, ID: 1},
		&Subscribe{ID: 5, Filters: []Subscription{{Filter: "#", QoS: 1}}}, &Suback{ID: 5, Codes: []ReasonCode{1, Unspecified}},
		&Unsubscribe{ID: 6, Filters: []string{"+"}}, &Unsuback{ID: 6},
		&Ping{Kind: PINGREQ}, &Ping{Kind: PINGRESP}, &Disconnect{},
	}
	return map[Version][]Packet{
		V5: append(five, &Ping{Kind: PINGREQ}, &Ping{Kind: PINGRESP}, &Disconnect{}),
		V311: append([]Packet{&Connect{Version: V311, Bridge: true, ClientID: "c", Will: &Publish{Topic: "w", Payload: []byte{}}},
			&Connect{Version: V311, Clean: true, HasUsername: true}, &Connack{SessionPresent: true}}, older...),
		V31: append([]Packet{&Connect{Version: V31, ClientID: "arduino", KeepAlive: 15, HasUsername: true, Username: "u"}}, older...),
	}
}

func TestPacketsReadAsTheyWereWritten(t *testing.T) {
	for v, packets := range everyPacket() {
		for _, p := range packets {
			frame, err := Encode(p, v)
			if err != nil {
				t.Errorf("%s %#v: %v", v, p, err)
				continue
			}
			got, err := ReadPacket(bufio.NewReader(bytes.NewReader(frame)), v, len(frame))
			if err != nil {
				t.Errorf("%s %s % x: %v", v, p.Type(), frame, err)
			} else if diff := cmp.Diff(p, got); diff != "" {
				t.Errorf("%s %s % x: %s", v, p.Type(), frame, diff)
			}
		}
	}
}

// Bytes worked out by hand from the standard's tables: what we write and read wrongly in the same way would pass above.
func TestPacketsAreTheStandards(t *testing.T) {
	for frame, c := range map[string]struct {
		v Version
		p Packet
	}{
		"10 0e 0004 4d515454 04 02 003c 0002 6162":          {V311, &Connect{Version: V311, Clean: true, KeepAlive: 60, ClientID: "ab"}},
		"10 10 0006 4d5149736470 03 02 000f 0002 6162":      {V31, &Connect{Version: V31, Clean: true, KeepAlive: 15, ClientID: "ab"}},
		"10 0e 0004 4d515454 84 00 003c 0002 6162":          {V311, &Connect{Version: V311, Bridge: true, KeepAlive: 60, ClientID: "ab"}},
		"10 12 0004 4d515454 05 02 0000 05 1100000e10 0000": {V5, &Connect{Version: V5, Clean: true, Properties: Properties{{ID: SessionExpiry, Number: 3600}}}},
		"20 02 01 00":             {V311, &Connack{SessionPresent: true}},
		"20 02 00 04":             {V311, &Connack{Code: BadUserNameOrPassword}},
		"20 03 00 87 00":          {V5, &Connack{Code: NotAuthorized}},
		"3b 07 0001 61 0102 6869": {V311, &Publish{Dup: true, Retain: true, QoS: 1, ID: 258, Topic: "a", Payload: []byte("hi")}},
		"30 0d 0001 61 07 26 0001 6b 0001 76 00 01": {V5, &Publish{Topic: "a", Properties: Properties{{ID: UserPropertyID, Text: "k", Value: "v"}}, Payload: []byte{0, 1}}},
		"62 02 0007":               {V311, &Ack{Kind: PUBREL, ID: 7}},
		"70 03 0007 92":            {V5, &Ack{Kind: PUBCOMP, ID: 7, Code: PacketIDNotFound}},
		"82 07 0001 00 0001 23 2d": {V5, &Subscribe{ID: 1, Filters: []Subscription{{Filter: "#", QoS: 1, NoLocal: true, RetainAsPublished: true, RetainHandling: 2}}}},
		"c0 00":                    {V311, &Ping{Kind: PINGREQ}}, "d0 00": {V5, &Ping{Kind: PINGRESP}}, "e0 00": {V5, &Disconnect{}},
	} {
		got, err := Decode(unhex(t, frame), c.v)
		if err != nil {
			t.Errorf("%s: %v", frame, err)
		} else if diff := cmp.Diff(c.p, got); diff != "" {
			t.Errorf("%s: %s", frame, diff)
		}
		if out, err := Encode(c.p, c.v); err != nil || !bytes.Equal(out, unhex(t, frame)) {
			t.Errorf("%s is written % x, %v", frame, out, err)
		}
	}
}

// Long because it is a table.
func TestWhatIsWrongIsRefusedWithItsCode(t *testing.T) {
	for _, c := range []struct {
		v     Version
		code  ReasonCode
		name  string
		frame string
	}{
		{V311, MalformedPacket, "type 0", "00 00"},
		{V311, MalformedPacket, "AUTH before 5.0", "f0 00"},
		{V311, MalformedPacket, "flags of PINGREQ", "c1 00"},
		{V311, MalformedPacket, "flags of SUBSCRIBE", "80 06 0001 0001 61 00"},
		{V5, MalformedPacket, "flags of PUBREL", "60 02 0001"},
		{V5, MalformedPacket, "Remaining Length longer than it must be", "c0 80 00"},
		{V5, MalformedPacket, "CONNECT's too", "10 8d00 0004 4d515454 05 02 0000 00 0000"},
		{V311, MalformedPacket, "bytes behind the end", "c0 01 00"},
		{V311, MalformedPacket, "too short", "40 01 00"},
		{V311, ProtocolError, "Packet Identifier 0", "40 02 0000"},
		{V311, ProtocolError, "PUBLISH's too", "32 05 0001 61 0000"},
		{V311, MalformedPacket, "QoS 3", "36 05 0001 61 0001"},
		{V311, MalformedPacket, "DUP with QoS 0", "38 03 0001 61"},
		{V311, MalformedPacket, "empty Topic Name", "30 02 0000"},
		{V5, ProtocolError, "empty Topic Name without alias", "30 03 0000 00"},
		{V5, TopicAliasInvalid, "Topic Alias 0", "30 06 0000 03 23 0000"},
		{V311, MalformedPacket, "# in a Topic Name", "30 05 0003 612f23"},
		{V311, MalformedPacket, "+ in a Topic Name", "30 03 0001 2b"},
		{V311, MalformedPacket, "U+0000", "30 05 0003 610062"},
		{V311, MalformedPacket, "a surrogate", "30 05 0003 eda080"},
		{V311, MalformedPacket, "overlong UTF-8", "30 04 0002 c0af"},
		{V5, MalformedPacket, "a property of CONNACK", "30 06 0001 61 02 24 01"},
		{V5, MalformedPacket, "an unknown property", "30 06 0001 61 02 7e 01"},
		{V5, ProtocolError, "a property twice", "30 08 0001 61 04 01 01 01 01"},
		{V5, ProtocolError, "a flag of 2", "30 06 0001 61 02 01 02"},
		{V5, ProtocolError, "Subscription Identifier 0", "30 06 0001 61 02 0b 00"},
		{V5, ProtocolError, "two Subscription Identifiers in SUBSCRIBE", "82 0b 0001 04 0b 01 0b 02 0001 61 00"},
		{V5, ProtocolError, "a wildcard in the Response Topic", "30 08 0001 61 04 08 0001 23"},
		{V5, MalformedPacket, "properties longer than the packet", "30 05 0001 61 7f 01"},
		{V5, MalformedPacket, "an integer of five bytes", "30 09 0001 61 80808080 01 00"},
		{V5, MalformedPacket, "a property length longer than it must be", "30 05 0001 61 8000"},
		{V311, ProtocolError, "SUBSCRIBE of nothing", "82 02 0001"},
		{V311, ProtocolError, "UNSUBSCRIBE of nothing", "a2 02 0001"},
		{V311, MalformedPacket, "an empty filter", "82 05 0001 0000 00"},
		{V311, MalformedPacket, "a bad filter", "82 08 0001 0003 612b2f 00"},
		{V311, MalformedPacket, "QoS 3 of a subscription", "82 06 0001 0001 61 03"},
		{V311, MalformedPacket, "options before 5.0", "82 06 0001 0001 61 04"},
		{V5, MalformedPacket, "reserved options", "82 07 0001 00 0001 61 40"},
		{V5, ProtocolError, "Retain Handling 3", "82 07 0001 00 0001 61 30"},
		{V5, ProtocolError, "No Local on a shared one", "82 10 0001 00 000a 2473686172652f672f61 04"},
		{V311, MalformedPacket, "CONNECT's reserved flag", "10 0e 0004 4d515454 04 03 003c 0002 6162"},
		{V311, MalformedPacket, "Will QoS without Will", "10 0e 0004 4d515454 04 0a 003c 0002 6162"},
		{V311, MalformedPacket, "Will QoS 3", "10 13 0004 4d515454 04 1e 003c 0002 6162 0001 61 0000"},
		{V311, MalformedPacket, "Will Topic with wildcard", "10 13 0004 4d515454 04 06 003c 0002 6162 0001 23 0000"},
		{V311, MalformedPacket, "Password without User Name", "10 10 0004 4d515454 04 42 003c 0002 6162 0000"},
		{V311, MalformedPacket, "Protocol Name", "10 0e 0004 4d515458 04 02 003c 0002 6162"},
		{V311, UnsupportedVersion, "level 6", "10 0e 0004 4d515454 06 02 003c 0002 6162"},
		{V311, UnsupportedVersion, "a bridge's bit with 5.0", "10 0f 0004 4d515454 85 02 003c 00 0002 6162"},
		{V311, UnsupportedVersion, "MQIsdp of level 4", "10 10 0006 4d5149736470 04 02 000f 0002 6162"},
		{V311, ClientIDNotValid, "no ClientID, no Clean Session", "10 0c 0004 4d515454 04 00 003c 0000"},
		{V5, ProtocolError, "Authentication Data alone", "10 12 0004 4d515454 05 02 0000 05 16 0002 0000 0000"},
		{V5, ProtocolError, "Receive Maximum 0", "10 10 0004 4d515454 05 02 0000 03 21 0000 0000"},
		{V311, MalformedPacket, "a session of a refusal", "20 02 01 05"},
		{V311, MalformedPacket, "return code 6", "20 02 00 06"},
		{V311, MalformedPacket, "reserved flags of CONNACK", "20 02 02 00"},
		{V5, ProtocolError, "a Reason Code that PUBACK does not have", "40 03 0001 92"},
		{V311, MalformedPacket, "a reason before 5.0", "40 03 0001 00"},
		{V311, MalformedPacket, "SUBACK 0x87 before 5.0", "90 03 0001 87"},
		{V5, ProtocolError, "SUBACK of nothing", "90 03 0001 00"},
		{V311, MalformedPacket, "DISCONNECT with a reason before 5.0", "e0 01 00"},
	} {
		p, err := Decode(unhex(t, c.frame), c.v)
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Code != c.code {
			t.Errorf("%s (%s): %#v, %v; want %s", c.name, c.frame, p, err, c.code)
		}
	}
}

// MQTT 3.1 knew fewer rules: DUP of SUBSCRIBE and PUBREL, flags that nobody checked.
func TestOldThingsAreLetBe(t *testing.T) {
	for _, frame := range []string{"8a 06 0001 0001 61 00", "6a 02 0001", "38 03 0001 61", "c8 00"} {
		if p, err := Decode(unhex(t, frame), V31); err != nil {
			t.Errorf("%s: %v, %v", frame, p, err)
		}
	}
}

func TestLongPacketsAreRefusedBeforeMemoryIsTaken(t *testing.T) {
	huge := append(unhex(t, "30 ff ff ff 7f"), make([]byte, 100)...)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := ReadFrame(bufio.NewReader(bytes.NewReader(huge)), 1<<20)
	runtime.ReadMemStats(&after)
	if e, ok := errors.AsType[*Error](err); !ok || e.Code != PacketTooLarge {
		t.Errorf("256 MB: %v", err)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
		t.Errorf("%d bytes were taken", n)
	}
	for frame, want := range map[string]error{"": io.EOF, "30": io.ErrUnexpectedEOF, "30 ff": io.ErrUnexpectedEOF, "30 05 01": io.ErrUnexpectedEOF} {
		if _, err := ReadFrame(bufio.NewReader(bytes.NewReader(unhex(t, frame))), 100); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", frame, err, want)
		}
	}
	if _, err := ReadFrame(bufio.NewReader(bytes.NewReader(unhex(t, "30 ff ff ff ff 01"))), 100); err == nil || !strings.Contains(err.Error(), "four bytes") {
		t.Errorf("five bytes of Remaining Length: %v", err)
	}
}

func TestWhatCannotBeWrittenIsRefused(t *testing.T) {
	for name, p := range map[string]Packet{
		"long text":         &Publish{Topic: strings.Repeat("a", 65536)},
		"long packet":       &Publish{Topic: "a", Payload: make([]byte, MaxRemaining)},
		"U+0000":            &Unsubscribe{ID: 1, Filters: []string{"a\x00"}},
		"foreign property":  &Ack{Kind: PUBACK, ID: 1, Properties: Properties{{ID: TopicAlias, Number: 1}}},
		"long property":     &Publish{Topic: "a", Properties: Properties{{ID: ContentType, Text: strings.Repeat("a", 65536)}}},
		"unknown property":  &Publish{Topic: "a", Properties: Properties{{ID: 0x7e}}},
		"property of Will":  &Publish{Topic: "a", Properties: Properties{{ID: WillDelay, Number: 1}}},
		"foreign will part": &Connect{Version: V5, Will: &Publish{Topic: "a", Properties: Properties{{ID: TopicAlias, Number: 1}}}},
	} {
		if frame, err := Encode(p, V5); err == nil {
			t.Errorf("%s: %.20x", name, frame)
		}
	}
}

// Whatever is read is written so that it reads the same again; and reading never panics.
func FuzzDecode(f *testing.F) {
	for v, packets := range everyPacket() {
		for _, p := range packets {
			frame, err := Encode(p, v)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(byte(v), frame)
		}
	}
	f.Fuzz(func(t *testing.T, version byte, frame []byte) {
		v := Version(version%3 + 3)
		p, err := Decode(frame, v)
		if err != nil {
			if _, ok := errors.AsType[*Error](err); !ok {
				t.Fatalf("% x: %v is no Error", frame, err)
			}
			return
		}
		if c, ok := p.(*Connect); ok {
			v = c.Version
		}
		out, err := Encode(p, v)
		if err != nil {
			t.Fatalf("% x: read, cannot be written: %v", frame, err)
		}
		again, err := Decode(out, v)
		if err != nil {
			t.Fatalf("% x → % x: %v", frame, out, err)
		}
		if diff := cmp.Diff(p, again); diff != "" {
			t.Fatalf("% x → % x: %s", frame, out, diff)
		}
	})
}

// What is there and empty, or 0, is not the same as nothing (MQTT 5.0 §3.3.2.3.3, §3.3.2.3.6). It guards against messages that
// lose it between two connections.
func TestMessagesKeepWhatIsEmpty(t *testing.T) {
	for _, want := range []Message{
		{Topic: "a"},
		{Topic: "a", Correlation: []byte{}},
		{Topic: "a", ExpiresAtOnce: true},
		{Topic: "a", Expiry: time.Second, Correlation: []byte{0}},
	} {
		frame, err := Encode(NewPublish(want), V5)
		if err != nil {
			t.Fatal(err)
		}
		p, err := Decode(frame, V5)
		if err != nil {
			t.Fatal(err)
		}
		got := p.(*Publish).Message()
		got.Payload = want.Payload
		if !cmp.Equal(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	}
}
