package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/aditdev/adit/internal/command"
	"github.com/aditdev/adit/internal/wire"
)

const sshConfigUsage = `Usage: adit ssh-config [--no-include | --print]

Lets plain ssh, scp, sftp, rsync, editors and Ansible reach every device as NAME.adit: it writes
~/.config/adit/ssh/config and adds one Include line at the top of ~/.ssh/config. Running it again changes nothing
but what is out of date; run it again when adit has moved.

  --no-include   leave ~/.ssh/config alone
  --print        write nothing; print the configuration
`

func sshConfigCommand() command.Command {
	return command.Command{Name: "ssh-config", Summary: "Let plain ssh, scp, rsync and others reach NAME.adit", Usage: sshConfigUsage,
		Run: sshConfig}
}

func sshConfig(_ context.Context, args []string, stdio command.Stdio) error {
	f := command.NewFlags("adit ssh-config", sshConfigUsage)
	noInclude, printOnly := f.Bool("no-include", false, ""), f.Bool("print", false, "")
	if err := parse(f, args, 0, 0, stdio); err != nil {
		return err
	}
	if *noInclude && *printOnly {
		return command.Usagef("--print writes nothing, so there is no Include to leave out. Choose one.")
	}
	s, err := openSSHFiles()
	if err != nil {
		return err
	}
	text, err := s.configText()
	if err != nil {
		return err
	}
	if *printOnly {
		fmt.Fprint(stdio.Out, text)
		return nil
	}
	if err := s.writeConfig(); err != nil {
		return err
	}
	fmt.Fprintf(stdio.Err, "%s is written.\n", s.config())
	line := "Include " + quote(s.config())
	if *noInclude {
		fmt.Fprintf(stdio.Err, "To use it, put this line at the top of ~/.ssh/config:\n\n  %s\n", line)
		return nil
	}
	path, added, err := include(line)
	if err != nil {
		return wire.Wrap(err, wire.CodeOf(err), "~/.ssh/config could not be changed. Put this line at its top: %s", line)
	}
	if added {
		fmt.Fprintf(stdio.Err, "%s now includes it. Try: ssh NAME%s\n", path, hostSuffix)
	} else {
		fmt.Fprintf(stdio.Err, "%s includes it already.\n", path)
	}
	return nil
}

// writeConfig writes the configuration, and a complete one for the commands that run ssh themselves.
func (s sshFiles) writeConfig() error {
	text, err := s.configText()
	if err != nil {
		return err
	}
	complete := "Include " + quote(s.config()) + "\n"
	if home, err := os.UserHomeDir(); err == nil {
		complete += "Include " + quote(filepath.Join(home, ".ssh", "config")) + "\n"
	}
	if runtime.GOOS != "windows" {
		complete += "Include /etc/ssh/ssh_config\n"
	}
	for path, text := range map[string]string{s.config(): text, s.complete(): complete} {
		if old, err := os.ReadFile(path); err == nil && string(old) == text {
			continue
		}
		if err := writeFile(path, []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// configText is the configuration. ssh hands the host and the login to a shell: hosts and logins with a quote in them
// (CVE-2023-51385) match no block that names them, all others stand between quotes. The blocks behind the first hold even
// where ssh-prepare fails, so that no other host of that name is ever reached in its place.
func (s sshFiles) configText() (string, error) {
	program, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("own path: %w", err)
	}
	if strings.ContainsAny(program+s.dir, "'\"\n") {
		return "", wire.Errorf(wire.Invalid, "ssh takes no quotes in paths: %q, %q", program, s.dir)
	}
	sh := unixShell
	if runtime.GOOS == "windows" {
		sh = windowsShell
	}
	self, hosts := sh.quoted(escape(filepath.ToSlash(program))), quote("*"+hostSuffix+sh.except())
	host, login, users := sh.quoted("%h"), sh.quoted("%r"), quote("*"+sh.except())
	var b strings.Builder
	b.WriteString("# Written by adit ssh-config, which writes it anew.\n")
	fmt.Fprintf(&b, "Match host %s user %s exec %s\n", hosts, users, quote(self+" ssh-prepare "+host+" "+login))
	fmt.Fprintf(&b, "    Include %s\n", quote(s.devices()))
	fmt.Fprintf(&b, "    IdentityFile %s\n", quote(escape(s.key())))
	fmt.Fprintf(&b, "    CertificateFile %s\n", quote(escape(s.path("certs"))+"/%h/%r-cert.pub"))
	fmt.Fprintf(&b, "Match host %s user %s\n", hosts, users)
	fmt.Fprintf(&b, "    ProxyCommand %s proxy --login %s %s\n", self, login, host)
	fmt.Fprintf(&b, "Match host %s\n", hosts)
	fmt.Fprintf(&b, "    ProxyCommand %s proxy %s\n", self, host)
	fmt.Fprintf(&b, "    UserKnownHostsFile %s\n", quote(escape(s.knownHosts())))
	b.WriteString("    StrictHostKeyChecking yes\n    UpdateHostKeys no\n    CheckHostIP no\n")
	b.WriteString("    IdentitiesOnly yes\n    CanonicalizeHostname no\nMatch all\n")
	return b.String(), nil
}

// shellRules are how words reach the shell that ssh hands a command to.
type shellRules struct {
	quote string // put around a word
	bad   string // characters that mean something even so
}

var (
	unixShell    = shellRules{quote: "'", bad: "'"}
	windowsShell = shellRules{bad: "&|<>^()"} // ssh_config knows no double quotes inside of double quotes
)

func (r shellRules) quoted(word string) string { return r.quote + word + r.quote }

// except is the end of a pattern list that keeps the bad characters out.
func (r shellRules) except() string {
	var b strings.Builder
	for _, c := range r.bad {
		fmt.Fprintf(&b, ",!*%c*", c)
	}
	return b.String()
}

func escape(path string) string { return strings.ReplaceAll(path, "%", "%%") }

// quote makes one word of a path, in the way of ssh_config.
func quote(path string) string { return `"` + filepath.ToSlash(path) + `"` }

// include adds line to the person's ssh configuration where no line says the same. It must stand before every Host and
// Match: behind one it would belong to it.
func include(line string) (path string, added bool, err error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return "", false, fmt.Errorf("home: %w", err)
	}
	path = filepath.Join(home, ".ssh", "config")
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return path, false, fmt.Errorf("read ssh config: %w", err)
	}
	for have := range strings.Lines(string(data)) {
		if strings.TrimSpace(have) == line {
			return path, false, nil
		}
	}
	mode := fs.FileMode(0o600)
	if info, err := os.Stat(path); err == nil {
		mode = info.Mode().Perm()
	}
	var text bytes.Buffer
	text.WriteString(line + "\n")
	if len(data) > 0 {
		text.WriteString("\n")
	}
	text.Write(data)
	return path, true, writeFile(path, text.Bytes(), mode)
}
