package cli

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/api"
	"github.com/aditdev/adit/internal/wire"
)

// hostSuffix makes a device's name a host name for ssh: kitchen.adit.
const hostSuffix = ".adit"

// certificateFresh is for how long plain ssh uses a certificate again. It is valid for five minutes more by the clock of
// the device, which alone decides and may run wrong by decades: so its age counts, not what it says.
const certificateFresh = 150 * time.Second

// sshFiles is the folder with everything that ssh reads: a key, certificates, host keys, configuration.
type sshFiles struct{ dir string }

func openSSHFiles() (sshFiles, error) {
	dir, err := configDir()
	if err != nil {
		return sshFiles{}, err
	}
	s := sshFiles{filepath.Join(dir, "ssh")}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return s, fmt.Errorf("make folder: %w", err)
	}
	return s, nil
}

func (s sshFiles) path(name string) string { return filepath.Join(s.dir, name) }

func (s sshFiles) key() string        { return s.path("id_ed25519") }
func (s sshFiles) knownHosts() string { return s.path("known_hosts") }
func (s sshFiles) devices() string    { return s.path("devices.conf") }
func (s sshFiles) config() string     { return s.path("config") }
func (s sshFiles) complete() string   { return s.path("complete.conf") }
func (s sshFiles) state() string      { return s.path("devices.json") }

func (s sshFiles) certificate(host, login string) string {
	return filepath.Join(s.dir, "certs", host, login+"-cert.pub")
}

// entry is what is known of one host: the device behind it and its default login.
type entry struct {
	ID    string `json:"id"`
	Login string `json:"login,omitempty"`
}

func isDeviceID(id string) bool {
	ulid, ok := strings.CutPrefix(id, "dev_")
	return ok && len(ulid) == 26 && wire.IsWord(ulid, "") && strings.ToUpper(ulid) == ulid
}

// deviceOf reads a device's name or id as people and ssh write it: kitchen, kitchen.adit, dev_01JD…. ssh makes every
// host name lower-case, ids too. It fails with Invalid: nothing else may reach a command line.
func deviceOf(text string) (string, error) {
	name := strings.TrimSuffix(strings.ToLower(text), hostSuffix)
	if wire.ValidDeviceName(name) {
		return name, nil
	}
	if id, ok := strings.CutPrefix(name, "dev_"); ok && isDeviceID("dev_"+strings.ToUpper(id)) {
		return "dev_" + strings.ToUpper(id), nil
	}
	return "", wire.Errorf(wire.Invalid, "%q is no device's name. A name has a to z, 0 to 9 and dashes inside.", text)
}

// hostOf is the host name under which ssh knows a device.
func hostOf(device string) string { return strings.ToLower(device) + hostSuffix }

// splitLogin reads [login@]device. It fails with Invalid.
func splitLogin(text string) (login, device string, err error) {
	login, host, found := strings.Cut(text, "@")
	if !found {
		login, host = "", text
	} else if !wire.ValidLogin(login) {
		return "", "", wire.Errorf(wire.Invalid, "%q is no Unix account.", login)
	}
	device, err = deviceOf(host)
	return login, device, err
}

// publicKey gives the key pair's public half and makes the pair where there is none.
func (s sshFiles) publicKey() (ssh.PublicKey, error) {
	data, err := os.ReadFile(s.key())
	if errors.Is(err, fs.ErrNotExist) {
		return s.newKey()
	}
	if err != nil {
		return nil, fmt.Errorf("ssh key: %w", err)
	}
	signer, err := ssh.ParsePrivateKey(data)
	if err != nil {
		return s.newKey()
	}
	return signer.PublicKey(), nil
}

func (s sshFiles) newKey() (ssh.PublicKey, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("ssh key: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(private, "adit")
	if err != nil {
		return nil, fmt.Errorf("ssh key: %w", err)
	}
	if err := os.RemoveAll(s.path("certs")); err != nil { // they were for another key
		return nil, fmt.Errorf("ssh key: %w", err)
	}
	if err := writeFile(s.key(), pem.EncodeToMemory(block), 0o600); err != nil {
		return nil, err
	}
	return ssh.NewPublicKey(public)
}

// fresh reports whether there is a certificate that will do.
func (s sshFiles) fresh(host, login string, now time.Time) bool {
	info, err := os.Stat(s.certificate(host, login))
	if err != nil {
		return false
	}
	age := now.Sub(info.ModTime())
	return age >= 0 && age < certificateFresh
}

func (s sshFiles) entries() map[string]entry {
	known := map[string]entry{}
	if data, err := os.ReadFile(s.state()); err == nil {
		_ = json.Unmarshal(data, &known) // a damaged file is made anew
	}
	return known
}

// keep stores a certificate with all that belongs to it. asDefault says that its login is the device's default.
func (s sshFiles) keep(host string, c *api.Certificate, asDefault bool) error {
	if !isDeviceID(c.DeviceID) || !wire.ValidLogin(c.Login) {
		return wire.Errorf(wire.Internal, "The hub answered for device %q and login %q.", c.DeviceID, c.Login)
	}
	if _, _, _, _, err := ssh.ParseAuthorizedKey([]byte(c.Certificate)); err != nil {
		return wire.Wrap(err, wire.Internal, "The hub's certificate cannot be read")
	}
	lines, err := hostKeyLines(c.DeviceID, c.KnownHosts)
	if err != nil {
		return err
	}
	if err := s.keepHostKeys(c.DeviceID, lines); err != nil {
		return err
	}
	if err := s.keepEntry(host, c, asDefault); err != nil {
		return err
	}
	return writeFile(s.certificate(host, c.Login), []byte(strings.TrimSpace(c.Certificate)+"\n"), 0o600)
}

// hostKeyLines takes from text what is a host key of this device and nothing else.
func hostKeyLines(id, text string) ([]string, error) {
	var lines []string
	for line := range strings.Lines(text) {
		host, key, _ := strings.Cut(strings.TrimSpace(line), " ")
		if host != id {
			continue
		}
		parsed, _, _, _, err := ssh.ParseAuthorizedKey([]byte(key))
		if err != nil {
			return nil, wire.Wrap(err, wire.Internal, "The hub's host key for %s cannot be read", id)
		}
		lines = append(lines, id+" "+strings.TrimSpace(string(ssh.MarshalAuthorizedKey(parsed))))
	}
	if len(lines) == 0 {
		return nil, wire.Errorf(wire.Conflict, "The hub knows no SSH host key of this device, so ssh could not tell it from "+
			"an impostor. Its agent reports one when it finds an SSH server; the device's page shows it.")
	}
	return lines, nil
}

func (s sshFiles) keepHostKeys(id string, lines []string) error {
	data, err := os.ReadFile(s.knownHosts())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("known hosts: %w", err)
	}
	var all []string
	for line := range strings.Lines(string(data)) {
		if host, _, _ := strings.Cut(line, " "); host != id {
			all = append(all, strings.TrimSpace(line))
		}
	}
	all = append(all, lines...)
	return writeFile(s.knownHosts(), []byte(strings.Join(all, "\n")+"\n"), 0o600)
}

// keepEntry rewrites devices.conf, the part of the configuration that differs from device to device.
func (s sshFiles) keepEntry(host string, c *api.Certificate, asDefault bool) error {
	known := s.entries()
	e := entry{ID: c.DeviceID, Login: known[host].Login}
	if asDefault {
		e.Login = c.Login
	}
	_, err := os.Stat(s.devices())
	if known[host] == e && err == nil {
		return nil
	}
	for other, o := range known {
		if o.ID == e.ID && other != host && !strings.HasPrefix(other, "dev_") {
			delete(known, other) // it was renamed
		}
	}
	known[host] = e
	hosts := make([]string, 0, len(known))
	for name := range known {
		hosts = append(hosts, name)
	}
	slices.Sort(hosts)
	var b strings.Builder
	for _, name := range hosts {
		fmt.Fprintf(&b, "Host %s\n    HostKeyAlias %s\n", name, known[name].ID)
		if known[name].Login != "" {
			fmt.Fprintf(&b, "    User %s\n", known[name].Login)
		}
	}
	data, err := json.MarshalIndent(known, "", "  ")
	if err != nil {
		return fmt.Errorf("devices: %w", err)
	}
	return errors.Join(writeFile(s.devices(), []byte(b.String()), 0o600), writeFile(s.state(), append(data, '\n'), 0o600))
}
