// Command adit is the small client of Adit: the agent on devices, and the command line for people.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/aditdev/adit/internal/command"
)

const help = `adit reaches devices behind NAT and firewalls: ssh, shells and services through one HTTPS port.

Usage: adit COMMAND [arguments]

On a machine that is to be reached, paste the line that the hub's page "Add device" shows.
On your own, begin with:  adit login https://your.hub
`

const versionUsage = `Usage: adit version [--json]

Prints the version and the platform of this program.

  --json   print {version, platform}
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := run(ctx, os.Args[1:], command.Stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
	stop()
	os.Exit(status)
}

// run is the whole program but for signals and the process's end, so that tests can call it.
func run(ctx context.Context, args []string, stdio command.Stdio) int {
	return command.Report(stdio.Err, command.Dispatch(ctx, "adit", help, table(), args, stdio))
}

func table() []command.Command {
	return slices.Concat(people(), []command.Command{
		agentCommand(),
		{Name: "version", Summary: "Print the version", Usage: versionUsage, Run: printVersion},
	})
}

func printVersion(_ context.Context, args []string, stdio command.Stdio) error {
	f := command.NewFlags("adit version", versionUsage)
	asJSON := f.Bool("json", false, "")
	if err := f.Parse(args, 0, 0, stdio); err != nil {
		return err
	}
	if *asJSON {
		e := json.NewEncoder(stdio.Out)
		e.SetIndent("", "  ")
		return e.Encode(map[string]string{"version": command.Version(), "platform": command.Platform()})
	}
	_, err := fmt.Fprintf(stdio.Out, "adit %s %s\n", command.Version(), command.Platform())
	return err
}
