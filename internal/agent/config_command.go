package agent

import (
	"fmt"
	"slices"
	"strings"

	"github.com/aditdev/adit/internal/agent/runner"
	"github.com/aditdev/adit/internal/api"
)

// commandTable is the array of tables of agent.toml that names what the hub may have run.
const commandTable = "command"

// commandFields adds where the keys of commands go: into the last one that began.
func (c *Config) commandFields(to map[string]any) {
	last := &runner.Command{} // so that the keys are known where none has begun
	if n := len(c.Commands); n > 0 {
		last = &c.Commands[n-1]
	}
	to[commandTable] = &c.Commands
	for key, field := range map[string]any{
		"name": &last.Name, "argv": &last.Argv, "parameters": &last.Parameters, "timeout": &last.Timeout, "user": &last.User,
		"workdir": &last.WorkDir, "environment": &last.Environment,
	} {
		to[commandTable+"."+key] = field
	}
}

// commandText is c as agent.toml has it.
func commandText(c runner.Command) string {
	d := runner.DefaultCommand()
	text := "\n[[command]]\nname = " + tomlString(c.Name) + "\nargv = " + tomlList(c.Argv) + "\n"
	for _, o := range [...]struct {
		key, value string
		set        bool
	}{
		{"parameters", tomlList(c.Parameters), len(c.Parameters) > 0}, {"timeout", tomlString(c.Timeout), c.Timeout != d.Timeout},
		{"user", tomlString(c.User), c.User != d.User}, {"workdir", tomlString(c.WorkDir), c.WorkDir != d.WorkDir},
		{"environment", tomlList(c.Environment), len(c.Environment) > 0},
	} {
		if o.set {
			text += o.key + " = " + o.value + "\n"
		}
	}
	return text
}

// commandFacts are what the hub is told of commands: names and parameters, not what is run. nil for none.
func commandFacts(c Config) *[]api.DeviceCommand {
	if len(c.Commands) == 0 {
		return nil
	}
	list := make([]api.DeviceCommand, len(c.Commands))
	for i, command := range c.Commands {
		list[i] = api.DeviceCommand{Name: command.Name, Parameters: []api.DeviceCommandParameter{}}
		for _, p := range command.Takes() {
			list[i].Parameters = append(list[i].Parameters, api.DeviceCommandParameter{Name: p.Name, Pattern: p.Pattern})
		}
	}
	return &list
}

// commandsText is the line of `adit agent status` about commands.
func commandsText(list *[]api.DeviceCommand, allowed bool) string {
	if list == nil {
		return ""
	}
	names := make([]string, 0, len(*list))
	for _, c := range *list {
		name := c.Name
		for _, p := range c.Parameters {
			name += " " + p.Name + "=…"
		}
		names = append(names, name)
	}
	slices.Sort(names)
	if !allowed {
		return fmt.Sprintf("The hub may run no commands (policy.run is false); agent.toml names %s.\n", strings.Join(names, ", "))
	}
	return fmt.Sprintf("The hub may run %s.\n", strings.Join(names, ", "))
}
