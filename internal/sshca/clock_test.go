package sshca_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/sshca"
	"github.com/aditdev/adit/internal/sshdtest"
)

const (
	device = "dev_01JD0000000000000000000000"
	year   = 365 * 24 * time.Hour
)

// clocks is a CA, and a person's key that it certifies.
type clocks struct {
	t    *testing.T
	ca   *sshca.CA
	key  ssh.PublicKey
	file string // of the private key
}

func newClocks(t *testing.T) *clocks {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	ca, err := sshca.New(private)
	must(t, err)
	_, private, err = ed25519.GenerateKey(rand.Reader)
	must(t, err)
	key, err := ssh.NewPublicKey(private.Public())
	must(t, err)
	block, err := ssh.MarshalPrivateKey(private, "")
	must(t, err)
	file := filepath.Join(t.TempDir(), "id")
	must(t, os.WriteFile(file, pem.EncodeToMemory(block), 0o600))
	return &clocks{t: t, ca: ca, key: key, file: file}
}

// login runs a command by OpenSSH's client with a certificate that was made for a clock of offset.
func (c *clocks) login(s *sshdtest.Server, offset time.Duration) (said string, err error) {
	c.t.Helper()
	cert, err := c.ca.Sign(sshca.Request{Key: c.key, User: "usr_1", Device: device, Login: s.Login, Clock: time.Now().Add(offset)})
	must(c.t, err)
	dir := c.t.TempDir()
	host, port, err := net.SplitHostPort(s.Address)
	must(c.t, err)
	must(c.t, os.WriteFile(filepath.Join(dir, "cert"), ssh.MarshalAuthorizedKey(cert), 0o600))
	must(c.t, os.WriteFile(filepath.Join(dir, "known"), append([]byte(device+" "), ssh.MarshalAuthorizedKey(s.HostKey)...), 0o600))
	out, err := exec.CommandContext(c.t.Context(), "ssh", "-F", "none", "-i", c.file, "-p", port, "-o", "CertificateFile="+filepath.Join(dir, "cert"),
		"-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "HostKeyAlias="+device, "-o", "StrictHostKeyChecking=yes",
		"-o", "UserKnownHostsFile="+filepath.Join(dir, "known"), s.Login+"@"+host, "echo in").CombinedOutput()
	return string(out), err
}

// A device's sshd goes by the device's own clock, however wrong that is; a certificate around the hub's opens nothing.
func TestDevicesWithWrongClocks(t *testing.T) {
	t.Parallel()
	sshdtest.NeedTools(t, "ssh", "faketime")
	c := newClocks(t)
	ca, _, _, _, err := ssh.ParseAuthorizedKey([]byte(c.ca.AuthorizedKey()))
	must(t, err)
	for name, offset := range map[string]time.Duration{
		"minutes behind": -20 * time.Minute, "minutes ahead": 20 * time.Minute,
		"decades behind": -30 * year, "decades ahead": 20 * year,
		"after a start in 1970": time.Until(time.Unix(100, 0)),
	} {
		s := sshdtest.Start(t, sshdtest.Options{CA: ca, Device: device, Clock: offset})
		said, err := c.login(s, offset)
		if err != nil || !strings.Contains(said, "in\n") {
			t.Errorf("%s: %v, said %q", name, err, said)
		}
		if said, err := c.login(s, 0); err == nil || !strings.Contains(said, "Permission denied") {
			t.Errorf("%s, by the hub's clock: %v, said %q", name, err, said)
		}
	}
}

// Whatever time a device claims, the certificate is short and not "forever".
func TestClocksBeyondTime(t *testing.T) {
	t.Parallel()
	c := newClocks(t)
	for name, clock := range map[string]time.Time{
		"zero": {}, "before 1970": time.Unix(-86400*365, 0), "1970": time.Unix(0, 0), "least": time.Unix(math.MinInt64, 0),
		"greatest": time.Unix(math.MaxInt64, 0), "as a device may say it": time.UnixMilli(math.MaxInt64),
	} {
		cert, err := c.ca.Sign(sshca.Request{Key: c.key, User: "usr_1", Device: device, Login: "pi", Clock: clock})
		must(t, err)
		if cert.ValidAfter >= cert.ValidBefore || cert.ValidBefore-cert.ValidAfter > uint64(sshca.Life/time.Second) {
			t.Errorf("%s: from %d to %d", name, cert.ValidAfter, cert.ValidBefore)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
