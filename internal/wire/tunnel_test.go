package wire

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

var messages = []Message{
	Hello{Nonce: "n", Hub: "hub", Version: "1"},
	Auth{Purpose: PurposeCarrier, Device: "dev_1", Host: "hub.example", Instance: Instance{7, "r"}, Nonce: "m", Carriers: []string{"n"}, Clock: 5, AgentVersion: "1"},
	Ready{PingSeconds: 15, Now: 6},
	Open{Stream: 1, Target: "tcp:127.0.0.1:22", User: "usr_1", Want: 3, Resume: "t", Received: 9},
	Opened{Stream: 1, Resume: "t", Received: 8},
	Refused{Stream: 1, Code: Forbidden, Message: "<no>"},
	EOF{Stream: 1}, Ack{Stream: 1, Bytes: 1 << 40}, Parked{Stream: 1}, Reset{Stream: 1, Message: "m"},
	Call{ID: "c", Method: "facts", Params: json.RawMessage(`{"a":1}`)},
	Result{ID: "c", Result: json.RawMessage(`[1]`)},
}

func TestMessagesRoundTrip(t *testing.T) {
	for _, m := range messages {
		frame, err := Encode(m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(frame)
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%s became %#v, %v", frame, got, err)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for name, frame := range map[string]string{
		"not JSON":          `open`,
		"an array":          `["open"]`,
		"type of a number":  `{"type":1}`,
		"negative ack":      `{"type":"ack","stream":1,"bytes":-1}`,
		"fraction":          `{"type":"ack","stream":1,"bytes":1.5}`,
		"empty nonce":       `{"type":"hello","nonce":""}`,
		"nonce with quotes": `{"type":"hello","nonce":"a\"b"}`,
		"call without id":   `{"type":"call","method":"m"}`,
		"ping of a week":    `{"type":"ready","ping_seconds":604800,"now":1}`,
		"long target":       `{"type":"open","stream":1,"target":"` + strings.Repeat("x", 600) + `"}`,
		"trailing bytes":    `{"type":"eof","stream":1}{}`,
		"too large":         `{"type":"reset","stream":1,"message":"` + strings.Repeat("x", MaxFrame) + `"}`,
	} {
		if m, err := Decode([]byte(frame)); err == nil {
			t.Errorf("%s: got %#v", name, m)
		}
	}
	if m, err := Decode([]byte(`{"type":"news","later":true}`)); err != nil || m != (Unknown{Type: "news"}) {
		t.Errorf("an unknown type: %#v, %v", m, err)
	}
}

func TestSignatures(t *testing.T) {
	public, private, _ := ed25519.GenerateKey(nil)
	frame, _ := Encode(messages[1])
	signature := ed25519.Sign(private, AgentTranscript([]byte("hello"), frame, "host"))
	unsigned, got, err := CutSignature(AppendSignature(frame, signature))
	if err != nil || !bytes.Equal(unsigned, frame) || !bytes.Equal(got, signature) {
		t.Fatalf("%s, %v", unsigned, err)
	}
	for name, transcript := range map[string][]byte{
		"other hello": AgentTranscript([]byte("hellO"), frame, "host"),
		"other auth":  AgentTranscript([]byte("hello"), frame[1:], "host"),
		"other host":  AgentTranscript([]byte("hello"), frame, "hos"),
		"hub's role":  HubTranscript([]byte("hello"), frame, nil, "host"),
	} {
		if VerifyAny([]ed25519.PublicKey{public}, transcript, signature) {
			t.Errorf("%s verifies", name)
		}
	}
	if _, _, err := CutSignature(frame); CodeOf(err) != Unauthenticated {
		t.Errorf("an unsigned frame: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, m := range messages {
		frame, _ := Encode(m)
		f.Add(frame)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		m, err := Decode(frame)
		if err != nil {
			if c := CodeOf(err); c != Invalid && c != TooLarge {
				t.Fatalf("code %s", c)
			}
			return
		}
		if _, unknown := m.(Unknown); unknown {
			return
		}
		again, err := Encode(m)
		if CodeOf(err) == TooLarge {
			return // escaping made it longer
		}
		if err != nil {
			t.Fatalf("cannot be written again: %v", err)
		}
		if _, err := Decode(again); err != nil {
			t.Fatalf("%s cannot be read again: %v", again, err)
		}
	})
}

func FuzzCutSignature(f *testing.F) {
	f.Add(AppendSignature([]byte(`{"type":"ready"}`), make([]byte, ed25519.SignatureSize)))
	f.Fuzz(func(t *testing.T, signed []byte) {
		frame, signature, err := CutSignature(signed)
		if err == nil && len(AppendSignature(frame, signature)) != len(signed) {
			t.Fatalf("%q is not %q and its signature", signed, frame)
		}
	})
}
