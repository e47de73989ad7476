package sshgate

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/sshca"
	"github.com/aditdev/adit/internal/sshcert"
	"github.com/aditdev/adit/internal/sshkeys"
)

var errNotSSH = errors.New("the peer does not speak SSH")

// What the gate speaks: nothing that an auditor would strike out, and what OpenSSH has had for ten years.
var (
	keyExchanges = []string{ssh.KeyExchangeMLKEM768X25519, ssh.KeyExchangeCurve25519, "curve25519-sha256@libssh.org"}
	ciphers      = []string{ssh.CipherAES128GCM, ssh.CipherAES256GCM, ssh.CipherChaCha20Poly1305}
	macs         = []string{ssh.HMACSHA256ETM, ssh.HMACSHA512ETM}

	keyAlgorithms = []string{ssh.KeyAlgoED25519, ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256, ssh.KeyAlgoECDSA256,
		ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSASHA512}
)

// person is somebody of the hub.
type person struct {
	principal *auth.Principal
	options   sshkeys.Options
	by        string // the key or certificate, for the log
}

// machine is a device without our agent.
type machine struct {
	id  string
	key ed25519.PublicKey
}

// identity is in the Permissions of who proved to have a key: a person or a machine. It exists nowhere else, so that it
// is never of a key that was only asked about (CVE-2024-45337).
type identity struct{}

func identityOf(p *ssh.Permissions) any { return p.ExtraData[identity{}] }

func known(who any) *ssh.Permissions {
	return &ssh.Permissions{ExtraData: map[any]any{identity{}: who}}
}

// serverConfig has claimed say who came with a key that was refused. The library calls back from one goroutine.
func (g *Gate) serverConfig(address string, claimed *string) *ssh.ServerConfig {
	c := &ssh.ServerConfig{
		Config:        ssh.Config{KeyExchanges: keyExchanges, Ciphers: ciphers, MACs: macs},
		MaxAuthTries:  maxTries,
		ServerVersion: version,
		PublicKeyCallback: func(meta ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			p, err := g.authenticate(meta.User(), key, address)
			if err != nil {
				*claimed = meta.User()
			}
			return p, err
		},
		PublicKeyAuthAlgorithms: keyAlgorithms,
	}
	c.AddHostKey(g.options.HostKey)
	return c
}

// devicePrefix begins the SSH user name of a device: its id.
const devicePrefix = "dev_"

// authenticate finds out whose key this is. What it says of a refusal goes to the log; the client hears one sentence
// that is the same for every reason.
func (g *Gate) authenticate(user string, key ssh.PublicKey, address string) (*ssh.Permissions, error) {
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTimeout)
	defer cancel()
	var who any
	var err error
	cert, isCert := key.(*ssh.Certificate)
	switch {
	case strings.HasPrefix(user, devicePrefix):
		who, err = g.machine(ctx, user, key)
	case isCert:
		who, err = g.certified(ctx, user, cert)
	default:
		who, err = g.keyed(ctx, user, key, address)
	}
	if err != nil {
		return nil, &ssh.BannerError{Err: fmt.Errorf("user %q, key %s: %w", user, ssh.FingerprintSHA256(key), err), Message: g.howTo(user)}
	}
	return known(who), nil
}

// howTo is the sentence.
func (g *Gate) howTo(user string) string {
	if strings.HasPrefix(user, devicePrefix) {
		return "adit: unauthenticated: this is not the key of an approved device of that id.\r\n"
	}
	return "adit: unauthenticated: no profile has this key under that name. The user name is your handle; keys are added at " +
		g.options.URL + "/app/settings or by adit ssh-key add.\r\n"
}

// keyed is who has this key in their profile.
func (g *Gate) keyed(ctx context.Context, user string, key ssh.PublicKey, address string) (person, error) {
	p, options, err := g.options.Accounts.BySSHKey(ctx, key, user)
	if err != nil {
		return person{}, err
	}
	if !options.AllowsFrom(address) {
		return person{}, errors.New("the key may not come from here (from=)")
	}
	return person{principal: p, options: options, by: ssh.FingerprintSHA256(key)}, nil
}

// certified is whom a certificate of the user CA names.
func (g *Gate) certified(ctx context.Context, user string, cert *ssh.Certificate) (person, error) {
	rule := sshcert.Rule{CA: g.options.UserCA, Principal: cert.KeyId, Now: g.options.Now}
	if err := rule.Check(cert); err != nil {
		return person{}, err
	}
	credential := cert.Extensions[sshca.CredentialExtension]
	if credential == "" {
		return person{}, errors.New("the certificate does not say by which sign-in it lives")
	}
	p, err := g.options.Accounts.ByUserID(ctx, cert.KeyId, user)
	if err != nil {
		return person{}, err
	}
	p.Credential = credential // of which the live policy knows whether it still works
	return person{principal: p, by: fmt.Sprintf("certificate %d", cert.Serial)}, nil
}

// machine is the device of that id, if the key is its own and it comes without our agent.
func (g *Gate) machine(ctx context.Context, id string, key ssh.PublicKey) (machine, error) {
	crypto, ok := key.(ssh.CryptoPublicKey)
	if !ok || key.Type() != ssh.KeyAlgoED25519 {
		return machine{}, errors.New("a device's key is a plain Ed25519 key")
	}
	public, ok := crypto.CryptoPublicKey().(ed25519.PublicKey)
	if !ok {
		return machine{}, errors.New("a device's key is a plain Ed25519 key")
	}
	return machine{id: id, key: public}, g.options.Devices.CheckStock(ctx, id, public)
}
