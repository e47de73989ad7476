package sshserver

import (
	"bytes"
	"crypto/rsa"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/wire"
)

const maxLifetime = 24 * time.Hour

// identity is who logged in and what the certificate grants. It exists only in the Permissions that the callback
// returned for the key that the client proved to have.
type identity struct {
	account account
	keyID   string // names the person, for the log

	pty, forwarding bool
	forceCommand    string
}

type identityKey struct{}

func identityOf(p *ssh.Permissions) identity {
	who, _ := p.ExtraData[identityKey{}].(identity)
	return who
}

func (s *Server) serverConfig() *ssh.ServerConfig {
	c := &ssh.ServerConfig{
		PublicKeyCallback: s.authenticate,
		MaxAuthTries:      maxTries,
		ServerVersion:     version,
	}
	c.AddHostKey(s.config.HostKey)
	return c
}

// authenticate admits a certificate for exactly the account asked for. Its error reaches the log; what the client sees
// of it says no more than how the own account stands, and only to who has a good certificate.
func (s *Server) authenticate(meta ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
	login := meta.User()
	cert, ok := key.(*ssh.Certificate)
	if !ok {
		return nil, fmt.Errorf("login %q: a bare key, where only certificates open", login)
	}
	ca, err := s.config.UserCA()
	if err != nil {
		return nil, err
	}
	principal := s.config.Principal(login)
	if !wire.ValidLogin(login) || principal == "" {
		return nil, fmt.Errorf("login %q: not allowed by the device's policy", login)
	}
	if err := checkCertificate(cert, ca, principal, s.config.Now); err != nil {
		return nil, fmt.Errorf("login %q: %w", login, err)
	}
	acct, err := lookup(login)
	if err == nil {
		err = acct.mayLogIn(time.Now())
	}
	if err != nil {
		return nil, &ssh.BannerError{Err: fmt.Errorf("login %q: %w", login, err), Message: "adit: " + err.Error() + "\n"}
	}
	_, pty := cert.Extensions["permit-pty"]
	_, forwarding := cert.Extensions["permit-port-forwarding"]
	return &ssh.Permissions{
		CriticalOptions: maps.Clone(cert.CriticalOptions),
		Extensions:      maps.Clone(cert.Extensions),
		ExtraData: map[any]any{identityKey{}: identity{
			account: acct, keyID: printable(cert.KeyId), pty: pty, forwarding: forwarding,
			forceCommand: cert.CriticalOptions[forceCommand],
		}},
	}, nil
}

const forceCommand = "force-command"

// checkCertificate is stricter than the library's checker, which it ends with: that one takes an empty list of
// principals as every principal.
func checkCertificate(cert *ssh.Certificate, ca ssh.PublicKey, principal string, now func() time.Time) error {
	switch {
	case cert.CertType != ssh.UserCert:
		return errors.New("the certificate is not a user's")
	case len(cert.ValidPrincipals) == 0:
		return errors.New("the certificate names no principal")
	case !slices.Contains(cert.ValidPrincipals, principal):
		return errors.New("the certificate is for another account or device")
	case !sameKey(cert.SignatureKey, ca):
		return errors.New("the certificate is not from this device's hub")
	case cert.ValidBefore <= cert.ValidAfter || cert.ValidBefore-cert.ValidAfter > uint64(maxLifetime/time.Second):
		return errors.New("the certificate lives longer than a day")
	}
	if err := checkKey(cert.Key); err != nil {
		return err
	}
	checker := ssh.CertChecker{
		SupportedCriticalOptions: []string{forceCommand}, // any other is refused
		IsUserAuthority:          func(key ssh.PublicKey) bool { return sameKey(key, ca) },
		Clock:                    now,
	}
	return checker.CheckCert(principal, cert)
}

// sameKey also keeps certificates from being used as signing keys: a certificate never equals the plain CA key.
func sameKey(a, b ssh.PublicKey) bool { return bytes.Equal(a.Marshal(), b.Marshal()) }

func checkKey(key ssh.PublicKey) error {
	switch key.Type() {
	case ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256:
		return nil
	case ssh.KeyAlgoRSA:
		crypto, ok := key.(ssh.CryptoPublicKey)
		if !ok {
			break
		}
		if k, ok := crypto.CryptoPublicKey().(*rsa.PublicKey); ok && k.N.BitLen() >= 2048 && k.N.BitLen() <= 4096 {
			return nil
		}
		return errors.New("RSA keys need 2048 to 4096 bits")
	}
	return fmt.Errorf("keys of type %s are not accepted", key.Type())
}

func printable(s string) string { return wire.Printable(s, 100) }
