package cli

import (
	"context"

	"github.com/aditdev/adit/internal/command"
)

const shellUsage = `Usage: adit shell [LOGIN@]DEVICE [--] [COMMAND]

Logs in through the SSH server inside the agent, for when the device's own sshd is broken or not there. The device
must allow it (rescue in its agent.toml), and so must your grant (target rescue). The hub cannot read along here
either. For everything else use adit ssh.
`

func shellCommand() command.Command {
	return command.Command{Name: "shell", Summary: "Log in where the device's sshd is broken", Usage: shellUsage, Run: runShell}
}

func runShell(ctx context.Context, args []string, stdio command.Stdio) error {
	f := command.NewFlags("adit shell", shellUsage)
	if err := f.Parse(args, 1, -1, stdio); err != nil {
		return err
	}
	login, device, err := splitLogin(f.Arg(0))
	if err != nil {
		return err
	}
	words := remoteCommand(f.Args()[1:])
	proxy, err := proxyTo(device, "rescue")
	if err != nil {
		return err
	}
	return as255(become255(ctx, device, login, stdio, func(config string) []string {
		// A connection shared through ControlMaster may be one to sshd.
		line := []string{"ssh", "-F", config, "-o", "ProxyCommand=" + proxy, "-o", "ControlPath=none"}
		if login != "" {
			line = append(line, "-l", login)
		}
		return append(append(line, "--", hostOf(device)), words...)
	}))
}
