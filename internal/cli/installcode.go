package cli

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/aditdev/adit/internal/api"
	"github.com/aditdev/adit/internal/command"
	"github.com/aditdev/adit/internal/wire"
)

const installCodeUsage = `Usage: adit install-code [--name NAME] [--tag TAG]… [--expires DURATION] [--uses N]
                         [--approval] [--allow HOST:PORT]… [--replaces DEVICE] [--json]

Makes a code that turns a machine into a device, and prints the line to paste there.

  --name NAME          what the device will be called; its hostname decides otherwise
  --tag TAG            give it this tag; may be repeated
  --expires DURATION   how long the code works, as 15m (the default), 24h
  --uses N             for how many machines; 1 otherwise
  --approval           a person confirms each machine
  --allow HOST:PORT    a neighbour in the device's network that it may reach for people; may be repeated
  --replaces DEVICE    the new machine takes this device's place
  --json               print {code, command, expires_at, …}
`

func installCodeCommand() command.Command {
	return command.Command{Name: "install-code", Summary: "Make the line that adds a device", Usage: installCodeUsage, Run: installCode}
}

func installCode(ctx context.Context, args []string, stdio command.Stdio) error {
	f := command.NewFlags("adit install-code", installCodeUsage)
	name, replaces := f.String("name", "", ""), f.String("replaces", "", "")
	expires, uses := f.Duration("expires", 0, ""), f.Int("uses", 0, "")
	approval, asJSON := f.Bool("approval", false, ""), f.Bool("json", false, "")
	var tags, allow list
	f.Var(&tags, "tag", "")
	f.Var(&allow, "allow", "")
	if err := parse(f, args, 0, 0, stdio); err != nil {
		return err
	}
	if *name != "" && !wire.ValidDeviceName(*name) {
		return command.Usagef("%q is no device name: a to z, 0 to 9 and dashes inside, at most 63. Perhaps %q?", *name,
			wire.DeviceNameFrom(*name))
	}
	body := api.InstallCodeRequest{Name: set(*name), Replaces: set(*replaces), Uses: set(*uses), Approval: set(*approval)}
	body.ExpiresIn = set(int(*expires / time.Second))
	if len(tags) > 0 {
		body.Tags = (*[]string)(&tags)
	}
	if len(allow) > 0 {
		body.Allow = (*[]string)(&allow)
	}
	a, err := readAccount()
	if err != nil {
		return err
	}
	var code api.NewInstallCode
	if err := a.call(ctx, http.MethodPost, "install-codes", body, &code); err != nil {
		return err
	}
	if *asJSON {
		return writeJSON(stdio.Out, code)
	}
	fmt.Fprintln(stdio.Out, wire.Printable(code.Command, 2000))
	fmt.Fprintf(stdio.Err, "\nPaste this line on the machine, as root or not. It works until %s.\n",
		code.ExpiresAt.Local().Format("15:04 on 2006-01-02"))
	return nil
}

// set is a pointer to v, or nil where v is zero: the API's way to say that nothing was said.
func set[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}
