package wire

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"strings"
)

// Enrolled is what a hub promises a new device. The hub signs it with its tunnel key, so that a proxy which ends TLS
// between the two can change nothing of it.
type Enrolled struct {
	PublicKey ed25519.PublicKey // the device's own: binds the answer to who asked
	DeviceID  string
	Name      string
	Status    string
	HubName   string
	HubURLs   []string
	HubKeys   []string // as EncodeKey writes them; the first signs
	UserCA    string   // an authorized_keys line
	Allow     []string
	GateKey   string // host key of the SSH gate, type and base64; for who has only OpenSSH, and in SSHText alone
}

const enrollLabel = "adit enroll v1 hub"

// Transcript is what the hub signs: the label and every field, each led by its length as a 32-bit big-endian number.
// Lists are joined by newlines, which no element contains.
func (e Enrolled) Transcript() []byte {
	var b bytes.Buffer
	for _, field := range []string{
		enrollLabel, string(e.PublicKey), e.DeviceID, e.Name, e.Status, e.HubName,
		strings.Join(e.HubURLs, "\n"), strings.Join(e.HubKeys, "\n"), e.UserCA, strings.Join(e.Allow, "\n"),
	} {
		_ = binary.Write(&b, binary.BigEndian, uint32(len(field)))
		b.WriteString(field)
	}
	return b.Bytes()
}

// NamespaceEnroll is the namespace of the SSH signature over Enrolled.SSHText.
const NamespaceEnroll = "adit-enroll"

const enrollSSHLabel = "adit enroll v1 openssh"

// SSHText is what the hub signs, by an SSH signature of its tunnel key, for a machine that has only OpenSSH: what such a
// machine relies on, in a form that a shell can put together. One line for each field, each ended by a newline; no field
// has one inside. The list is joined by commas.
func (e Enrolled) SSHText() string {
	return strings.Join([]string{
		enrollSSHLabel, SSHKey(e.PublicKey), e.DeviceID, e.Name, e.Status, e.GateKey, e.UserCA, strings.Join(e.Allow, ","), "",
	}, "\n")
}
