package devices

import (
	"context"
	"strings"

	"github.com/aditdev/adit/internal/dist"
	"github.com/aditdev/adit/internal/hubkeys"
	"github.com/aditdev/adit/internal/store"
)

// Lines are what a person pastes on the device, ready for a shell.
type Lines struct {
	Command string // curl
	Wget    string // downloads, compares the script's hash, tells the script that it was compared, runs
	Short   string // for typing by hand; its code is in a URL
	Check   string // only looks
	OpenSSH string // curl; needs no agent, stock OpenSSH keeps the way in
	OpenSSL string // the same where neither curl nor wget is; "" where the hub has no TLS
}

// ScriptHashes are the hex digests of the scripts that are the same for everybody.
type ScriptHashes struct {
	Agent   string // of GET /i
	OpenSSH string // of GET /i?via=openssh
}

// Lines makes the lines of a code.
func (r *Registry) Lines(code string, row store.InstallCode, hashes ScriptHashes) Lines {
	script, openssh := r.URLs[0].String()+"/i", "/i?via="+ViaOpenSSH
	set := "ADIT_CODE=" + quote(code) + " ADIT_HUB_KEY=" + quote(hubkeys.Fingerprint(r.Keys().Code(store.Time(row.CreatedAt))))
	if allow := store.List(row.Allow); len(allow) > 0 {
		set += " ADIT_ALLOW=" + quote(strings.Join(allow, ","))
	}
	if row.RootPassword {
		set += " ADIT_ROOT_PASSWORD=yes"
	}
	lines := Lines{
		Command: "curl -fsSL " + quote(script) + " | " + set + " sh",
		Wget: `f=$(mktemp) && wget -qO "$f" ` + quote(script) + ` && [ "$(sha256sum "$f" | cut -c1-64)" = ` +
			quote(hashes.Agent) + ` ] && ` + set + ` ADIT_SHA256=` + quote(hashes.Agent) + ` sh "$f"`,
		Short:   "curl -fsSL " + quote(script+"/"+code) + " | sh",
		Check:   "curl -fsSL " + quote(script) + " | sh -s -- --check",
		OpenSSH: "curl -fsSL " + quote(r.URLs[0].String()+openssh) + " | " + set + " sh",
	}
	if get := dist.OpenSSLGet(r.URLs[0], openssh); get != "" {
		lines.OpenSSL = `s=$(` + get + `) && [ "$(printf '%s\n' "$s" | openssl dgst -sha256 | sed 's/.* //')" = ` +
			quote(hashes.OpenSSH) + ` ] && printf '%s\n' "$s" | ` + set + ` sh`
	}
	return lines
}

// HubFingerprint is that of the hub's tunnel key, as the install line carries it.
func (r *Registry) HubFingerprint() string { return hubkeys.Fingerprint(r.Keys().Current) }

// FingerprintFor is the one that a line carries whose code has this hash: it may have been made before the key was
// replaced. An unknown code's is the current one.
func (r *Registry) FingerprintFor(ctx context.Context, codeHash string) string {
	row, err := r.Store.Read().FindInstallCode(ctx, codeHash)
	if err != nil {
		return r.HubFingerprint()
	}
	return hubkeys.Fingerprint(r.Keys().Code(store.Time(row.CreatedAt)))
}

// quote makes one word of a POSIX shell out of s.
func quote(s string) string {
	plain := func(r rune) bool {
		return (r >= 'a' && r <= 'z') || (r >= 'A' && r <= 'Z') || (r >= '0' && r <= '9') || strings.ContainsRune("-_.,:/@%+=", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
