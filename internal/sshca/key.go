package sshca

import (
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/wire"
)

// ParseKey reads one authorized_keys line: a key without options. It fails with Invalid.
func ParseKey(line string) (ssh.PublicKey, error) {
	key, _, options, rest, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil || len(options) > 0 || len(strings.TrimSpace(string(rest))) > 0 {
		return nil, wire.Errorf(wire.Invalid, "This is no SSH public key. It takes one line like that of an id_ed25519.pub file.")
	}
	return key, nil
}

// HostKey is a device's SSH host key in the form in which it is kept and compared.
type HostKey struct {
	Line        string // type and base64
	Fingerprint string // SHA256:…
}

// ParseHostKey reads a host key as ssh-keyscan or a .pub file gives it, comment dropped. It fails with Invalid, also for
// host certificates: they would vouch for other keys.
func ParseHostKey(line string) (HostKey, error) {
	key, err := ParseKey(line)
	if err != nil {
		return HostKey{}, err
	}
	if _, ok := key.(*ssh.Certificate); ok {
		return HostKey{}, wire.Errorf(wire.Invalid, "A host certificate is no host key.")
	}
	return HostKey{
		Line:        strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))),
		Fingerprint: ssh.FingerprintSHA256(key),
	}, nil
}
