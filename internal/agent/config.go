package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/aditdev/adit/internal/agent/bridge"
	"github.com/aditdev/adit/internal/agent/gateway"
	"github.com/aditdev/adit/internal/agent/runner"
	"github.com/aditdev/adit/internal/wire"
)

// Config is agent.toml: what the enrolment wrote and the device's owner may change. docs/install.md has every key.
type Config struct {
	Hub     string   // URL
	HubName string   // for people
	HubKeys []string // pinned tunnel keys, as wire.EncodeKey writes them; one or two
	Device  string   // dev_…
	Name    string

	Dial    string // HOST:PORT to connect to instead of the URL's
	Proxy   string // as HTTPS_PROXY, which wins where it is set
	NoProxy string // as NO_PROXY
	CAFile  string // further roots, PEM

	Policy   Policy
	Services Services
	MQTT     MQTT
	Commands []runner.Command
}

// Services are the addresses behind the named targets, HOST:PORT.
type Services struct {
	SSH  string // "auto": sshd where the hub's certificates open it, else the built-in server; "builtin"; or HOST:PORT
	MQTT string
	HTTP string
}

// Values of Services.SSH beside HOST:PORT.
const (
	sshAuto    = "auto"
	sshBuiltin = "builtin"
)

func defaultServices() Services {
	return Services{SSH: sshAuto, MQTT: "127.0.0.1:1883", HTTP: "127.0.0.1:80"}
}

// LoadConfig reads and checks agent.toml. It fails with fs.ErrNotExist where the machine is not enrolled, and with an
// Error of code Invalid for an unknown key or a value that makes no sense.
func LoadConfig(path string) (Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("read the agent's settings: %w", err)
	}
	return parseConfig(path, data)
}

func parseConfig(path string, data []byte) (Config, error) {
	c := Config{Policy: DefaultPolicy(), Services: defaultServices()}
	settings, err := parseTOML(string(data))
	if err != nil {
		return Config{}, wire.Errorf(wire.Invalid, "%s: %s.", path, err)
	}
	var lines []int // where the commands begin
	for _, s := range settings {
		if err := c.set(path, s); err != nil {
			return Config{}, err
		}
		if s.key == commandTable {
			lines = append(lines, s.line)
		}
	}
	for i, command := range c.Commands {
		if err := command.Check(); err != nil {
			return Config{}, wire.Errorf(wire.Invalid, "%s: line %d: %s", path, lines[i], wire.MessageOf(err))
		}
	}
	if err := c.check(); err != nil {
		return Config{}, wire.Errorf(wire.Invalid, "%s: %s", path, wire.MessageOf(err))
	}
	return c, nil
}

// fields are where the keys of agent.toml go.
func (c *Config) fields() map[string]any {
	p, s := &c.Policy, &c.Services
	all := map[string]any{
		"hub": &c.Hub, "hub_name": &c.HubName, "hub_keys": &c.HubKeys, "device": &c.Device, "name": &c.Name,
		"dial": &c.Dial, "proxy": &c.Proxy, "no_proxy": &c.NoProxy, "ca_file": &c.CAFile,
		"policy.targets": &p.Targets, "policy.logins": &p.Logins, "policy.root": &p.Root, "policy.rescue": &p.Rescue,
		"policy.run": &p.Run, "policy.update": &p.Update, "policy.root_password": &p.RootPassword, "policy.stream_resume": &p.StreamResume,
		"services.ssh": &s.SSH, "services.mqtt": &s.MQTT, "services.http": &s.HTTP,
	}
	c.MQTT.fields(all)
	c.commandFields(all)
	return all
}

func (c *Config) set(path string, s setting) error {
	for _, table := range [...]struct {
		name  string
		count int
	}{{"mqtt.user", len(c.MQTT.Users)}, {"mqtt.bridge", len(c.MQTT.Bridges)}, {commandTable, len(c.Commands)}} {
		if strings.HasPrefix(s.key, table.name+".") && table.count == 0 {
			return wire.Errorf(wire.Invalid, "%s: line %d: there may be several, so the table is written [[%s]].", path, s.line, table.name)
		}
	}
	want, fits := "", false
	switch field := c.fields()[s.key].(type) {
	case nil:
		return unknownKey(path, s.key, slices.Sorted(maps.Keys(c.fields())))
	case *string:
		want = `text in quotes`
		*field, fits = as[string](s.value)
	case *[]string:
		want = `a list, as ["a", "b"]`
		*field, fits = as[[]string](s.value)
	case *bool:
		want = "true or false"
		*field, fits = as[bool](s.value)
	case *int:
		want = "a whole number"
		*field, fits = as[int](s.value)
	case *oneOrMore:
		want = `text in quotes, or a list of them`
		if *field, fits = as[[]string](s.value); !fits {
			var one string
			one, fits = as[string](s.value)
			*field = oneOrMore{one}
		}
	case *[]gateway.User:
		want = "several tables, each [[mqtt.user]]"
		if _, fits = as[element](s.value); fits {
			*field = append(*field, gateway.User{})
		}
	case *[]bridge.Config:
		want = "several tables, each [[mqtt.bridge]]"
		if _, fits = as[element](s.value); fits {
			*field = append(*field, bridge.DefaultConfig())
		}
	case *[]runner.Command:
		want = "several tables, each [[command]]"
		if _, fits = as[element](s.value); fits {
			*field = append(*field, runner.DefaultCommand())
		}
	}
	if !fits {
		return wire.Errorf(wire.Invalid, "%s: line %d: %s takes %s.", path, s.line, s.key, want)
	}
	return nil
}

func as[T any](v any) (T, bool) {
	t, ok := v.(T)
	return t, ok
}

func unknownKey(path, key string, known []string) error {
	if near := wire.Nearest(key, known); near != "" {
		return wire.Errorf(wire.Invalid, "%s has the unknown key %q. Did you mean %q?", path, key, near)
	}
	return wire.Errorf(wire.Invalid, "%s has the unknown key %q. docs/install.md lists every key.", path, key)
}

func (c Config) check() error {
	if _, err := hubURL(c.Hub); err != nil {
		return err
	}
	if !strings.HasPrefix(c.Device, "dev_") {
		return wire.Errorf(wire.Invalid, "device %q is no device id.", c.Device)
	}
	if len(c.HubKeys) == 0 || len(c.HubKeys) > 2 {
		return wire.Errorf(wire.Invalid, "hub_keys needs one key, or two while the hub changes its key.")
	}
	for _, k := range c.HubKeys {
		if _, err := wire.DecodeKey(k); err != nil {
			return err
		}
	}
	return errors.Join(c.Services.check(), c.Policy.check(), c.MQTT.check(), runner.CheckAll(c.Commands))
}

func (s Services) check() error {
	if s.SSH != sshAuto && s.SSH != sshBuiltin && !isAddress(s.SSH) {
		return wire.Errorf(wire.Invalid, `services.ssh %q is neither "auto", "builtin" nor HOST:PORT.`, s.SSH)
	}
	for name, address := range map[string]string{"mqtt": s.MQTT, "http": s.HTTP} {
		if !isAddress(address) {
			return wire.Errorf(wire.Invalid, "services.%s %q is not HOST:PORT, as 127.0.0.1:1883.", name, address)
		}
	}
	return nil
}

func isAddress(s string) bool {
	_, err := wire.ParseTarget("tcp:" + s)
	return err == nil
}

// hubURL checks a hub's URL. Without TLS only this very machine may be the hub.
func hubURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
		return nil, wire.Errorf(wire.Invalid, "%q is no hub's URL; it looks like https://hub.example.com.", s)
	}
	if u.Scheme == "https" || u.Scheme == "http" && isLoopbackHost(u.Hostname()) {
		return u, nil
	}
	return nil, wire.Errorf(wire.Invalid, "%q must begin with https://; http:// is for a hub on this very machine.", s)
}

// save writes c to path, 0600. It is written by hand: a library's encoder knows no comments, and people read this.
func (c Config) save(path string) error { return writeFile(path, []byte(c.text()), 0o600) }

func (c Config) text() string {
	var b strings.Builder
	b.WriteString(`# Settings of the Adit agent; docs/install.md explains every key. A change counts from the agent's next start.
hub = ` + tomlString(c.Hub) + `
hub_name = ` + tomlString(c.HubName) + `
hub_keys = ` + tomlList(c.HubKeys) + `
device = ` + tomlString(c.Device) + `
name = ` + tomlString(c.Name) + `
`)
	for _, o := range [...]struct{ key, value string }{
		{"dial", c.Dial}, {"proxy", c.Proxy}, {"no_proxy", c.NoProxy}, {"ca_file", c.CAFile},
	} {
		if o.value != "" {
			b.WriteString(o.key + " = " + tomlString(o.value) + "\n")
		}
	}
	p := c.Policy
	b.WriteString(`
# What this device allows, whatever the hub says.
[policy]
targets = ` + tomlList(p.Targets) + `
logins = ` + tomlList(p.Logins) + `
root = ` + strconv.FormatBool(p.Root) + `
rescue = ` + strconv.FormatBool(p.Rescue) + `
run = ` + strconv.FormatBool(p.Run) + `
update = ` + strconv.FormatBool(p.Update) + `
root_password = ` + strconv.FormatBool(p.RootPassword) + `
stream_resume = ` + strconv.Itoa(p.StreamResume) + `

# What the named targets are here.
[services]
ssh = ` + tomlString(c.Services.SSH) + `
mqtt = ` + tomlString(c.Services.MQTT) + `
http = ` + tomlString(c.Services.HTTP) + `
`)
	b.WriteString(c.MQTT.text())
	for _, command := range c.Commands {
		b.WriteString(commandText(command))
	}
	return b.String()
}

// tomlString is s as a basic string of TOML.
func tomlString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteRune('\\')
			b.WriteRune(r)
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func tomlList(list []string) string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = tomlString(s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// loadEnrolled is LoadConfig with a hint for a machine that is no device yet.
func loadEnrolled(p Paths) (Config, error) {
	c, err := LoadConfig(p.Config())
	if errors.Is(err, fs.ErrNotExist) {
		return c, notEnrolled(p)
	}
	if errors.Is(err, fs.ErrPermission) {
		return c, wire.Errorf(wire.Forbidden, "%s is not yours to read. Try again with sudo.", p.Config())
	}
	return c, err
}

func notEnrolled(p Paths) error {
	if p.User && exists(Paths{Dir: systemDir}.Principals()) {
		return wire.Errorf(wire.NotFound, "You have no agent of your own here; this machine has one for all. Try again with sudo.")
	}
	return wire.Errorf(wire.NotFound,
		"This machine is no device yet (there is no %s). Paste the line that the hub's page \"Add device\" shows.", p.Config())
}
