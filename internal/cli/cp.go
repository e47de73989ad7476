package cli

import (
	"context"
	"strings"

	"github.com/aditdev/adit/internal/command"
)

const cpUsage = `Usage: adit cp [scp's options] SOURCE… TARGET

Copies files with OpenSSH's scp. A path on a device is written [LOGIN@]DEVICE:PATH.

Examples:
  adit cp report.txt kitchen:
  adit cp -r pi@kitchen:/var/log ./logs
`

func cpCommand() command.Command {
	return command.Command{Name: "cp", Summary: "Copy files to and from devices", Usage: cpUsage, Run: runCp}
}

// scpWithValue are scp's options that take a value (scp(1)).
const scpWithValue = "cDFiJloPSX"

func runCp(ctx context.Context, args []string, stdio command.Stdio) error {
	var words []string
	var device, login string
	paths := 0
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if strings.HasPrefix(arg, "-") && len(arg) > 1 {
			words = append(words, arg)
			if at := strings.IndexAny(arg[1:], scpWithValue); at >= 0 && at+2 == len(arg) && i+1 < len(args) {
				i++
				words = append(words, args[i])
			}
			continue
		}
		paths++
		host, path, remote := strings.Cut(arg, ":")
		if !remote || strings.Contains(host, "/") {
			words = append(words, arg)
			continue
		}
		l, d, err := splitLogin(host)
		if err != nil {
			return err
		}
		login, device = l, d
		if l != "" {
			l += "@"
		}
		words = append(words, l+hostOf(d)+":"+path)
	}
	if paths < 2 || device == "" {
		return command.Usagef("adit cp needs a source and a target, one of them on a device: adit cp report.txt kitchen:")
	}
	return as255(become255(ctx, device, login, stdio, func(config string) []string {
		return append([]string{"scp", "-F", config}, words...)
	}))
}
