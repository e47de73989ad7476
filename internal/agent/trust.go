package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/aditdev/adit/internal/api"
)

// trustRecord says how sshd here came to trust the hub's user CA, so that it can be shown and taken back. It is on disk
// before anything is changed.
type trustRecord struct {
	Trust  api.SSHFactsTrust `json:"trust"`             // sshd_config, authorized_keys or none
	DropIn string            `json:"drop_in,omitempty"` // the file added to sshd's settings
	Keys   string            `json:"keys,omitempty"`    // the authorized_keys file with a line of ours
	Note   string            `json:"note,omitempty"`    // why not better than this
}

// usesSSHD reports whether people are meant to arrive at sshd, also while it does not run.
func (r trustRecord) usesSSHD() bool {
	return r.Trust == api.SSHFactsTrustSshdConfig || r.Trust == api.SSHFactsTrustAuthorizedKeys
}

// readTrust fails with fs.ErrNotExist where nothing was set up.
func readTrust(path string) (trustRecord, error) {
	var r trustRecord
	data, err := os.ReadFile(path)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("read %s: %w", path, err)
	}
	return r, nil
}

func (r trustRecord) save(path string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(path, append(data, '\n'), 0o644)
}

// truster sets up one sshd's trust in the hub's user CA.
type truster struct {
	paths   Paths
	config  Config
	sshd    sshd
	program string // adit, as sshd is to call it
}

// setUpTrust lets certificates of the hub open accounts through the device's sshd, in the best way that works here,
// and gives the record of it. sshd is left exactly as it was wherever a check fails. ok is false where no sshd runs
// that could be set up, so that the built-in server serves.
func setUpTrust(ctx context.Context, p Paths, c Config) (r trustRecord, ok bool, err error) {
	if err := takeBackTrust(ctx, p); err != nil {
		return r, false, err
	}
	program, err := os.Executable()
	if err != nil {
		return r, false, fmt.Errorf("find the agent's own program: %w", err)
	}
	t := truster{paths: p, config: c, sshd: findSSHD(ctx, listeningSockets()), program: program}
	if c.Services.SSH == sshBuiltin || t.sshd.kind != api.SSHFactsServerOpenssh {
		return r, false, nil
	}
	var reasons []string
	for _, way := range []func(context.Context) (trustRecord, error){t.byDropIn, t.byAuthorizedKeys} {
		r, err = way(ctx)
		if err == nil {
			r.Note = strings.Join(reasons, "; ")
			return r, true, r.save(p.Trust())
		}
		reasons = append(reasons, err.Error())
	}
	r = trustRecord{Trust: api.SSHFactsTrustNone, Note: strings.Join(reasons, "; ")}
	return r, true, r.save(p.Trust())
}

const dropInMark = "# Written by the Adit agent."

// byDropIn adds one file to sshd's settings. It fails, with sshd as it was, where a site has settings of its own for
// certificates, or where one of the checks fails.
func (t truster) byDropIn(ctx context.Context) (trustRecord, error) {
	r := trustRecord{Trust: api.SSHFactsTrustSshdConfig}
	dir, err := t.dropInDir(ctx)
	if err != nil {
		return r, err
	}
	r.DropIn = filepath.Join(dir, "adit.conf")
	if err := r.save(t.paths.Trust()); err != nil {
		return r, err
	}
	err = writeFile(r.DropIn, []byte(t.dropIn(ctx)), 0o644)
	if err == nil {
		err = t.proveDropIn(ctx)
	}
	if err != nil {
		err = errors.Join(err, takeBackTrust(ctx, t.paths))
		if !t.sshd.answers(ctx) {
			err = errors.Join(err, t.sshd.revive(ctx))
		}
		return r, err
	}
	return r, nil
}

var certificateKeys = []string{"trustedusercakeys", "authorizedprincipalscommand", "authorizedprincipalscommanduser", "authorizedprincipalsfile"}

// dropInDir is where a file of ours would be read, if nothing there would be overruled by it or overrule it.
func (t truster) dropInDir(ctx context.Context) (string, error) {
	if t.paths.User {
		return "", errors.New("without root the settings of sshd stay as they are")
	}
	settings := t.sshd.settings(ctx)
	for _, key := range certificateKeys {
		if !settings.unset(key) {
			return "", fmt.Errorf("sshd here has a %s of its own (%s), which stays as it is", key, settings.first(key))
		}
	}
	if file, key := mentions(t.sshd.config, certificateKeys...); file != "" {
		return "", fmt.Errorf("%s sets %s for some connections, which stays as it is", file, key)
	}
	dir := includeDir(t.sshd.config)
	if dir == "" {
		return "", fmt.Errorf("%s includes no directory for further settings", t.sshd.config)
	}
	return dir, nil
}

func (t truster) dropIn(ctx context.Context) string {
	words := []string{t.program, "agent", "principals"}
	if t.paths.Dir != systemDir {
		words = append(words, "--dir", t.paths.Dir)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `%s `+"`adit agent uninstall`"+` removes it.
# Certificates of the hub open the accounts that %s allows. Nothing else changes.
TrustedUserCAKeys %s
AuthorizedPrincipalsCommand %s %%u
AuthorizedPrincipalsCommandUser nobody
`, dropInMark, t.paths.Principals(), unitWords(t.paths.UserCA()), unitWords(words...))
	if values, known := t.sshd.settings(ctx)["persourcepenaltyexemptlist"]; known && values[0] == "none" {
		b.WriteString("PerSourcePenaltyExemptList 127.0.0.0/8,::1/128\n")
	}
	return b.String()
}

// proveDropIn checks the new settings as a whole, lets sshd read them, and logs in.
func (t truster) proveDropIn(ctx context.Context) error {
	if out, err := t.sshd.test(ctx, "-t"); err != nil {
		return fmt.Errorf("sshd does not accept the added settings: %s", lastLine(out))
	}
	if got := t.sshd.settings(ctx).first("trustedusercakeys"); got != t.paths.UserCA() {
		return errors.New("sshd does not take up the added settings")
	}
	if err := t.sshd.reload(ctx); err != nil {
		return err
	}
	return t.proveLogin(ctx, t.paths.UserCA(), authorizedLine, t.candidates(ctx))
}

func lastLine(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return lines[len(lines)-1]
}

// takeBackTrust removes whatever setUpTrust added, as far as it is there. Nothing recorded is no error.
func takeBackTrust(ctx context.Context, p Paths) error {
	r, err := readTrust(p.Trust())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if r.Keys != "" {
		err = errors.Join(err, removeKeyLines(r.Keys, isKeyLine(keyMark)))
	}
	if r.DropIn != "" {
		err = errors.Join(err, removeDropIn(ctx, r.DropIn))
	}
	if err != nil {
		return fmt.Errorf("take back sshd's settings: %w", err)
	}
	return os.Remove(p.Trust())
}

// removeDropIn removes the file if it still is ours, and lets sshd read its settings again.
func removeDropIn(ctx context.Context, path string) error {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !strings.HasPrefix(string(data), dropInMark) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	if s := findSSHD(ctx, listeningSockets()); s.kind == api.SSHFactsServerOpenssh {
		return s.reload(ctx)
	}
	return nil
}
