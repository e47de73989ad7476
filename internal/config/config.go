// Package config reads the hub's settings from the environment. Nothing else in the hub does. A name that begins with
// ADIT_ and is not listed here, a missing secret and a value that makes no sense are errors: the hub then does not
// start. docs/settings.md explains each setting.
package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// Config is every setting of the hub.
type Config struct {
	Dev            bool           // --dev: a laptop, loopback only
	Listen         string         // HOST:PORT of the HTTP listener
	URLs           []*url.URL     // ADIT_URL, the first is canonical; empty with Dev until the port is known
	Secret         string         // ADIT_SECRET; empty with Dev until it is made
	Data           string         // ADIT_DATA, a directory
	TrustedProxies []netip.Prefix // ADIT_TRUSTED_PROXIES
	SSHListen      string         // ADIT_SSH_ADDR, HOST:PORT of the listener for SSH without HTTPS; empty for none
	LogLevel       string         // debug, info, warn, error
	LogJSON        bool
	TCPPorts       TCPPorts       // ADIT_TCP_PORTS
	MQTTListen     string         // ADIT_MQTT_ADDR, HOST:PORT of the listener for MQTT without HTTPS; empty for none
	MQTTBackend    *url.URL       // ADIT_MQTT_BACKEND, a broker that stands in the place of the hub's own; nil for none
	WebhookAllow   []netip.Prefix // ADIT_WEBHOOK_ALLOW, where webhooks may go beside the public internet
}

// known names every setting. Those with false are reserved for parts that this version does not have: naming one is an
// error rather than a silence.
var known = map[string]bool{
	"ADIT_URL": true, "ADIT_SECRET": true, "ADIT_DATA": true, "ADIT_TRUSTED_PROXIES": true, "ADIT_LOG": true,
	"ADIT_TCP_PORTS": true, "ADIT_SSH_ADDR": true, "ADIT_MQTT_ADDR": true, "ADIT_MQTT_BACKEND": true,
	"ADIT_WEBHOOK_ALLOW": true, "ADIT_SERVICE_DOMAIN": false,
}

// Load reads environ (as os.Environ gives it). All faults are reported at once.
func Load(environ []string, dev bool) (Config, error) {
	env, err := settings(environ)
	c := Config{Dev: dev, Data: or(env["ADIT_DATA"], "./data"), Secret: env["ADIT_SECRET"]}
	errs := []error{err}
	read := func(name string, set func(string) error) {
		if err := set(env[name]); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	read("PORT", c.setPort)
	read("ADIT_URL", c.setURLs)
	read("ADIT_SECRET", c.checkSecret)
	read("ADIT_TRUSTED_PROXIES", c.setProxies)
	read("ADIT_LOG", c.setLog)
	read("ADIT_SSH_ADDR", c.setSSH)
	read("ADIT_MQTT_ADDR", c.setMQTT)
	read("ADIT_MQTT_BACKEND", c.setMQTTBackend)
	read("ADIT_TCP_PORTS", c.setTCPPorts)
	read("ADIT_WEBHOOK_ALLOW", c.setWebhookAllow)
	return c, errors.Join(errs...)
}

// Data reads only where the data directory is, for commands that work on it beside the hub.
func Data(environ []string) (string, error) {
	env, err := settings(environ)
	return or(env["ADIT_DATA"], "./data"), err
}

func settings(environ []string) (map[string]string, error) {
	env := map[string]string{}
	var errs []error
	for _, line := range environ {
		name, value, _ := strings.Cut(line, "=")
		if name != "PORT" && !strings.HasPrefix(name, "ADIT_") {
			continue
		}
		if served, ok := known[name]; name != "PORT" && !ok {
			errs = append(errs, fmt.Errorf("%s: there is no such setting; docs/settings.md lists them", name))
		} else if name != "PORT" && !served {
			errs = append(errs, fmt.Errorf("%s: this version does not serve it yet; remove it", name))
		}
		env[name] = strings.TrimSpace(value)
	}
	return env, errors.Join(errs...)
}

func (c *Config) setPort(value string) error {
	port := or(value, "8080")
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return fmt.Errorf("%q is no port number", value)
	}
	c.Listen = ":" + port
	if c.Dev {
		c.Listen = "127.0.0.1:" + port
	}
	return nil
}

func (c *Config) setURLs(value string) error {
	if value == "" && c.Dev {
		return nil
	}
	if value == "" {
		return errors.New("is missing. Set it to the address that people type, as https://adit.example.com")
	}
	for _, text := range strings.Split(value, ",") {
		u, err := parseURL(strings.TrimSpace(text), c.Dev)
		if err != nil {
			return err
		}
		c.URLs = append(c.URLs, u)
	}
	return nil
}

func parseURL(text string, dev bool) (*url.URL, error) {
	u, err := url.Parse(strings.TrimSuffix(text, "/"))
	if err != nil || u.Host == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, fmt.Errorf("%q is no address of a site, such as https://adit.example.com", text)
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !dev && !loopback(u.Hostname())) {
		return nil, fmt.Errorf("%q: only https:// keeps sign-ins safe (http:// is for localhost)", text)
	}
	u.Host = strings.ToLower(u.Host)
	if port := u.Port(); (u.Scheme == "https" && port == "443") || (u.Scheme == "http" && port == "80") {
		u.Host = strings.TrimSuffix(u.Host, ":"+port) // browsers leave it out of Origin and Host
	}
	return u, nil
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || (err == nil && ip.IsLoopback())
}

// minSecret is what internal/seal takes; it is asked for here, before anything is made or listens.
const minSecret = 32

func (c *Config) checkSecret(value string) error {
	if value == "" && !c.Dev {
		return errors.New("is missing. Make one with `openssl rand -hex 32` and keep it: backups open only with it")
	}
	if value != "" && len(value) < minSecret {
		return fmt.Errorf("%d bytes are too few, it takes %d or more. Make one with `openssl rand -hex 32`", len(value), minSecret)
	}
	return nil
}

func (c *Config) setProxies(value string) (err error) {
	c.TrustedProxies, err = prefixes(value)
	return err
}

// setWebhookAllow is as loopback with Dev, where nothing is set: receivers of a laptop run on it.
func (c *Config) setWebhookAllow(value string) (err error) {
	if value == "" && c.Dev {
		value = "loopback"
	}
	c.WebhookAllow, err = prefixes(value)
	return err
}

// prefixes reads addresses and prefixes, and the words loopback and private.
func prefixes(value string) (all []netip.Prefix, err error) {
	words := map[string][]string{
		"loopback": {"127.0.0.0/8", "::1/128"},
		"private":  {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "100.64.0.0/10"},
	}
	for _, word := range strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' }) {
		texts := words[word]
		if texts == nil {
			texts = []string{word}
		}
		for _, text := range texts {
			prefix, err := parsePrefix(text)
			if err != nil {
				return nil, fmt.Errorf("%q is no address, no prefix such as 10.0.0.0/8, and neither loopback nor private", word)
			}
			all = append(all, prefix)
		}
	}
	return all, nil
}

func parsePrefix(text string) (netip.Prefix, error) {
	if ip, err := netip.ParseAddr(text); err == nil {
		return ip.Prefix(ip.BitLen())
	}
	return netip.ParsePrefix(text)
}

func (c *Config) setSSH(value string) (err error) {
	c.SSHListen, err = c.listen(value, ":2222")
	return err
}

func (c *Config) setMQTT(value string) (err error) {
	c.MQTTListen, err = c.listen(value, ":1883")
	return err
}

// listen reads [ADDRESS]:PORT; port 0 is for tests.
func (c *Config) listen(value, example string) (string, error) {
	if value == "" {
		return "", nil
	}
	_, port, err := net.SplitHostPort(value)
	if n, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || n == 0 && !c.Dev {
		return "", fmt.Errorf("%q is no address to listen on, such as %s or 127.0.0.1%s", value, example, example)
	}
	return value, nil
}

// setMQTTBackend reads mqtt://USER:PASSWORD@HOST:PORT. What is wrong is never shown: it holds a password.
func (c *Config) setMQTTBackend(value string) error {
	if value == "" {
		return nil
	}
	u, err := url.Parse(value)
	if err != nil || u.Scheme != "mqtt" || u.User == nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("is no mqtt://USER:PASSWORD@HOST:PORT; write what is special in the password as %HEX")
	}
	password, has := u.User.Password()
	if _, err := parsePort(u.Port()); err != nil || u.Hostname() == "" || u.User.Username() == "" || !has || password == "" {
		return errors.New("is no mqtt://USER:PASSWORD@HOST:PORT: each of the four must be there")
	}
	c.MQTTBackend = u
	return nil
}

func (c *Config) setLog(value string) error {
	level, format, _ := strings.Cut(or(value, "info"), ",")
	switch level {
	case "debug", "info", "warn", "error":
	default:
		return fmt.Errorf("%q is no level: debug, info, warn or error, then perhaps ,json", level)
	}
	if format != "" && format != "json" && format != "text" {
		return fmt.Errorf("%q is no format: json or text", format)
	}
	c.LogLevel, c.LogJSON = level, format == "json"
	return nil
}

func or(value, fallback string) string {
	if value == "" {
		return fallback
	}
	return value
}
