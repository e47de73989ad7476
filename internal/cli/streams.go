package cli

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/aditdev/adit/internal/api"
	"github.com/aditdev/adit/internal/command"
)

const streamsUsage = `Usage: adit streams [--device DEVICE] [--user USER] [--json]
       adit streams close ID…

Lists the streams that are open now, yours or, for those who manage the hub, everybody's: who, to what, through which
door, from where, since when, and the bytes from and to the device. close ends them at both ends.

  --device DEVICE   only those to this device
  --user USER       only those of this user: id, e-mail or handle
  --json            print an array as the hub's API gives it
`

func streamsCommand() command.Command {
	return command.Command{Name: "streams", Summary: "List open streams, and end them", Usage: streamsUsage, Run: runStreams}
}

func runStreams(ctx context.Context, args []string, stdio command.Stdio) error {
	if len(args) > 0 && args[0] == "close" {
		return closeStreams(ctx, args[1:], stdio)
	}
	f := command.NewFlags("adit streams", streamsUsage)
	device, user, asJSON := f.String("device", "", ""), f.String("user", "", ""), f.Bool("json", false, "")
	if err := parse(f, args, 0, 0, stdio); err != nil {
		return err
	}
	a, err := readAccount()
	if err != nil {
		return err
	}
	var list []api.Stream
	if err := a.call(ctx, http.MethodGet, "streams"+query("device", *device, "user", *user), nil, &list); err != nil {
		return err
	}
	return printList(stdio, *asJSON, list, streamRows(list, time.Now()), "No stream is open.")
}

func streamRows(list []api.Stream, now time.Time) [][]string {
	rows := [][]string{{"ID", "USER", "DEVICE", "TARGET", "VIA", "FROM", "SINCE", "IN", "OUT"}}
	for _, s := range list {
		from := "-"
		if s.Address != nil {
			from = *s.Address
		}
		rows = append(rows, []string{s.ID, s.UserHandle, s.DeviceName, s.Target, s.Via, from,
			max(now.Sub(s.OpenedAt), 0).Truncate(time.Second).String(), size(s.BytesIn), size(s.BytesOut)})
	}
	return rows
}

// size is a number of bytes in three digits or four.
func size(n int64) string {
	unit := 0
	for ; n >= 10_000 && unit < 3; unit++ {
		n /= 1000
	}
	return strconv.FormatInt(n, 10) + [...]string{" B", " kB", " MB", " GB"}[unit]
}

func closeStreams(ctx context.Context, args []string, stdio command.Stdio) error {
	f := command.NewFlags("adit streams close", streamsUsage)
	if err := parse(f, args, 1, -1, stdio); err != nil {
		return err
	}
	a, err := readAccount()
	if err != nil {
		return err
	}
	for _, id := range f.Args() {
		if err := a.call(ctx, http.MethodDelete, "streams/"+url.PathEscape(id), nil, nil); err != nil {
			return err
		}
	}
	return nil
}
