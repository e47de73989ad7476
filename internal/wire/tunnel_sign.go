package wire

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
)

// Labels keep a signature of one kind from being taken for another.
const (
	agentLabel = "adit tunnel v1 agent"
	hubLabel   = "adit tunnel v1 hub"
	callLabel  = "adit tunnel v1 call"
)

// signatureMember is how a signed message ends: the signature is its last member, and what is signed are the bytes
// before it with the closing brace put back. So nobody needs a canonical form of JSON.
const signatureMember = `,"signature":"`

// AgentTranscript is what an agent signs: the hello frame as it arrived, its own auth frame without the signature, and
// the host it dialled.
func AgentTranscript(hello, auth []byte, host string) []byte {
	h, a := sha256.Sum256(hello), sha256.Sum256(auth)
	return transcript([]byte(agentLabel), h[:], a[:], []byte(host))
}

// HubTranscript is what a hub signs: the same, and its ready frame without the signature.
func HubTranscript(hello, auth, ready []byte, host string) []byte {
	h, a, r := sha256.Sum256(hello), sha256.Sum256(auth), sha256.Sum256(ready)
	return transcript([]byte(hubLabel), h[:], a[:], []byte(host), r[:])
}

// CallTranscript is what a hub signs for a call: the device, the two nonces of the carrier it goes out on, and the
// call itself with its params as sent.
func CallTranscript(device, hubNonce, agentNonce string, c Call) []byte {
	return transcript([]byte(callLabel), []byte(device), []byte(hubNonce), []byte(agentNonce),
		[]byte(c.ID), []byte(c.Method), c.Params)
}

// transcript joins fields, each led by its length as a 32-bit big-endian number.
func transcript(fields ...[]byte) []byte {
	var b bytes.Buffer
	for _, f := range fields {
		_ = binary.Write(&b, binary.BigEndian, uint32(len(f)))
		b.Write(f)
	}
	return b.Bytes()
}

// AppendSignature is frame with the signature as its last member.
func AppendSignature(frame, signature []byte) []byte {
	signed := append([]byte(nil), frame[:len(frame)-1]...)
	signed = append(signed, signatureMember...)
	signed = append(signed, base64.RawURLEncoding.EncodeToString(signature)...)
	return append(signed, `"}`...)
}

// CutSignature undoes AppendSignature. It fails with Unauthenticated where the frame does not end in a signature.
func CutSignature(signed []byte) (frame, signature []byte, err error) {
	i := bytes.LastIndex(signed, []byte(signatureMember))
	rest, ok := bytes.CutSuffix(signed, []byte(`"}`))
	if i < 0 || !ok || len(rest) < i+len(signatureMember) {
		return nil, nil, Errorf(Unauthenticated, "The message is not signed.")
	}
	signature, err = base64.RawURLEncoding.DecodeString(string(rest[i+len(signatureMember):]))
	if err != nil || len(signature) != ed25519.SignatureSize {
		return nil, nil, Errorf(Unauthenticated, "The message's signature cannot be read.")
	}
	return append(append([]byte(nil), signed[:i]...), '}'), signature, nil
}

// SignCall is c with the hub's signature for the carrier of these nonces. c.Params must be compact JSON, as
// json.Marshal writes it.
func SignCall(key ed25519.PrivateKey, device, hubNonce, agentNonce string, c Call) Call {
	c.Signature = base64.RawURLEncoding.EncodeToString(ed25519.Sign(key, CallTranscript(device, hubNonce, agentNonce, c)))
	return c
}

// VerifyCall reports whether one of keys signed c for the carrier of these nonces.
func VerifyCall(keys []ed25519.PublicKey, device, hubNonce, agentNonce string, c Call) bool {
	signature, err := base64.RawURLEncoding.DecodeString(c.Signature)
	return err == nil && VerifyAny(keys, CallTranscript(device, hubNonce, agentNonce, c), signature)
}

// VerifyAny reports whether signature is one of keys' over message. There are two keys while a hub's is rotated.
func VerifyAny(keys []ed25519.PublicKey, message, signature []byte) bool {
	for _, key := range keys {
		if len(key) == ed25519.PublicKeySize && ed25519.Verify(key, message, signature) {
			return true
		}
	}
	return false
}

// NewID is 128 random bits as 22 characters: nonces, resume tokens and the ids of calls.
func NewID() string {
	var raw [16]byte
	_, _ = rand.Read(raw[:]) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(raw[:])
}
