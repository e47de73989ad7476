// Package sshca is the hub's SSH user CA: it signs certificates that open one account on one device for ten minutes.
package sshca

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/wire"
)

// Life is how long a certificate is valid, half of it before and half after the device's time at signing: its clock
// may jump by some minutes meanwhile.
const Life = 10 * time.Minute

// CA signs user certificates with one Ed25519 key.
type CA struct{ signer ssh.Signer }

// New makes the CA of a key.
func New(key ed25519.PrivateKey) (*CA, error) {
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		return nil, fmt.Errorf("user CA: %w", err)
	}
	return &CA{signer: signer}, nil
}

// AuthorizedKey is the CA's public key as one line, as sshd's TrustedUserCAKeys takes it.
func (c *CA) AuthorizedKey() string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(c.signer.PublicKey()))) + " adit-user-ca"
}

// Request is what a certificate says.
type Request struct {
	Key    ssh.PublicKey
	User   string    // id, for the device's log
	Device string    // id
	Login  string    // Unix account
	Clock  time.Time // the device's clock now
	// Forwards adds the extensions that reach beyond the account: forwarding of ports, of the agent and of X11.
	Forwards bool
}

// Principal is the one name in a certificate.
func Principal(device, login string) string { return device + "/" + login }

// Sign makes the certificate. It fails with Invalid where the key may not be certified.
func (c *CA) Sign(r Request) (*ssh.Certificate, error) {
	if err := checkKey(r.Key); err != nil {
		return nil, err
	}
	if r.Device == "" || !wire.ValidLogin(r.Login) {
		return nil, wire.Errorf(wire.Invalid, "%q is no login.", wire.Printable(r.Login, 32))
	}
	clock := certifiable(r.Clock)
	cert := &ssh.Certificate{
		Key:             r.Key,
		Serial:          serial(),
		CertType:        ssh.UserCert,
		KeyId:           r.User,
		ValidPrincipals: []string{Principal(r.Device, r.Login)},
		ValidAfter:      seconds(clock.Add(-Life / 2)),
		ValidBefore:     seconds(clock.Add(Life / 2)),
		Permissions:     ssh.Permissions{Extensions: extensions(r.Forwards)},
	}
	if err := cert.SignCert(rand.Reader, c.signer); err != nil {
		return nil, fmt.Errorf("sign certificate: %w", err)
	}
	return cert, nil
}

func extensions(forwards bool) map[string]string {
	e := map[string]string{"permit-pty": "", "permit-user-rc": ""}
	if forwards {
		e["permit-port-forwarding"], e["permit-agent-forwarding"], e["permit-X11-forwarding"] = "", "", ""
	}
	return e
}

// checkKey takes the kinds that devices take: Ed25519, ECDSA, RSA of 2048 to 4096 bits, and their FIDO forms; never a
// certificate in place of a key.
func checkKey(key ssh.PublicKey) error {
	switch key.Type() {
	case ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoSKED25519,
		ssh.KeyAlgoSKECDSA256:
		return nil
	case ssh.KeyAlgoRSA:
		if bits := rsaBits(key); bits >= 2048 && bits <= 4096 {
			return nil
		}
		return wire.Errorf(wire.Invalid, "An RSA key must have 2048 to 4096 bits. An Ed25519 key is the better choice.")
	}
	return wire.Errorf(wire.Invalid, "Keys of type %s are not certified. Use an Ed25519 key.", wire.Printable(key.Type(), 40))
}

// certifiable is the time nearest to t around which a certificate can be valid. Certificates count unsigned seconds from
// 1970, so that a clock before it gets the first minutes there are.
func certifiable(t time.Time) time.Time {
	return time.Unix(min(max(t.Unix(), 0), maxClock), 0)
}

// maxClock is the end of the year 9999, in Unix seconds: further ahead calendars do not agree how to write a date.
const maxClock = 253402300799

// seconds is t as a certificate says it: unsigned.
func seconds(t time.Time) uint64 { return uint64(max(t.Unix(), 0)) }

func serial() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.BigEndian.Uint64(b[:]) >> 1
}
