package cli

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aditdev/adit/internal/api"
	"github.com/aditdev/adit/internal/command"
	"github.com/aditdev/adit/internal/wire"
)

const devicesUsage = `Usage: adit devices [--tag TAG] [--json | --ansible]

Lists the devices that you may see.

  --tag TAG   only those with this tag
  --json      print an array of {id, name, online, …} as the hub's API gives it
  --ansible   print an Ansible inventory: adit devices --ansible >inventory.json
              (after adit ssh-config; tags become groups)
`

func devicesCommand() command.Command {
	return command.Command{Name: "devices", Summary: "List devices", Usage: devicesUsage, Run: devices}
}

func devices(ctx context.Context, args []string, stdio command.Stdio) error {
	f := command.NewFlags("adit devices", devicesUsage)
	asJSON, asAnsible, tag := f.Bool("json", false, ""), f.Bool("ansible", false, ""), f.String("tag", "", "")
	if err := parse(f, args, 0, 0, stdio); err != nil {
		return err
	}
	if *asJSON && *asAnsible {
		return command.Usagef("--json and --ansible are two forms of the same list. Choose one.")
	}
	a, err := readAccount()
	if err != nil {
		return err
	}
	var list []api.Device
	if err := a.call(ctx, http.MethodGet, "devices"+query("tag", *tag), nil, &list); err != nil {
		return err
	}
	switch {
	case *asJSON:
		return writeJSON(stdio.Out, list)
	case *asAnsible:
		return writeJSON(stdio.Out, inventory(list))
	case len(list) == 0:
		fmt.Fprintln(stdio.Err, "You have no devices yet. `adit install-code` makes the line that adds one.")
		return nil
	default:
		return printDevices(stdio.Out, list)
	}
}

func printDevices(w io.Writer, list []api.Device) error {
	rows := [][]string{{"NAME", "STATE", "LOGIN", "SYSTEM", "TAGS"}}
	for _, d := range list {
		row := []string{wire.Printable(d.Name, 63), deviceState(d, time.Now()), "-", "-", "-"}
		if d.DefaultLogin != nil && *d.DefaultLogin != "" {
			row[2] = wire.Printable(*d.DefaultLogin, 32)
		}
		if d.Facts != nil && d.Facts.Os != nil && *d.Facts.Os != "" {
			row[3] = wire.Printable(*d.Facts.Os, 40)
		}
		if len(d.Tags) > 0 {
			row[4] = wire.Printable(strings.Join(d.Tags, ","), 60)
		}
		rows = append(rows, row)
	}
	return printTable(w, rows)
}

// printTable aligns columns, all but the last of each row padded.
func printTable(w io.Writer, rows [][]string) error {
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		for i, cell := range row[:len(row)-1] {
			b.WriteString(cell)
			b.WriteString(strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell)+2))
		}
		b.WriteString(row[len(row)-1])
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func deviceState(d api.Device, now time.Time) string {
	switch {
	case d.Status == api.DeviceStatusPending:
		return "waits for approval"
	case d.Online:
		return "online"
	case d.LastSeenAt == nil:
		return "offline"
	}
	return "offline for " + now.Sub(*d.LastSeenAt).Truncate(time.Second).String()
}

// group is a group of an Ansible inventory in its static form.
type group struct {
	Hosts    map[string]map[string]string `json:"hosts,omitempty"`
	Children map[string]group             `json:"children,omitempty"`
}

// inventory names each device by its name; ssh reaches it as NAME.adit.
func inventory(list []api.Device) map[string]group {
	all := group{Hosts: map[string]map[string]string{}, Children: map[string]group{}}
	for _, d := range list {
		if !wire.ValidDeviceName(d.Name) || d.Status == api.DeviceStatusPending {
			continue
		}
		vars := map[string]string{"ansible_host": d.Name + hostSuffix}
		if d.DefaultLogin != nil && wire.ValidLogin(*d.DefaultLogin) {
			vars["ansible_user"] = *d.DefaultLogin
		}
		all.Hosts[d.Name] = vars
		for _, tag := range d.Tags {
			name := strings.ReplaceAll(tag, "-", "_") // what Ansible takes as a group's name
			if _, ok := all.Children[name]; !ok {
				all.Children[name] = group{Hosts: map[string]map[string]string{}}
			}
			all.Children[name].Hosts[d.Name] = map[string]string{}
		}
	}
	return map[string]group{"all": all}
}
