// Package sshcert checks SSH keys and user certificates before anything is let in by them. It is stricter than
// golang.org/x/crypto's checker, which takes an empty list of principals as every principal.
package sshcert

import (
	"bytes"
	"crypto/rsa"
	"errors"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/wire"
)

const maxLifetime = 24 * time.Hour

// RSA keys below MinRSA bits open nothing, and those above MaxRSA only cost time.
const (
	MinRSA = 2048
	MaxRSA = 4096
)

// Rule is what a certificate must meet.
type Rule struct {
	CA        ssh.PublicKey
	Principal string
	Critical  []string // critical options that are honoured; any other is refused
	Now       func() time.Time
}

// Check fails, with what is wrong for the log, unless cert is a user certificate of the CA that names the principal,
// lives at most a day, is in its time, and has no critical option beyond the rule's.
func (r Rule) Check(cert *ssh.Certificate) error {
	switch {
	case cert.CertType != ssh.UserCert:
		return errors.New("the certificate is not a user's")
	case len(cert.ValidPrincipals) == 0:
		return errors.New("the certificate names no principal")
	case !slices.Contains(cert.ValidPrincipals, r.Principal):
		return errors.New("the certificate is for another account or device")
	case !SameKey(cert.SignatureKey, r.CA):
		return errors.New("the certificate is not from this hub")
	case cert.ValidBefore <= cert.ValidAfter || cert.ValidBefore-cert.ValidAfter > uint64(maxLifetime/time.Second):
		return errors.New("the certificate lives longer than a day")
	}
	if err := CheckKey(cert.Key, MinRSA); err != nil {
		return err
	}
	checker := ssh.CertChecker{
		SupportedCriticalOptions: r.Critical,
		IsUserAuthority:          func(key ssh.PublicKey) bool { return SameKey(key, r.CA) },
		Clock:                    r.Now,
	}
	return checker.CheckCert(r.Principal, cert)
}

// SameKey also keeps certificates from being used as signing keys: a certificate never equals the plain CA key.
func SameKey(a, b ssh.PublicKey) bool { return bytes.Equal(a.Marshal(), b.Marshal()) }

// CheckKey takes Ed25519, ECDSA, RSA of minRSA to MaxRSA bits, and the FIDO forms; never a certificate in place of a
// key. It fails with Invalid.
func CheckKey(key ssh.PublicKey, minRSA int) error {
	switch kind := key.Type(); {
	case slices.Contains(plainKinds, kind):
		return nil
	case kind == ssh.KeyAlgoRSA:
		if bits := rsaBits(key); bits < minRSA || bits > MaxRSA {
			return wire.Errorf(wire.Invalid, "This RSA key has %d bits; it takes %d to %d. An Ed25519 key is the better choice: "+
				"ssh-keygen -t ed25519", bits, minRSA, MaxRSA)
		}
		return nil
	case strings.Contains(kind, "-cert-"):
		return wire.Errorf(wire.Invalid, "This is a certificate, where a plain key is wanted.")
	default:
		return wire.Errorf(wire.Invalid, "Keys of type %s are not taken. Make one with: ssh-keygen -t ed25519", wire.Printable(kind, 40))
	}
}

var plainKinds = []string{ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
	ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256}

func rsaBits(key ssh.PublicKey) int {
	crypto, ok := key.(ssh.CryptoPublicKey)
	if !ok {
		return 0
	}
	k, ok := crypto.CryptoPublicKey().(*rsa.PublicKey)
	if !ok {
		return 0
	}
	return k.N.BitLen()
}
