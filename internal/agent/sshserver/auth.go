package sshserver

import (
	"fmt"
	"maps"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/sshcert"
	"github.com/aditdev/adit/internal/wire"
)

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
	rule := sshcert.Rule{CA: ca, Principal: principal, Critical: []string{forceCommand}, Now: s.config.Now}
	if err := rule.Check(cert); err != nil {
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

func printable(s string) string { return wire.Printable(s, 100) }
