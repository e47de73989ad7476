package agent

import (
	"errors"
	"strconv"
	"strings"

	"github.com/aditdev/adit/internal/agent/bridge"
	"github.com/aditdev/adit/internal/agent/gateway"
	"github.com/aditdev/adit/internal/wire"
)

// MQTT is the part [mqtt] of agent.toml: the device's own door to the hub's broker. docs/mqtt-device.md explains it.
type MQTT struct {
	Listen  oneOrMore
	Users   []gateway.User
	Bridges []bridge.Config
}

// oneOrMore is a list that may be written as its only element.
type oneOrMore []string

// fields adds where the keys go; those of users and bridges into the last one that began.
func (m *MQTT) fields(to map[string]any) {
	to["mqtt.listen"], to["mqtt.user"], to["mqtt.bridge"] = &m.Listen, &m.Users, &m.Bridges
	var u gateway.User
	var b bridge.Config
	user, bridge := &u, &b // so that their keys are known where none has begun
	if n := len(m.Users); n > 0 {
		user = &m.Users[n-1]
	}
	if n := len(m.Bridges); n > 0 {
		bridge = &m.Bridges[n-1]
	}
	for key, field := range map[string]any{"name": &user.Name, "password_hash": &user.PasswordHash, "max_packet": &user.MaxPacket, "device": &user.Device} {
		to["mqtt.user."+key] = field
	}
	for key, field := range map[string]any{
		"name": &bridge.Name, "broker": &bridge.Broker, "username": &bridge.Username, "password": &bridge.Password,
		"client_id": &bridge.ClientID, "topics": &bridge.Topics, "version": &bridge.Version, "clean_session": &bridge.CleanSession,
		"queue_messages": &bridge.QueueMessages, "queue_bytes": &bridge.QueueBytes, "queue_age": &bridge.QueueAge, "queue_qos0": &bridge.QueueQoS0,
	} {
		to["mqtt.bridge."+key] = field
	}
}

func (m MQTT) check() error {
	var all []error
	names := map[string]bool{}
	for _, entry := range m.Listen {
		all = append(all, gateway.CheckAddress(entry, len(m.Users)))
	}
	twice := func(name string) {
		if names[name] {
			all = append(all, wire.Errorf(wire.Invalid, "%s comes twice.", name))
		}
		names[name] = true
	}
	for _, u := range m.Users {
		all = append(all, u.Check())
		twice("mqtt.user " + u.Name)
	}
	for _, b := range m.Bridges {
		_, err := b.Check()
		all = append(all, err)
		twice("mqtt.bridge " + b.Name)
	}
	return errors.Join(all...)
}

// text is m as agent.toml has it; nothing where nothing is set.
func (m MQTT) text() string {
	var b strings.Builder
	if len(m.Listen) > 0 {
		b.WriteString("\n# MQTT ports of this device that come out at the hub.\n[mqtt]\nlisten = " + tomlList(m.Listen) + "\n")
	}
	for _, u := range m.Users {
		b.WriteString(userText(u))
	}
	for _, c := range m.Bridges {
		b.WriteString("\n[[mqtt.bridge]]\n")
		line := func(key, value string, set bool) {
			if set {
				b.WriteString(key + " = " + value + "\n")
			}
		}
		d := bridge.DefaultConfig()
		line("name", tomlString(c.Name), true)
		line("broker", tomlString(c.Broker), true)
		line("username", tomlString(c.Username), c.Username != "")
		line("password", tomlString(c.Password), c.Password != "")
		line("client_id", tomlString(c.ClientID), c.ClientID != "")
		line("topics", tomlList(c.Topics), true)
		line("version", tomlString(c.Version), c.Version != "")
		line("clean_session", "true", c.CleanSession)
		line("queue_messages", strconv.Itoa(c.QueueMessages), c.QueueMessages != d.QueueMessages)
		line("queue_bytes", strconv.Itoa(c.QueueBytes), c.QueueBytes != d.QueueBytes)
		line("queue_age", tomlString(c.QueueAge), c.QueueAge != d.QueueAge)
		line("queue_qos0", "false", !c.QueueQoS0)
	}
	return b.String()
}

const userHeader = "[[mqtt.user]]"

func userText(u gateway.User) string {
	text := "\n" + userHeader + "\nname = " + tomlString(u.Name) + "\npassword_hash = " + tomlString(u.PasswordHash) + "\n"
	if u.MaxPacket > 0 {
		text += "max_packet = " + strconv.Itoa(u.MaxPacket) + "\n"
	}
	if u.Device {
		text += "device = true\n"
	}
	return text
}
