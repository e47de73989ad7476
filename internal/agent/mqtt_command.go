package agent

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/aditdev/adit/internal/agent/bridge"
	"github.com/aditdev/adit/internal/agent/gateway"
	"github.com/aditdev/adit/internal/command"
	"github.com/aditdev/adit/internal/wire"
)

const mqttUserUsage = `Usage: adit agent mqtt-user add NAME [--max-packet BYTES] [--device] [--password-stdin] [--dir DIR]
       adit agent mqtt-user remove NAME [--dir DIR]
       adit agent mqtt-user list [--dir DIR]

Usernames and passwords for the MQTT listeners of this device ([mqtt] listen in agent.toml). With the first one, whoever
connects needs one. A thing NAME writes devices/DEVICE/NAME/# and reads cmds/DEVICE/NAME/# at the hub.

  --max-packet BYTES  what the thing takes at once: 256 for an Arduino's PubSubClient as it comes
  --device            speak as the device itself, as a local Mosquitto's bridge does
  --password-stdin    take this password, one line, instead of making one

The password is printed once. A change counts from the agent's next start.
`

func mqttUserCommand(_ context.Context, args []string, stdio command.Stdio) error {
	what := ""
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		what, args = args[0], args[1:]
	}
	name := ""
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		name, args = args[0], args[1:]
	}
	var u gateway.User
	flags := command.NewFlags("adit agent mqtt-user", mqttUserUsage)
	dir := flags.String("dir", "", "")
	flags.IntVar(&u.MaxPacket, "max-packet", 0, "")
	flags.BoolVar(&u.Device, "device", false, "")
	fromStdin := flags.Bool("password-stdin", false, "")
	if err := flags.Parse(args, 0, 0, stdio); err != nil {
		return err
	}
	p := PathsIn(*dir)
	c, err := loadEnrolled(p)
	if err != nil {
		return err
	}
	u.Name = name
	switch {
	case what == "list" && name == "":
		return listMQTTUsers(c, stdio.Out)
	case what == "add" && name != "":
		return addMQTTUser(p, c, u, *fromStdin, stdio)
	case what == "remove" && name != "":
		return removeMQTTUser(p, c, name, stdio.Err)
	}
	return command.Usagef("mqtt-user takes add NAME, remove NAME or list. Its help: `adit agent mqtt-user --help`.")
}

func listMQTTUsers(c Config, w io.Writer) error {
	for _, u := range c.MQTT.Users {
		what := "thing"
		if u.Device {
			what = "device"
		}
		if u.MaxPacket > 0 {
			what += fmt.Sprintf(", at most %d bytes", u.MaxPacket)
		}
		if _, err := fmt.Fprintf(w, "%s\t%s\n", u.Name, what); err != nil {
			return err
		}
	}
	return nil
}

func addMQTTUser(p Paths, c Config, u gateway.User, fromStdin bool, stdio command.Stdio) error {
	for _, known := range c.MQTT.Users {
		if known.Name == u.Name {
			return wire.Errorf(wire.Conflict, "There is an mqtt-user %s already. `adit agent mqtt-user remove %s` first, for a new password.", u.Name, u.Name)
		}
	}
	password, hash := gateway.NewPassword()
	if fromStdin {
		line, err := bufio.NewReader(io.LimitReader(stdio.In, 1024)).ReadString('\n')
		if password = strings.TrimRight(line, "\r\n"); len(password) < 8 {
			return wire.Errorf(wire.Invalid, "A password on stdin has at least 8 characters in one line (%v).", err)
		}
		hash = gateway.Hash(password)
	}
	u.PasswordHash = hash
	if err := u.Check(); err != nil {
		return err
	}
	text, err := os.ReadFile(p.Config())
	if err != nil {
		return err
	}
	if err := replaceConfig(p, strings.TrimRight(string(text), "\n")+"\n"+userText(u)); err != nil {
		return err
	}
	if !fromStdin {
		fmt.Fprintln(stdio.Out, password)
	}
	fmt.Fprintf(stdio.Err, "%s may connect from the agent's next start. The password is shown this once.\n", u.Name)
	return nil
}

func removeMQTTUser(p Paths, c Config, name string, w io.Writer) error {
	text, err := os.ReadFile(p.Config())
	if err != nil {
		return err
	}
	kept, found := cutUser(string(text), name)
	if !found {
		return wire.Errorf(wire.NotFound, "%s has no mqtt-user %s.", p.Config(), name)
	}
	if len(c.MQTT.Users) == 1 && len(c.MQTT.Listen) > 0 {
		fmt.Fprintln(w, "It was the last one: on loopback everybody is the device from now on, and other listeners are refused.")
	}
	return replaceConfig(p, kept)
}

// cutUser takes the [[mqtt.user]] of a name out of the text, and nothing else: people write comments.
func cutUser(text, name string) (kept string, found bool) {
	var out, table []string
	flush := func() {
		settings, err := parseTOML(strings.Join(table, "\n"))
		if err == nil && len(settings) > 0 && settings[0].key == "mqtt.user" {
			for _, s := range settings {
				if s.key == "mqtt.user.name" && s.value == name {
					found, table = true, nil
				}
			}
		}
		out, table = append(out, table...), nil
	}
	for _, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(strings.TrimSpace(line), "[") {
			flush()
		}
		table = append(table, line)
	}
	flush()
	return strings.TrimRight(strings.Join(out, "\n"), "\n") + "\n", found
}

// replaceConfig writes agent.toml if it is one.
func replaceConfig(p Paths, text string) error {
	if _, err := parseConfig(p.Config(), []byte(text)); err != nil {
		return err
	}
	return writeFile(p.Config(), []byte(text), 0o600)
}

const mqttCheckUsage = `Usage: adit agent mqtt-check [MOSQUITTO.CONF…] [--dir DIR]

Looks at the MQTT part of agent.toml, and at the bridges of Mosquitto's own settings where files are named: topic lines that
do something else than they seem to, with the line that was meant; prefixes without a slash; lines that make a loop. Changes
nothing. Exit status 1 if something must be done.
`

func mqttCheckCommand(_ context.Context, args []string, stdio command.Stdio) error {
	var files []string
	for len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		files, args = append(files, args[0]), args[1:]
	}
	flags := command.NewFlags("adit agent mqtt-check", mqttCheckUsage)
	dir := flags.String("dir", "", "")
	if err := flags.Parse(args, 0, -1, stdio); err != nil {
		return err
	}
	var found []finding
	for _, file := range append(files, flags.Args()...) {
		more, err := checkMosquitto(file)
		if err != nil {
			return err
		}
		found = append(found, more...)
	}
	p := PathsIn(*dir)
	if c, err := loadEnrolled(p); err == nil {
		found = append(found, examineMQTT(c)...)
	} else if len(found) == 0 {
		return err
	}
	if err := printFindings(stdio.Out, found); err != nil {
		return err
	}
	for _, f := range found {
		if f.State == stateBad {
			return &command.Exit{Status: wire.Internal.ExitCode()}
		}
	}
	return nil
}

// examineMQTT says what of the settings is probably not meant; what is wrong keeps the agent from starting anyway.
func examineMQTT(c Config) (found []finding) {
	for _, b := range c.MQTT.Bridges {
		notes, err := b.Check()
		for _, note := range notes {
			found = append(found, finding{stateNote, "mqtt", "bridge " + b.Name + ": " + note})
		}
		if err == nil && len(notes) == 0 {
			found = append(found, finding{stateOK, "mqtt", "bridge " + b.Name + " to " + b.Broker})
		}
	}
	for _, entry := range c.MQTT.Listen {
		found = append(found, finding{stateOK, "mqtt", fmt.Sprintf("listens on %s, %d users", entry, len(c.MQTT.Users))})
	}
	return found
}

// checkMosquitto reads the topic lines of each connection in a mosquitto.conf.
func checkMosquitto(file string) ([]finding, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, wire.Wrap(err, wire.NotFound, "%s cannot be read", file)
	}
	found := []finding{}
	name, topics := "", []string(nil)
	flush := func() {
		if name != "" {
			found = append(found, checkConnection(file, name, topics)...)
		}
		topics = nil
	}
	for _, line := range strings.Split(string(text), "\n") {
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		switch words[0] {
		case "connection":
			flush()
			name = words[1]
		case "topic":
			topics = append(topics, strings.Join(words, " "))
		}
	}
	if flush(); len(found) == 0 {
		found = append(found, finding{stateNote, "mosquitto", file + " has no bridge (connection NAME)"})
	}
	return found, nil
}

func checkConnection(file, name string, topics []string) (found []finding) {
	bad := false
	for _, line := range topics {
		if _, _, err := bridge.ParseTopic(line); err != nil {
			found, bad = append(found, finding{stateBad, "mosquitto", file + ": " + name + ": " + wire.MessageOf(err)}), true
		}
	}
	if bad {
		return found
	}
	_, notes, err := bridge.ParseTopics(topics)
	for _, note := range notes {
		found = append(found, finding{stateNote, "mosquitto", file + ": " + name + ": " + note})
	}
	if err != nil {
		found = append(found, finding{stateBad, "mosquitto", file + ": " + name + ": " + wire.MessageOf(err)})
	}
	if len(found) == 0 {
		found = append(found, finding{stateOK, "mosquitto", fmt.Sprintf("%s: %s, %d topic lines", file, name, len(topics))})
	}
	return found
}
