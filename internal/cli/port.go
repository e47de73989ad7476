package cli

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/aditdev/adit/internal/api"
	"github.com/aditdev/adit/internal/command"
	"github.com/aditdev/adit/internal/wire"
)

const portUsage = `Usage: adit port [list] [--device DEVICE] [--json]
       adit port add DEVICE TARGET [--port PORT] [--json]
       adit port remove PORT

TCP ports of the hub, each kept for one target of one device: whoever connects there reaches the target, with no adit
and no sign-in. They are taken from the hub's setting ADIT_TCP_PORTS; those who manage the hub add and remove them.
A target is ssh, mqtt, http, a port of the device, or HOST:PORT as seen from the device.

  --device DEVICE   only those of this device
  --port PORT       this port; the lowest free one otherwise
  --json            print what the hub's API gives

Examples:
  adit port add kitchen ssh
  adit port add kitchen 192.168.1.10:502 --port 20502
`

func portCommand() command.Command {
	return command.Command{Name: "port", Summary: "TCP ports of the hub for targets of devices", Usage: portUsage, Run: runPort}
}

func runPort(ctx context.Context, args []string, stdio command.Stdio) error {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		return listPorts(ctx, args, stdio)
	}
	return command.Dispatch(ctx, "adit port", portUsage, []command.Command{
		{Name: "list", Usage: portUsage, Run: listPorts}, {Name: "add", Usage: portUsage, Run: addPort},
		{Name: "remove", Usage: portUsage, Run: removePort},
	}, args, stdio)
}

func listPorts(ctx context.Context, args []string, stdio command.Stdio) error {
	f := command.NewFlags("adit port list", portUsage)
	device, asJSON := f.String("device", "", ""), f.Bool("json", false, "")
	if err := parse(f, args, 0, 0, stdio); err != nil {
		return err
	}
	a, err := readAccount()
	if err != nil {
		return err
	}
	var list []api.Port
	if err := a.call(ctx, http.MethodGet, "ports"+query("device", *device), nil, &list); err != nil {
		return err
	}
	rows := [][]string{{"PORT", "ADDRESS", "DEVICE", "TARGET", "BY", "STATE"}}
	for _, p := range list {
		rows = append(rows, []string{strconv.Itoa(p.Port), p.Address, p.DeviceName, p.Target, p.UserHandle, portState(p)})
	}
	return printList(stdio, *asJSON, list, rows, "No port is reserved.")
}

func portState(p api.Port) string {
	switch {
	case p.Listening:
		return "listens"
	case p.Cause != nil:
		return *p.Cause
	}
	return "does not listen"
}

func addPort(ctx context.Context, args []string, stdio command.Stdio) error {
	f := command.NewFlags("adit port add", portUsage)
	number, asJSON := f.Int("port", 0, ""), f.Bool("json", false, "")
	if err := parse(f, args, 2, 2, stdio); err != nil {
		return err
	}
	device, err := deviceOf(f.Arg(0))
	if err != nil {
		return err
	}
	target, err := parseTarget(f.Arg(1))
	if err != nil {
		return err
	}
	a, err := readAccount()
	if err != nil {
		return err
	}
	var p api.Port
	err = a.call(ctx, http.MethodPost, "ports", api.PortRequest{Device: device, Target: string(target), Port: set(*number)}, &p)
	switch {
	case err != nil:
		return err
	case *asJSON:
		return writeJSON(stdio.Out, p)
	}
	fmt.Fprintln(stdio.Out, wire.Printable(p.Address+" -> "+p.Target+" on "+p.DeviceName, 500))
	if !p.Listening {
		fmt.Fprintln(stdio.Err, wire.Printable("Not yet: "+portState(p), 500))
	}
	fmt.Fprintln(stdio.Err, "Whoever reaches this address reaches the target. ssh asks for its own login; many other services ask for none.")
	return nil
}

// parseTarget reads a target as forwards have it, and with tcp: before it.
func parseTarget(text string) (wire.Target, error) {
	fields := splitColons(strings.TrimPrefix(text, "tcp:"))
	if len(fields) > 2 {
		return wire.ParseTarget(text) // which says what is wrong
	}
	return forwardTarget(fields)
}

func removePort(ctx context.Context, args []string, stdio command.Stdio) error {
	f := command.NewFlags("adit port remove", portUsage)
	if err := parse(f, args, 1, 1, stdio); err != nil {
		return err
	}
	number, err := strconv.ParseUint(f.Arg(0), 10, 16)
	if err != nil {
		return command.Usagef("%q is no port. `adit port` lists them.", f.Arg(0))
	}
	a, err := readAccount()
	if err != nil {
		return err
	}
	return a.call(ctx, http.MethodDelete, "ports/"+strconv.FormatUint(number, 10), nil, nil)
}
