package incoming

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/aditdev/adit/internal/wire"
)

// Commands is what a device has told of the commands that the hub may have it run.
type Commands struct {
	Told       bool                // false: it was not connected yet since it knows any
	Allow      bool                // its policy.run
	Names      []string            // those of agent.toml
	Parameters map[string][]string // by command; one that is not there has not told its own
}

// commandsOf reads them out of a device's facts, as they are kept; agent is false for one that is here by its own OpenSSH, which runs none.
func commandsOf(facts string, agent bool) Commands {
	var f struct {
		Policy   *struct{ Run bool }
		Commands []struct {
			Name       string
			Parameters []struct{ Name string }
		}
	}
	if !agent {
		return Commands{Told: true, Allow: true}
	}
	if json.Unmarshal([]byte(facts), &f) != nil || f.Policy == nil {
		return Commands{}
	}
	c := Commands{Told: true, Allow: f.Policy.Run, Parameters: map[string][]string{}}
	for _, one := range f.Commands {
		name := wire.Printable(one.Name, 63)
		c.Names = append(c.Names, name)
		if one.Parameters == nil {
			continue
		}
		c.Parameters[name] = []string{}
		for _, p := range one.Parameters {
			c.Parameters[name] = append(c.Parameters[name], wire.Printable(p.Name, 63))
		}
	}
	return c
}

// misfit says which arguments of a command are missing and which are too many; "" where they fit. The device would refuse each request.
func (c Commands) misfit(a Action) string {
	takes, told := c.Parameters[a.Command]
	if !told {
		return ""
	}
	var says, unknown []string
	for _, name := range takes {
		if _, given := a.Arguments[name]; !given {
			says = append(says, name+"=…")
		}
	}
	if len(says) > 0 {
		says = []string{"needs " + strings.Join(says, " ")}
	}
	for _, name := range slices.Sorted(maps.Keys(a.Arguments)) {
		if !slices.Contains(takes, name) {
			unknown = append(unknown, wire.Printable(name, 40))
		}
	}
	if len(unknown) > 0 {
		says = append(says, "has no parameter "+strings.Join(unknown, ", "))
	}
	if len(says) == 0 {
		return ""
	}
	return wire.Printable(a.Command, 63) + " " + strings.Join(says, "; it ") + "."
}

// checkSettings says what of the settings cannot be, and has the action name its device by id, so that one that is renamed stays the same. was is what
// the source did before.
func (h *Hooks) checkSettings(ctx context.Context, was Action, s *Settings) error {
	if err := s.check(); err != nil {
		return err
	}
	a := &s.Action
	ref := a.Device
	if ref != "" && ref != was.Device {
		id, _, err := h.Devices.Find(ctx, ref)
		if wire.CodeOf(err) == wire.NotFound {
			return invalidField("action", wire.MessageOf(err))
		}
		if err != nil {
			return err
		}
		a.Device = id
	}
	return h.checkCommand(ctx, was, *a, ref)
}

// checkCommand refuses a command that the device is known not to have, or not with these arguments; one that has told nothing yet may have it. was is
// what the source did before: what is not changed is not refused, as its device may be gone. ref is what its device is called by whoever changes it.
func (h *Hooks) checkCommand(ctx context.Context, was, a Action, ref string) error {
	if a.Kind != ActionCommand || reflect.DeepEqual(was, a) {
		return nil
	}
	c, err := h.Devices.Commands(ctx, a.Device)
	switch {
	case wire.CodeOf(err) == wire.NotFound:
		return invalidField("action", wire.MessageOf(err))
	case err != nil:
		return fmt.Errorf("look for command: %w", err)
	case !c.Told:
		return nil
	case slices.Contains(c.Names, a.Command):
		if says := c.misfit(a); says != "" {
			return invalidField("action", says)
		}
		return nil
	}
	device, command := wire.Printable(ref, 63), wire.Printable(a.Command, 63)
	if len(c.Names) == 0 {
		return invalidField("action", fmt.Sprintf("%s has no command %s: it names none. Its owner does that in its agent.toml.", device, command))
	}
	return invalidField("action", fmt.Sprintf("%s has no command %s. It has: %s.", device, command, strings.Join(c.Names, ", ")))
}

// Note is what should be known of a source whose command may not be run, for people; "" where there is nothing.
func (h *Hooks) Note(ctx context.Context, s Source) (string, error) {
	a := s.Action
	if a.Kind != ActionCommand {
		return "", nil
	}
	c, err := h.Devices.Commands(ctx, a.Device)
	switch {
	case wire.CodeOf(err) == wire.NotFound:
		return "Its device was removed.", nil
	case err != nil:
		return "", fmt.Errorf("look for command: %w", err)
	case !c.Told:
		return fmt.Sprintf("Whether the device has a command %s is not known: it has not told its commands yet, which it does when it connects.", a.Command), nil
	case !slices.Contains(c.Names, a.Command):
		return fmt.Sprintf("The device has no command %s any more.", a.Command), nil
	case c.misfit(a) != "":
		return "Each request fails: " + c.misfit(a), nil
	case !c.Allow:
		return "The device lets the hub run nothing: its owner writes run = true below [policy] in its agent.toml.", nil
	}
	return "", nil
}
