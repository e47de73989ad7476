// Package command is the shape of `adit`'s subcommands: a table of rows, each with its own help text, and what they
// share in reading flags, printing errors and choosing an exit status. It stands between cmd/adit and the packages
// that own the rows, internal/cli and internal/agent.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/aditdev/adit/internal/wire"
)

// Command is one row of a table.
type Command struct {
	Name    string // as typed
	Summary string // one line of the table's help; a row without one is hidden
	Usage   string // the whole help of the command, ending in a newline
	Run     func(ctx context.Context, args []string, stdio Stdio) error
}

// Stdio is where a command reads and writes. Data goes to Out; everything said to a person goes to Err.
type Stdio struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
}

// Exit is an error that ends the program with Status. A nil Err prints nothing: the command has said what there was
// to say, or passes on the status of another program.
type Exit struct {
	Status int
	Err    error
}

func (e *Exit) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit status %d", e.Status)
	}
	return e.Err.Error()
}

func (e *Exit) Unwrap() error { return e.Err }

// Usagef is a refusal of what was typed, with a hint at what to type instead.
func Usagef(format string, args ...any) error { return wire.Errorf(wire.Invalid, format, args...) }

// Dispatch runs the row of table that args name. prefix is what was typed before, as "adit agent", and help the text
// printed for no command at all, before the list of rows.
func Dispatch(ctx context.Context, prefix, help string, table []Command, args []string, stdio Stdio) error {
	if len(args) == 0 {
		fmt.Fprint(stdio.Err, overview(prefix, help, table))
		return &Exit{Status: wire.Invalid.ExitCode()}
	}
	if isHelp(args[0]) || args[0] == "help" {
		fmt.Fprint(stdio.Out, overview(prefix, help, table))
		return nil
	}
	for _, c := range table {
		if c.Name != args[0] {
			continue
		}
		if len(args) == 2 && isHelp(args[1]) && c.Usage != "" {
			fmt.Fprint(stdio.Out, c.Usage)
			return nil
		}
		return c.Run(ctx, args[1:], stdio)
	}
	return unknown(prefix, table, args[0])
}

// Report writes err to w as `adit: <code>: <message>` and gives the exit status that goes with it.
func Report(w io.Writer, err error) int {
	if err == nil {
		return 0
	}
	status := wire.CodeOf(err).ExitCode()
	if exit, ok := errors.AsType[*Exit](err); ok {
		status, err = exit.Status, exit.Err
	}
	if err != nil {
		fmt.Fprintf(w, "adit: %s: %s\n", wire.CodeOf(err), Message(err))
	}
	return status
}

// Message is what stderr shows of err: on a person's own machine the cause is no secret, so all of it, in one line.
func Message(err error) string {
	return wire.Printable(strings.ReplaceAll(err.Error(), "\n", " "), 2000)
}

func overview(prefix, help string, table []Command) string {
	var b strings.Builder
	b.WriteString(help)
	fmt.Fprintf(&b, "\nCommands:\n")
	for _, c := range table {
		if c.Summary != "" {
			fmt.Fprintf(&b, "  %-16s %s\n", c.Name, c.Summary)
		}
	}
	fmt.Fprintf(&b, "\n`%s COMMAND --help` shows one of them in full.\n", prefix)
	return b.String()
}

func unknown(prefix string, table []Command, typed string) error {
	names := make([]string, len(table))
	for i, c := range table {
		names[i] = c.Name
	}
	if near := wire.Nearest(typed, names); near != "" {
		return Usagef("%q is no command of %s. Did you mean `%s %s`?", typed, prefix, prefix, near)
	}
	return Usagef("%q is no command of %s. `%s --help` lists them.", typed, prefix, prefix)
}

func isHelp(arg string) bool { return arg == "-h" || arg == "-help" || arg == "--help" }
