package sshgate_test

import (
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/sshca"
	"github.com/aditdev/adit/internal/sshgate"
)

// gateCert is a signer with a certificate that opens the gate for a user.
func (r *rig) gateCert(user string, key ssh.Signer) ssh.Signer {
	r.t.Helper()
	token, err := r.accounts.CreateToken(r.t.Context(), user, auth.TokenRequest{Name: "for the gate"})
	must(r.t, err)
	return r.gateCertBy(user, token.ID, key)
}

func (r *rig) gateCertBy(user, credential string, key ssh.Signer) ssh.Signer {
	r.t.Helper()
	cert, err := r.ca.SignGate(key.PublicKey(), user, credential, time.Now())
	must(r.t, err)
	signer, err := ssh.NewCertSigner(cert, key)
	must(r.t, err)
	return signer
}

// Rules 1 and 4.
func TestCertificatesAtTheGate(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	token, err := r.accounts.CreateToken(t.Context(), r.dan.User.ID, auth.TokenRequest{Name: "for the gate"})
	must(t, err)
	good := func() *ssh.Certificate {
		now := uint64(time.Now().Unix())
		return &ssh.Certificate{Key: newSigner(t).PublicKey(), Serial: 7, CertType: ssh.UserCert, KeyId: r.dan.User.ID,
			ValidPrincipals: []string{r.dan.User.ID}, ValidAfter: now - 60, ValidBefore: now + 60,
			Permissions: ssh.Permissions{Extensions: map[string]string{sshca.CredentialExtension: token.ID}}}
	}
	for name, change := range map[string]func(*ssh.Certificate){
		"good":                    func(*ssh.Certificate) {},
		"expired":                 func(c *ssh.Certificate) { c.ValidAfter -= 1000; c.ValidBefore -= 1000 },
		"not yet valid":           func(c *ssh.Certificate) { c.ValidAfter += 1000; c.ValidBefore += 1000 },
		"wrong principal":         func(c *ssh.Certificate) { c.ValidPrincipals = []string{r.ids["broker"] + "/dan"} },
		"no principal":            func(c *ssh.Certificate) { c.ValidPrincipals = nil },
		"host certificate":        func(c *ssh.Certificate) { c.CertType = ssh.HostCert },
		"lives for years":         func(c *ssh.Certificate) { c.ValidBefore += 1 << 28 },
		"lives for ever":          func(c *ssh.Certificate) { c.ValidBefore = ssh.CertTimeInfinity },
		"unknown critical option": func(c *ssh.Certificate) { c.CriticalOptions = map[string]string{"force-command": "/bin/true"} },
		"no sign-in":              func(c *ssh.Certificate) { c.Extensions = nil },
		"somebody else":           func(c *ssh.Certificate) { c.KeyId, c.ValidPrincipals = r.owner.User.ID, []string{r.owner.User.ID} },
		"nobody":                  func(c *ssh.Certificate) { c.KeyId, c.ValidPrincipals = "usr_none", []string{"usr_none"} },
	} {
		key, cert := newSigner(t), good()
		cert.Key = key.PublicKey()
		change(cert)
		must(t, cert.SignCert(rand.Reader, r.caKey))
		signer, err := ssh.NewCertSigner(cert, key)
		must(t, err)
		client, err := r.login("dan", signer)
		if (err == nil) != (name == "good") {
			t.Errorf("%s: %v", name, err)
		}
		if client != nil {
			_ = client.Close()
		}
	}
	stranger, key := newSigner(t), newSigner(t)
	cert := good()
	cert.Key = key.PublicKey()
	must(t, cert.SignCert(rand.Reader, stranger))
	signer, err := ssh.NewCertSigner(cert, key)
	must(t, err)
	if _, err := r.login("dan", signer); err == nil {
		t.Error("a certificate of another CA is taken")
	}
}

func TestKeysAtTheGate(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	elsewhere, late := newSigner(t), newSigner(t)
	r.addKey(`from="192.0.2.0/24"`, elsewhere)
	r.addKey(fmt.Sprintf("expiry-time=%q", r.now().UTC().Add(time.Hour).Format("20060102150405Z")), late)
	last := r.come("dan", late)
	wrong := []ssh.Signer{newSigner(t), newSigner(t), newSigner(t), newSigner(t), newSigner(t), newSigner(t)}
	for name, try := range map[string]func() (*ssh.Client, error){
		"a key of nobody":              func() (*ssh.Client, error) { return r.login("dan", newSigner(t)) },
		"another handle":               func() (*ssh.Client, error) { return r.login("owner", r.danKey) },
		"from elsewhere":               func() (*ssh.Client, error) { return r.login("dan", elsewhere) },
		"six wrong keys, then its own": func() (*ssh.Client, error) { return r.login("dan", append(wrong, r.danKey)...) },
		"a person's key for a device":  func() (*ssh.Client, error) { return r.login(r.ids["broker"], r.danKey) },
		"another device's key":         func() (*ssh.Client, error) { return r.login(r.ids["broker"], r.keys["shed"]) },
		"a device's key for a person":  func() (*ssh.Client, error) { return r.login("dan", r.keys["broker"]) },
	} {
		if c, err := try(); err == nil {
			_ = c.Close()
			t.Errorf("%s opens the gate", name)
		}
	}
	if c, err := r.login("dan", append(wrong[:2:2], r.danKey)...); err != nil {
		t.Errorf("the third key: %v", err)
	} else {
		_ = c.Close()
	}
	ends := make(chan struct{})
	go func() { _ = last.Wait(); close(ends) }()
	r.ahead.Store(int64(time.Hour))
	select {
	case <-ends:
	case <-time.After(patience):
		t.Error("a connection outlives its key's expiry-time")
	}
	if _, err := r.login("dan", late); err == nil {
		t.Error("an expired key opens the gate")
	}
	if log := r.log.String(); !strings.Contains(log, "from=") || !strings.Contains(log, "No profile has this key") {
		t.Error("the log does not say why a key was refused")
	}
}

// Rule 5: whoever stalls in the handshake is gone after ten seconds.
func TestStallsAreCutOff(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]string{
		"silent":        "",
		"half a line":   "SSH-2.0-",
		"version only":  "SSH-2.0-OpenSSH_9.2\r\n",
		"half a packet": "SSH-2.0-OpenSSH_9.2\r\n\x00\x00\x01\x00\x0a\x14",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hostKey := newSigner(t)
			synctest.Test(t, func(t *testing.T) {
				g := sshgate.New(sshgate.Options{Log: slog.New(slog.DiscardHandler), Now: time.Now, HostKey: hostKey, URL: "https://" + host})
				ours, theirs := net.Pipe()
				began := time.Now()
				go func() { _, _ = ours.Write([]byte(begin)) }()
				go func() { g.Serve(theirs, "192.0.2.1") }()
				_, _ = io.Copy(io.Discard, ours)
				if took := time.Since(began); took != 10*time.Second {
					t.Errorf("cut off after %v", took)
				}
			})
		})
	}
}

func TestStrangersAreTold(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	conn, err := net.Dial("tcp", r.address)
	must(t, err)
	defer conn.Close()
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: hub\r\n\r\n")
	said, _ := io.ReadAll(conn)
	if !strings.Contains(string(said), "This is the SSH gate of https://"+host) {
		t.Errorf("a browser is told %q", said)
	}
}
