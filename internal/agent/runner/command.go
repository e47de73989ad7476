package runner

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/aditdev/adit/internal/wire"
)

const (
	maxCommands = 32
	maxTold     = 8 << 10 // bytes of names and patterns, which are among the facts that the hub keeps
)

// Command is a table [[command]] of agent.toml: a program that the hub may have run. docs/install.md has the keys.
type Command struct {
	Name        string
	Argv        []string // the program's path and its arguments; {x} is the value of parameter x
	Parameters  []string // NAME=PATTERN
	Timeout     string   // as time.ParseDuration has it
	User        string   // the account; "" for the agent's own, and nobody where that is root
	WorkDir     string
	Environment []string // NAME=VALUE, beside PATH, LANG, HOME, USER and LOGNAME
}

// DefaultCommand is what a table begins with.
func DefaultCommand() Command { return Command{Timeout: "10s", WorkDir: "/"} }

// Check fails with an Error of code Invalid where the table makes no sense.
func (c Command) Check() error {
	_, err := c.prepare()
	return err
}

// CheckAll fails with an Error of code Invalid where the commands cannot stand together.
func CheckAll(all []Command) error {
	if len(all) > maxCommands {
		return wire.Errorf(wire.Invalid, "there are %d tables [[command]]; at most %d may be.", len(all), maxCommands)
	}
	told := 0
	for i, c := range all {
		if slices.ContainsFunc(all[:i], func(other Command) bool { return other.Name == c.Name }) {
			return wire.Errorf(wire.Invalid, "command %s comes twice.", c.Name)
		}
		told += len(c.Name) + len(strings.Join(c.Parameters, "")) + 40*len(c.Parameters)
	}
	if told > maxTold {
		return wire.Errorf(wire.Invalid, "the names and patterns of all commands take more than %d bytes.", maxTold)
	}
	return nil
}

// Parameter is what a command takes, for people.
type Parameter struct{ Name, Pattern string }

// Takes are the parameters in their order.
func (c Command) Takes() []Parameter {
	out := make([]Parameter, len(c.Parameters))
	for i, p := range c.Parameters {
		out[i].Name, out[i].Pattern, _ = strings.Cut(p, "=")
	}
	return out
}

// prepared is a command that was checked.
type prepared struct {
	Command
	timeout  time.Duration
	argv     []element
	patterns map[string]*Pattern
}

// element is one of an argv: texts and parameters in turns, beginning and ending with a text. So a value is never more than its
// part of one element, whatever is in it.
type element struct{ texts, parameters []string }

func (c Command) prepare() (*prepared, error) {
	p := &prepared{Command: c, patterns: map[string]*Pattern{}}
	if !validName(c.Name, 63) {
		return nil, wire.Errorf(wire.Invalid, "the command's name %q is not made of a-z, 0-9, - and _.", c.Name)
	}
	for _, check := range []func() error{p.checkPlace, p.readParameters, p.readArgv} {
		if err := check(); err != nil {
			return nil, wire.Errorf(wire.Invalid, "command %s: %s.", c.Name, err)
		}
	}
	return p, nil
}

// checkPlace checks where and for how long the command runs.
func (p *prepared) checkPlace() (err error) {
	p.timeout, err = time.ParseDuration(p.Timeout)
	if err != nil || p.timeout <= 0 || p.timeout > wire.MaxRunSeconds*time.Second {
		return fmt.Errorf(`timeout %q is none; it looks like "10s" and is at most 5m`, p.Timeout)
	}
	if p.User != "" && !wire.ValidLogin(p.User) {
		return fmt.Errorf("user %q is no account's name", p.User)
	}
	if !filepath.IsAbs(p.WorkDir) {
		return fmt.Errorf("workdir %q does not begin with /", p.WorkDir)
	}
	for _, e := range p.Environment {
		if name, _, ok := strings.Cut(e, "="); !ok || name == "" {
			return fmt.Errorf("environment %q is not NAME=VALUE", e)
		}
	}
	if strings.Contains(strings.Join(slices.Concat(p.Argv, p.Environment, []string{p.WorkDir}), ""), "\x00") {
		return errors.New("a NUL character cannot be passed to a program")
	}
	return nil
}

func (p *prepared) readParameters() error {
	if len(p.Parameters) > wire.MaxRunArguments {
		return fmt.Errorf("it has %d parameters; at most %d may be", len(p.Parameters), wire.MaxRunArguments)
	}
	for _, text := range p.Parameters {
		name, pattern, ok := strings.Cut(text, "=")
		if !ok || !validName(name, 32) {
			return fmt.Errorf("parameter %q is not NAME=PATTERN, as speed=[0-9]{1,3}", text)
		}
		if p.patterns[name] != nil {
			return fmt.Errorf("parameter %s comes twice", name)
		}
		parsed, err := ParsePattern(pattern)
		if err != nil {
			return fmt.Errorf("the pattern of parameter %s: %w", name, err)
		}
		p.patterns[name] = parsed
	}
	return nil
}

func (p *prepared) readArgv() error {
	if len(p.Argv) == 0 || !filepath.IsAbs(p.Argv[0]) {
		return errors.New("argv begins with the program's whole path")
	}
	used := map[string]bool{}
	for _, text := range p.Argv {
		e, err := parseElement(text)
		if err != nil {
			return err
		}
		for _, name := range e.parameters {
			if p.patterns[name] == nil {
				return fmt.Errorf("argv has {%s}, for which parameters has no pattern", name)
			}
			used[name] = true
		}
		p.argv = append(p.argv, e)
	}
	if len(p.argv[0].parameters) > 0 {
		return errors.New("the program itself cannot be a parameter")
	}
	for name := range p.patterns {
		if !used[name] {
			return fmt.Errorf("argv does not use parameter {%s}", name)
		}
	}
	return nil
}

// parseElement reads an element of argv, where {{ and }} are the characters { and }.
func parseElement(text string) (element, error) {
	var e element
	var literal strings.Builder
	for rest := text; rest != ""; {
		i := strings.IndexAny(rest, "{}")
		if i < 0 {
			literal.WriteString(rest)
			break
		}
		literal.WriteString(rest[:i])
		c := rest[i]
		rest = rest[i+1:]
		if rest != "" && rest[0] == c {
			literal.WriteByte(c)
			rest = rest[1:]
			continue
		}
		name, behind, ok := strings.Cut(rest, "}")
		if c == '}' || !ok || !validName(name, 32) {
			return e, fmt.Errorf("%q has a %c that belongs to no {parameter}; the character itself is written twice", text, c)
		}
		e.texts, e.parameters = append(e.texts, literal.String()), append(e.parameters, name)
		literal.Reset()
		rest = behind
	}
	e.texts = append(e.texts, literal.String())
	return e, nil
}

// validName accepts a-z, 0-9, - and _, beginning with a letter or digit.
func validName(s string, most int) bool {
	return s != "" && len(s) <= most && wire.IsWord(s, "-_") && wire.IsWord(s[:1], "") && strings.ToLower(s) == s
}

// arguments are argv with values in it. It fails with an Error of code Invalid, which says what the parameter takes.
func (p *prepared) arguments(values map[string]string) ([]string, error) {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if p.patterns[name] == nil {
			return nil, wire.Errorf(wire.Invalid, "The command %s has no parameter %s.", p.Name, wire.Printable(name, 40))
		}
	}
	for _, takes := range p.Takes() {
		value, given := values[takes.Name]
		switch {
		case !given:
			return nil, wire.Errorf(wire.Invalid, "The command %s needs a value for its parameter %s.", p.Name, takes.Name)
		case strings.Contains(value, "\x00") || !p.patterns[takes.Name].Match(value):
			return nil, wire.Errorf(wire.Invalid, "The command %s does not take %q for its parameter %s, which must match %s.",
				p.Name, wire.Printable(value, 60), takes.Name, takes.Pattern)
		}
	}
	argv := make([]string, len(p.argv))
	for i, e := range p.argv {
		var err error
		if argv[i], err = p.fill(e, values); err != nil {
			return nil, err
		}
	}
	return argv, nil
}

// fill puts values into an element. One that would become an option where the element is none is refused, unless the
// parameter's own pattern begins with "-".
func (p *prepared) fill(e element, values map[string]string) (string, error) {
	out := e.texts[0]
	for i, name := range e.parameters {
		if out == "" && strings.HasPrefix(values[name], "-") && !p.patterns[name].dash {
			return "", wire.Errorf(wire.Invalid, "The command %s does not take %q for its parameter %s: it begins with -, and would be an option. "+
				"A pattern that begins with - allows that.", p.Name, wire.Printable(values[name], 60), name)
		}
		out += values[name] + e.texts[i+1]
	}
	return out, nil
}
