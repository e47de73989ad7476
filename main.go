// Command adit-hub is the server of Adit: one web app behind one HTTPS port that reaches devices behind NAT and
// firewalls. `adit-hub serve` runs it; the other commands work on its data directory, also while it runs.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/aditdev/adit/internal/command"
	"github.com/aditdev/adit/internal/webhook/transform"
	"github.com/aditdev/adit/internal/wire"
)

func main() {
	transform.WorkIfAsked() // the hub starts itself as a worker for programs of people
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := run(ctx, program{
		args: os.Args[1:], environ: os.Environ(), stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
	})
	stop()
	os.Exit(status)
}

// program is what a run of adit-hub sees of the world, so that tests can be it.
type program struct {
	args, environ  []string
	stdin          io.Reader
	stdout, stderr io.Writer
	// listening is told the address once the hub serves; nil in main.
	listening func(address string)
	// programs are what the hub hands out to devices, and updateWithin is how long an updated one has to come online; zero
	// values, as in main, mean what is embedded and updates.Within.
	programs     fs.FS
	updateWithin time.Duration
}

// commands is the command line, as kong reads it.
type commands struct {
	Serve   serveCommand   `cmd:"" help:"Run the hub."`
	User    userCommands   `cmd:"" help:"Make users, and let them in again."`
	Token   tokenCommands  `cmd:"" help:"Make API tokens."`
	Grant   grantCommands  `cmd:"" help:"Say who may reach which devices."`
	MQTT    mqttCommands   `cmd:"" name:"mqtt" help:"Who may speak MQTT."`
	Keys    keysCommands   `cmd:"" help:"List the hub's tunnel keys, and replace them."`
	Doctor  doctorCommand  `cmd:"" help:"Try how stock OpenSSH reaches this hub, and have the pages show what works."`
	Backup  backupCommand  `cmd:"" help:"Write one consistent file, also while the hub serves."`
	Restore restoreCommand `cmd:"" help:"Put a backup into the data directory. The hub must not run."`
	Version versionCommand `cmd:"" help:"Print the version."`
}

// run is the whole program but for signals and the process's end. It returns the exit status of docs/errors.md.
func run(ctx context.Context, p program) int {
	err := dispatch(ctx, p)
	if err == nil {
		return 0
	}
	fmt.Fprintf(p.stderr, "adit-hub: %v\n", err)
	if _, ok := errors.AsType[*kong.ParseError](err); ok {
		fmt.Fprintln(p.stderr, "Try: adit-hub --help")
		return wire.Invalid.ExitCode()
	}
	return wire.CodeOf(err).ExitCode()
}

// errHelp ends a run that only printed help.
var errHelp = errors.New("help was printed")

func dispatch(ctx context.Context, p program) (err error) {
	defer func() {
		// kong ends help and completion by its exit function, which here must not end the process.
		if r := recover(); r == errHelp { //nolint:errorlint // the very value
			err = nil
		} else if r != nil {
			panic(r)
		}
	}()
	var c commands
	parser, err := kong.New(&c, kong.Name("adit-hub"),
		kong.Description("The hub of Adit. Settings come from the environment; docs/settings.md lists them."),
		kong.Writers(p.stdout, p.stderr), kong.Exit(func(int) { panic(errHelp) }))
	if err != nil {
		return fmt.Errorf("command line: %w", err)
	}
	parsed, err := parser.Parse(p.args)
	if err != nil {
		return err
	}
	parsed.BindTo(ctx, (*context.Context)(nil))
	return parsed.Run(p)
}

type versionCommand struct {
	JSON bool `name:"json" help:"Print JSON."`
}

// Run prints the version. It needs no data directory.
func (v versionCommand) Run(p program) error {
	return p.print(v.JSON, map[string]string{"version": command.Version(), "platform": command.Platform()},
		"adit-hub %s\n", command.Version())
}
