// Package agent is the program on a device: it registers the machine with a hub, keeps carriers to it, opens what the
// hub asks for within the device's own policy, and looks after itself as a service.
package agent

import (
	"context"
	"io"

	"github.com/aditdev/adit/internal/agent/hold"
	"github.com/aditdev/adit/internal/agent/sshserver"
	"github.com/aditdev/adit/internal/command"
)

const help = `The agent makes this machine a device of a hub and keeps it reachable.

Usage: adit agent COMMAND [arguments]
`

// Command is the row `agent` of adit's table.
func Command() command.Command {
	return command.Command{
		Name:    "agent",
		Summary: "On a device: register it and keep it reachable",
		Run: func(ctx context.Context, args []string, stdio command.Stdio) error {
			return command.Dispatch(ctx, "adit agent", help, Commands(), args, stdio)
		},
	}
}

// Commands are the rows below `adit agent`.
func Commands() []command.Command {
	return []command.Command{
		{Name: "enroll", Summary: "Make this machine a device of a hub", Usage: enrollUsage, Run: enrollCommand},
		{Name: "run", Summary: "Stay connected to the hub, in the foreground", Usage: runUsage, Run: runCommand},
		{Name: "install-service", Summary: "Keep the agent up, and let the hub's certificates in", Usage: installUsage, Run: installCommand},
		{Name: "status", Summary: "Say whether the hub is reached, and if not, why", Usage: statusUsage, Run: statusCommand},
		{Name: "doctor", Summary: "Look for what is wrong, and say what to do", Usage: doctorUsage, Run: doctorCommand},
		{Name: "mqtt-user", Summary: "Users of this device's MQTT listeners", Usage: mqttUserUsage, Run: mqttUserCommand},
		{Name: "mqtt-check", Summary: "Look for wrong lines in MQTT bridges", Usage: mqttCheckUsage, Run: mqttCheckCommand},
		{Name: "prepare-image", Summary: "Strip this machine's identity, for a golden image", Usage: imageUsage, Run: imageCommand},
		{Name: "uninstall", Summary: "Take the agent off this machine", Usage: uninstallUsage, Run: uninstallCommand},
		{Name: "sftp", Run: func(_ context.Context, _ []string, stdio command.Stdio) error {
			return sshserver.ServeSFTP(stdio.In, nopCloser{stdio.Out})
		}},
		{Name: "principals", Usage: principalsUsage, Run: principalsCommand},
		{Name: "supervise", Usage: superviseUsage, Run: superviseCommand},
		{Name: "hold", Run: func(ctx context.Context, args []string, stdio command.Stdio) error {
			return hold.Run(ctx, args, stdio.In, stdio.Out)
		}},
	}
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
