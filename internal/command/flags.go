package command

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/aditdev/adit/internal/wire"
)

// errHelp ends a command that was asked for its help.
var errHelp = &Exit{Status: 0}

// Flags is a flag set whose errors come back as refusals with a hint, and whose help is the command's own text.
type Flags struct {
	*flag.FlagSet
	usage string
}

// NewFlags makes a flag set for the command typed as name, as "adit agent enroll".
func NewFlags(name, usage string) *Flags {
	set := flag.NewFlagSet(name, flag.ContinueOnError)
	set.SetOutput(io.Discard)
	return &Flags{FlagSet: set, usage: usage}
}

// Parse reads args. Between most and least arguments may stay behind the flags; most < 0 sets no bound.
// For --help it prints the command's usage to stdio.Out and returns an Exit of status 0.
func (f *Flags) Parse(args []string, least, most int, stdio Stdio) error {
	err := f.FlagSet.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdio.Out, f.usage)
		return errHelp
	case err != nil:
		return wire.Errorf(wire.Invalid, "%s. `%s --help` lists the options%s", err, f.Name(), f.hint(args))
	case f.NArg() < least:
		return Usagef("%s needs more arguments. Its help: `%s --help`.", f.Name(), f.Name())
	case most >= 0 && f.NArg() > most:
		return Usagef("%s does not know what to do with %q. Its help: `%s --help`.", f.Name(), f.Arg(most), f.Name())
	}
	return nil
}

// hint ends a sentence: with the flag that was meant, where one is close.
func (f *Flags) hint(args []string) string {
	var names []string
	f.VisitAll(func(known *flag.Flag) { names = append(names, known.Name) })
	for _, a := range args {
		name, _, _ := strings.Cut(strings.TrimLeft(a, "-"), "=")
		if !strings.HasPrefix(a, "-") || f.Lookup(name) != nil {
			continue
		}
		if near := wire.Nearest(name, names); near != "" {
			return "; did you mean --" + near + "?"
		}
	}
	return "."
}
