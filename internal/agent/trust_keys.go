package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/api"
)

// keyMark is in the comment of every line of ours in an authorized_keys file; throwAway in that of a test's.
const (
	keyMark   = "adit:"
	throwAway = keyMark + "throw-away"
)

// byAuthorizedKeys adds one line to the authorized_keys file of the account that the agent runs as. Root does not write
// into the homes of others: their owners could have it follow a link.
func (t truster) byAuthorizedKeys(ctx context.Context) (trustRecord, error) {
	r := trustRecord{Trust: api.SSHFactsTrustAuthorizedKeys}
	u, err := user.Current()
	if err != nil {
		return r, fmt.Errorf("the own account cannot be read: %w", err)
	}
	if !t.config.Policy.AllowsLogin(u.Username) {
		return r, fmt.Errorf("the device's policy does not allow logins as %s", u.Username)
	}
	ca, err := readUserCA(t.paths)
	if err != nil {
		return r, err
	}
	if r.Keys, err = authorizedKeysFile(t.sshd.settings(ctx), u); err != nil {
		return r, err
	}
	if err := r.save(t.paths.Trust()); err != nil {
		return r, err
	}
	line := func(key ssh.PublicKey) string { return t.keyLine(key, u.Username, throwAway) }
	err = addKeyLine(r.Keys, t.keyLine(ca, u.Username, keyMark+t.config.Device))
	if err == nil {
		err = t.proveLogin(ctx, r.Keys, line, []string{u.Username})
	}
	if err != nil {
		return r, errors.Join(err, takeBackTrust(ctx, t.paths))
	}
	return r, nil
}

// keyLine trusts certificates of key for one account, and limits what they forward (sshd(8), AUTHORIZED_KEYS FILE FORMAT).
func (t truster) keyLine(key ssh.PublicKey, login, comment string) string {
	options := fmt.Sprintf("cert-authority,principals=%q", principal(t.config.Device, login))
	if limits := t.config.Policy.forwardOptions(); limits != "" {
		options += "," + limits
	}
	return fmt.Sprintf("%s %s %s", options, authorizedLine(key), comment)
}

// renewKeyLine writes the line anew where it is there: the policy may be another since. Where its owner took it out, it
// stays out.
func (t truster) renewKeyLine(path string, key ssh.PublicKey) error {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	u, err := user.Current()
	if err != nil {
		return fmt.Errorf("the own account cannot be read: %w", err)
	}
	ours, now := isKeyLine(keyMark+t.config.Device), t.keyLine(key, u.Username, keyMark+t.config.Device)+"\n"
	var text strings.Builder
	for line := range strings.Lines(string(data)) {
		if ours(line) {
			line = now
		}
		text.WriteString(line)
	}
	if text.String() == string(data) {
		return nil
	}
	return replaceKeeping(path, text.String())
}

// isKeyLine picks the lines that keyLine made, whose comment begins so; a word of ours in somebody else's comment does not
// make that line ours to remove.
func isKeyLine(comment string) func(line string) bool {
	return func(line string) bool {
		fields := strings.Fields(line)
		return len(fields) == 4 && strings.HasPrefix(fields[0], "cert-authority") && strings.HasPrefix(fields[3], comment)
	}
}

// authorizedKeysFile is the first file of sshd's setting, with its tokens filled in.
func authorizedKeysFile(settings sshdSettings, u *user.User) (string, error) {
	pattern := settings.first("authorizedkeysfile")
	if pattern == "" {
		pattern = ".ssh/authorized_keys"
	}
	pattern, _, _ = strings.Cut(pattern, " ")
	if pattern == "none" {
		return "", errors.New("sshd here reads no authorized_keys files")
	}
	path := strings.NewReplacer("%%", "%", "%h", u.HomeDir, "%u", u.Username, "%U", u.Uid).Replace(pattern)
	if !filepath.IsAbs(path) {
		path = filepath.Join(u.HomeDir, path)
	}
	return path, nil
}

func addKeyLine(path, line string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("%s cannot be made: %w", filepath.Dir(path), err)
	}
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s cannot be read: %w", path, err)
	}
	text := string(data)
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return replaceKeeping(path, text+line+"\n")
}

// removeKeyLines removes the lines of path that ours picks, and the file if nothing else was in it.
func removeKeyLines(path string, ours func(line string) bool) error {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var kept strings.Builder
	for line := range strings.Lines(string(data)) {
		if !ours(line) {
			kept.WriteString(line)
		}
	}
	switch kept.Len() {
	case len(data):
		return nil
	case 0:
		return os.Remove(path)
	}
	return replaceKeeping(path, kept.String())
}

// replaceKeeping replaces the text of a file, keeping its mode; a new one is 0600. A link is followed to its file.
func replaceKeeping(path, text string) error {
	mode := fs.FileMode(0o600)
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	if info, err := os.Stat(path); err == nil {
		mode = info.Mode().Perm()
	}
	return writeFile(path, []byte(text), mode)
}
