package agent

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/aditdev/adit/internal/command"
	"github.com/aditdev/adit/internal/wire"
)

// The principals file is for a program that sshd runs as nobody at each login: short lines, no secrets.
//
//	device dev_…
//	root yes|no
//	login NAME      (repeated; * is every account)
//	target TARGET   (repeated; as policy.targets has them)

// writePrincipals writes what `adit agent principals` needs of c.
func writePrincipals(p Paths, c Config) error {
	var b strings.Builder
	fmt.Fprintf(&b, "device %s\n", c.Device)
	if c.Policy.Root {
		b.WriteString("root yes\n")
	}
	for _, login := range c.Policy.Logins {
		fmt.Fprintf(&b, "login %s\n", login)
	}
	for _, target := range c.Policy.Targets {
		fmt.Fprintf(&b, "target %s\n", target)
	}
	return writeFile(p.Principals(), []byte(b.String()), 0o644)
}

// principal is the one certificate principal that opens login on device.
func principal(device, login string) string { return device + "/" + login }

// forwardOptions limit what sshd forwards for people (ssh -L, -D, -W) to what the device's policy lets streams reach: the
// options of sshd(8), AUTHORIZED_KEYS FILE FORMAT, by commas. They are empty where the policy allows every address. sshd
// compares hosts as they are written.
func (p Policy) forwardOptions() string {
	var options []string
	for _, target := range p.Targets {
		address, isTCP := strings.CutPrefix(target, "tcp:")
		switch {
		case target == "tcp:*:*":
			return ""
		case target == targetLoopback:
			options = append(options, `permitopen="127.0.0.1:*"`, `permitopen="localhost:*"`, `permitopen="[::1]:*"`)
		case isTCP:
			options = append(options, `permitopen="`+address+`"`)
		}
	}
	if len(options) == 0 {
		return "no-port-forwarding"
	}
	return strings.Join(options, ",")
}

// principalFor gives the line that lets somebody in as login, its options and the principal, or "" where the device's
// policy does not.
func principalFor(r io.Reader, login string) string {
	var device string
	var policy Policy
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), " ")
		switch key {
		case "device":
			device = value
		case "root":
			policy.Root = value == "yes"
		case "login":
			policy.Logins = append(policy.Logins, value)
		case "target":
			if validPattern(value) {
				policy.Targets = append(policy.Targets, value)
			}
		}
	}
	if device == "" || !wire.ValidLogin(login) || !policy.AllowsLogin(login) {
		return ""
	}
	return strings.TrimLeft(policy.forwardOptions()+" "+principal(device, login), " ")
}

const principalsUsage = `Usage: adit agent principals LOGIN

For sshd's AuthorizedPrincipalsCommand: prints the certificate principal that opens the account LOGIN here, or nothing,
and before it what sshd may forward to, as policy.targets allows.
It reads /etc/adit/principals only and always exits 0: whatever is wrong, sshd then simply refuses the certificate.
`

func principalsCommand(_ context.Context, args []string, stdio command.Stdio) error {
	flags := command.NewFlags("adit agent principals", principalsUsage)
	dir := flags.String("dir", "", "")
	if err := flags.Parse(args, 1, 1, stdio); err != nil {
		return &command.Exit{}
	}
	path := Paths{Dir: systemDir}.Principals()
	if *dir != "" {
		path = Paths{Dir: *dir}.Principals()
	}
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	if line := principalFor(f, flags.Arg(0)); line != "" {
		fmt.Fprintln(stdio.Out, line)
	}
	return nil
}
