package agent

import (
	"context"

	"github.com/aditdev/adit/internal/command"
)

const runUsage = `Usage: adit agent run [--dir DIR]

Stays connected to the hub until it is stopped. Nothing on the network ends it. A service manager runs this;
` + "`adit agent install-service`" + ` sets one up.
`

func runCommand(ctx context.Context, args []string, stdio command.Stdio) error {
	flags := command.NewFlags("adit agent run", runUsage)
	_ = flags.String("dir", "", "")
	if err := flags.Parse(args, 0, 0, stdio); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}
