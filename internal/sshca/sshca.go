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

	"github.com/aditdev/adit/internal/sshcert"
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

// PublicKey is the CA's public key.
func (c *CA) PublicKey() ssh.PublicKey { return c.signer.PublicKey() }

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
	if err := sshcert.CheckKey(r.Key, sshcert.MinRSA); err != nil {
		return nil, err
	}
	if r.Device == "" || !wire.ValidLogin(r.Login) {
		return nil, wire.Errorf(wire.Invalid, "%q is no login.", wire.Printable(r.Login, 32))
	}
	return c.sign(&ssh.Certificate{
		Key:             r.Key,
		KeyId:           r.User,
		ValidPrincipals: []string{Principal(r.Device, r.Login)},
		Permissions:     ssh.Permissions{Extensions: extensions(r.Forwards)},
	}, r.Clock)
}

// SignGate makes a certificate for the hub's own SSH gate: its one principal is the user's id, which no account on any
// device has. It works for as long as credential does, the sign-in by which it was asked for. now is the hub's clock.
func (c *CA) SignGate(key ssh.PublicKey, user, credential string, now time.Time) (*ssh.Certificate, error) {
	if err := sshcert.CheckKey(key, sshcert.MinRSA); err != nil {
		return nil, err
	}
	return c.sign(&ssh.Certificate{Key: key, KeyId: user, ValidPrincipals: []string{user},
		Permissions: ssh.Permissions{Extensions: map[string]string{"permit-pty": "", "permit-port-forwarding": "", CredentialExtension: credential}}}, now)
}

// CredentialExtension names, in a certificate for the gate, the login session or API token that it lives by.
const CredentialExtension = "credential@adit"

// sign fills in what every certificate has, around a clock.
func (c *CA) sign(cert *ssh.Certificate, clock time.Time) (*ssh.Certificate, error) {
	clock = certifiable(clock)
	cert.Serial, cert.CertType = serial(), ssh.UserCert
	cert.ValidAfter, cert.ValidBefore = seconds(clock.Add(-Life/2)), seconds(clock.Add(Life/2))
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
