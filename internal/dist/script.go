package dist

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

//go:embed install.sh
var template string

//go:embed install-openssh.sh
var opensshTemplate string

// Hub is what the script and the lines to paste must know of a hub.
type Hub struct {
	URL  string // canonical, without a slash at its end
	Key  string // fingerprint of its tunnel key, SHA256:…
	Form Form   // of the ProxyCommand; empty is FormPatient
}

// Script is the install script. With code "" it is the same for everybody; else the code stands in it, and the machine
// asks for a person's approval.
func (d *Dist) Script(hub Hub, code string) (string, error) {
	hashes, err := d.hashes()
	if err != nil {
		return "", err
	}
	var table []string
	for target, hash := range hashes {
		table = append(table, target+" "+hash)
	}
	slices.Sort(table)
	return fill(template, hub, code, "'@HASHES@'", quote(strings.Join(table, "\n"))), nil
}

// OpenSSHScript is the install script for machines without our agent, as Script is that for those with it.
func OpenSSHScript(hub Hub, code string) (string, error) {
	u, err := url.Parse(hub.URL)
	if err != nil {
		return "", fmt.Errorf("read the hub's URL: %w", err)
	}
	return fill(opensshTemplate, hub, code, "'@HOST@'", quote(u.Hostname()), "'@AUTHORITY@'", quote(u.Host),
		"'@S_CLIENT@'", quote(sClient(u)), "'@PROXY@'", quote(ProxyCommand(u, hub.Form))), nil
}

// fill puts what every script must know into its template, and more, each as one word of a shell.
func fill(template string, hub Hub, code string, more ...string) string {
	short := "no"
	if code != "" {
		short = "yes"
	}
	return strings.NewReplacer(append([]string{
		"'@HUB@'", quote(hub.URL), "'@HUB_KEY@'", quote(hub.Key), "'@CODE@'", quote(code), "'@SHORT@'", quote(short),
	}, more...)...).Replace(template)
}

// ScriptSHA256 is the hex digest of the script that is the same for everybody.
func (d *Dist) ScriptSHA256(hub Hub) (string, error) {
	script, err := d.Script(hub, "")
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(script))
	return hex.EncodeToString(sum[:]), nil
}

// ValidCode reports whether code has the form of an install code: 128 bits in base32, lower case, without padding.
func ValidCode(code string) bool {
	return len(code) == 26 && strings.Trim(code, "abcdefghijklmnopqrstuvwxyz234567") == ""
}

// quote makes s one word of a POSIX shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
