// Package sshkeys reads the SSH public keys by which people come in through the gate: one line of authorized_keys, with
// the options that limit the key (sshd(8), AUTHORIZED_KEYS FILE FORMAT). An option that the gate does not honour is
// refused, never ignored.
package sshkeys

import (
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/sshcert"
	"github.com/aditdev/adit/internal/wire"
)

// Key is one line.
type Key struct {
	Public  ssh.PublicKey
	Line    string // type and base64
	Comment string
	Options Options
}

// Fingerprint is SHA256:… of the key.
func (k Key) Fingerprint() string { return ssh.FingerprintSHA256(k.Public) }

const maxLine = 8192

// Parse reads a line of authorized_keys. It fails with Invalid, saying which word of it is not taken.
func Parse(line string) (Key, error) {
	if len(line) > maxLine {
		return Key{}, wire.Errorf(wire.TooLarge, "A key's line takes up to %d bytes.", maxLine)
	}
	public, comment, words, rest, err := ssh.ParseAuthorizedKey([]byte(strings.TrimSpace(line)))
	if err != nil {
		return Key{}, invalid("This is no SSH public key. It takes one line like that of an id_ed25519.pub file, " +
			"with options before it as in authorized_keys where you want some.")
	}
	if len(strings.TrimSpace(string(rest))) > 0 {
		return Key{}, invalid("One key at a time: this is more than one line.")
	}
	if err := sshcert.CheckKey(public, minRSA); err != nil {
		return Key{}, invalid("%s", wire.MessageOf(err))
	}
	options, err := ParseOptions(words)
	if err != nil {
		return Key{}, err
	}
	return Key{Public: public, Line: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public))),
		Comment: wire.Printable(comment, 100), Options: options}, nil
}

// minRSA is the least size of an RSA key that somebody may bring, in bits.
const minRSA = 3072

// invalid is a refusal that a form shows beside the field of the key.
func invalid(format string, args ...any) error {
	e := wire.Errorf(wire.Invalid, format, args...)
	e.Fields = map[string]string{"key": e.Message}
	return e
}
