package cli

import (
	"context"
	"os/exec"
	"strings"

	"github.com/aditdev/adit/internal/command"
	"github.com/aditdev/adit/internal/wire"
)

const sshUsage = `Usage: adit ssh [ssh's options] [LOGIN@]DEVICE [--] [COMMAND]

Runs the OpenSSH client against the device's own SSH server. The hub carries its bytes and cannot read them. Every
option of ssh works: -L, -R, -D, -A, -t, -v, -o …. Without a login it is the device's default, else your own name.
It exits as ssh does: with the command's status, or 255 where the connection failed.

Examples:
  adit ssh kitchen
  adit ssh pi@kitchen -- uptime
  adit ssh -L 8080:localhost:80 kitchen
`

// failed is the exit status of ssh and of everything that stands in its place.
const failed = 255

func sshCommand() command.Command {
	return command.Command{Name: "ssh", Summary: "Log in to a device, or run a command there", Usage: sshUsage, Run: runSSH}
}

func runSSH(ctx context.Context, args []string, stdio command.Stdio) error {
	options, rest, err := splitOptions(args)
	if err != nil {
		return err
	}
	if len(rest) == 0 {
		return command.Usagef("adit ssh needs a device, as in: adit ssh pi@kitchen. `adit devices` lists them.")
	}
	login, device, err := splitLogin(rest[0])
	if err != nil {
		return err
	}
	if login == "" {
		login = loginOption(options)
	}
	words := remoteCommand(rest[1:])
	return as255(become255(ctx, device, login, stdio, func(config string) []string {
		line := append([]string{"ssh", "-F", config}, options...)
		if login != "" {
			line = append(line, "-l", login)
		}
		return append(append(line, "--", hostOf(device)), words...)
	}))
}

// remoteCommand is what runs on the device. A "--" before it was for us: the one before the host ended ssh's options, so
// ssh would send another along.
func remoteCommand(words []string) []string {
	if len(words) > 0 && words[0] == "--" {
		return words[1:]
	}
	return words
}

// become255 prepares for a login on a device and becomes the program whose name and arguments line gives.
func become255(ctx context.Context, device, login string, stdio command.Stdio, line func(config string) []string) error {
	s, err := openSSHFiles()
	if err != nil {
		return err
	}
	if err := s.writeConfig(); err != nil {
		return err
	}
	if err := preparePerson(ctx, device, login); err != nil {
		return err
	}
	args := line(s.complete())
	program, err := exec.LookPath(args[0])
	if err != nil {
		return wire.Wrap(err, wire.Invalid, "OpenSSH's %s is not installed here", args[0])
	}
	return become(ctx, program, args, stdio)
}

// as255 gives every failure of ours the exit status of ssh's. A usage error keeps its own.
func as255(err error) error {
	if err == nil {
		return nil
	}
	if exit, ok := err.(*command.Exit); ok { //nolint:errorlint // made here
		return exit
	}
	return &command.Exit{Status: failed, Err: err}
}

// withValue are ssh's options that take a value (ssh(1)).
const withValue = "BbcDEeFIiJLlmOoPpQRSWw"

// splitOptions parts ssh's options from the destination and what follows, as ssh does.
func splitOptions(args []string) (options, rest []string, err error) {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			return options, args[i+1:], nil
		}
		if len(arg) < 2 || arg[0] != '-' {
			return options, args[i:], nil
		}
		if arg == "--help" || arg == "-h" {
			return nil, nil, command.Usagef("Its help: `adit ssh --help`.")
		}
		if arg[1] == 'F' {
			return nil, nil, command.Usagef("adit ssh writes its own configuration and reads yours too. For another file put "+
				"its Include there and use ssh NAME%s", hostSuffix)
		}
		options = append(options, arg)
		at := strings.IndexAny(arg[1:], withValue)
		if at >= 0 && at+2 == len(arg) { // the value is the next word
			if i++; i == len(args) {
				return nil, nil, command.Usagef("%s needs a value.", arg)
			}
			options = append(options, args[i])
		}
	}
	return options, nil, nil
}

// loginOption is the value of -l among ssh's options.
func loginOption(options []string) string {
	for i, o := range options {
		if o == "-l" && i+1 < len(options) {
			return options[i+1]
		}
		if strings.HasPrefix(o, "-l") && len(o) > 2 {
			return o[2:]
		}
	}
	return ""
}
