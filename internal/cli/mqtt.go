package cli

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aditdev/adit/internal/api"
	"github.com/aditdev/adit/internal/command"
	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
)

const mqttUsage = `Usage: adit mqtt pub -t TOPIC (-m TEXT | -f FILE | -s | -l | -n) [options]
       adit mqtt sub -t FILTER… [options]

Sends and shows messages of the hub's MQTT broker, as yourself, with the flags of mosquitto_pub and mosquitto_sub.

  --device DEVICE   speak to the device's own broker, its target mqtt, instead
  -u NAME           username there
  --password-stdin  password there, the first line of standard input
  -P PASSWORD       likewise, but everybody on this machine sees it in the list of processes
  -t TOPIC          topic to publish to; filter to subscribe to, may be repeated
  -q 0|1|2          QoS
  -V 5|311|31       version of MQTT; 5 otherwise
  -i ID             ClientID
  -c                keep the MQTT session when this ends (needs -i)
  -x SECONDS        for how long, with -c; an hour otherwise
  -k SECONDS        keep-alive; 60 otherwise
  -D COMMAND PROPERTY VALUE   an MQTT 5.0 property of connect, publish or will, as
                    -D publish content-type application/json or -D publish user-property NAME VALUE
  --will-topic TOPIC, --will-payload TEXT, --will-qos Q, --will-retain
                    what the broker says for this client when it is lost

Publishing:
  -m TEXT, -f FILE  what to send
  -s, -l            all of standard input as one message; each line of it as one
  -n                an empty message: with -r it clears what is retained
  -r                retain it
  --repeat N, --repeat-delay SECONDS

Subscribing:
  -C N              end after N messages
  -W SECONDS        end after so long, with exit status 27
  -v                show the topic before each message
  -F FORMAT         %t topic, %p payload, %x payload in hex, %l its length, %q QoS, %r retain, %I time, %U Unix time, %j all as JSON, %% a %
  -N                no end of line behind messages
  -R                no messages that were retained; --retained-only: no others
  -T FILTER         not what matches this; may be repeated
  -U FILTER         unsubscribe from this first, of a session kept by -c; may be repeated

Examples:
  adit mqtt sub -v -t 'devices/#'
  adit mqtt pub -t cmds/kitchen/light -m on -q 1
  adit mqtt sub --device kitchen -u me --password-stdin -t 'zigbee2mqtt/#' <FILE
  adit mqtt sub --device kitchen -t 'zigbee2mqtt/#' -F '%I %t %p'
`

func mqttCommand() command.Command {
	return command.Command{Name: "mqtt", Summary: "Publish and subscribe at the hub's MQTT broker, or a device's", Usage: mqttUsage, Run: runMQTT}
}

func runMQTT(ctx context.Context, args []string, stdio command.Stdio) error {
	if len(args) > 0 && (args[0] == "pub" || args[0] == "sub") {
		o, err := parseMQTT(args[0], args[1:], stdio)
		if err != nil {
			return err
		}
		if args[0] == "pub" {
			return o.publish(ctx, stdio)
		}
		return o.subscribe(ctx, stdio)
	}
	if len(args) == 0 || args[0] == "--help" || args[0] == "-h" {
		return command.NewFlags("adit mqtt", mqttUsage).Parse([]string{"--help"}, 0, 0, stdio)
	}
	return command.Usagef("adit mqtt takes pub or sub, not %q. Its help: `adit mqtt --help`.", args[0])
}

// mqttOptions are what was typed.
type mqttOptions struct {
	device, version, id           string
	username, password            string
	passwordStdin                 bool
	qos, keepAlive, sessionExpiry int
	keep                          bool
	topics                        list
	connect, send, will           mqtt.Properties
	willTopic, willPayload        string
	willQoS                       int
	willRetain                    bool

	// Of pub.
	text, file         string
	hasText            bool
	whole, lines, null bool
	retain             bool
	repeat             int
	repeatDelay        float64

	// Of sub.
	count                    int
	timeout                  float64
	verbose, noEnd           bool
	noRetained, onlyRetained bool
	format                   string
	without, unsubscribe     list
}

func parseMQTT(what string, args []string, stdio command.Stdio) (*mqttOptions, error) {
	o := &mqttOptions{}
	args, err := o.takeProperties(args)
	if err != nil {
		return nil, err
	}
	if err := foreignFlag(args); err != nil {
		return nil, err
	}
	f := command.NewFlags("adit mqtt "+what, mqttUsage)
	o.flags(f)
	if what == "pub" {
		o.pubFlags(f)
	} else {
		o.subFlags(f)
	}
	if err := f.Parse(args, 0, 0, stdio); err != nil {
		return nil, err
	}
	o.hasText = given(f, "m") || given(f, "message")
	if err := o.check(what); err != nil {
		return nil, err
	}
	if o.passwordStdin {
		line, err := bufio.NewReader(stdio.In).ReadString('\n')
		if err != nil && err != io.EOF {
			return nil, wire.Wrap(err, wire.Invalid, "The password cannot be read")
		}
		o.password = strings.TrimRight(line, "\r\n")
	}
	return o, nil
}

// given reports whether a flag was typed.
func given(f *command.Flags, name string) bool {
	found := false
	f.Visit(func(known *flag.Flag) { found = found || known.Name == name })
	return found
}

func (o *mqttOptions) flags(f *command.Flags) {
	text := func(to *string, names ...string) {
		for _, n := range names {
			f.StringVar(to, n, *to, "")
		}
	}
	number := func(to *int, names ...string) {
		for _, n := range names {
			f.IntVar(to, n, *to, "")
		}
	}
	o.version, o.keepAlive, o.sessionExpiry = "5", 60, 3600
	text(&o.device, "device")
	text(&o.username, "u", "username")
	text(&o.password, "P", "pw")
	f.BoolVar(&o.passwordStdin, "password-stdin", false, "")
	text(&o.version, "V", "protocol-version")
	text(&o.id, "i", "id")
	number(&o.qos, "q", "qos")
	number(&o.keepAlive, "k", "keepalive")
	number(&o.sessionExpiry, "x", "session-expiry-interval")
	f.Var(&o.topics, "t", "")
	f.Var(&o.topics, "topic", "")
	f.BoolVar(&o.keep, "c", false, "")
	f.BoolVar(&o.keep, "disable-clean-session", false, "")
	text(&o.willTopic, "will-topic")
	text(&o.willPayload, "will-payload")
	number(&o.willQoS, "will-qos")
	f.BoolVar(&o.willRetain, "will-retain", false, "")
}

func (o *mqttOptions) pubFlags(f *command.Flags) {
	f.StringVar(&o.text, "m", "", "")
	f.StringVar(&o.text, "message", "", "")
	f.StringVar(&o.file, "f", "", "")
	f.StringVar(&o.file, "file", "", "")
	for names, to := range map[string]*bool{"s stdin-file": &o.whole, "l stdin-line": &o.lines, "n null-message": &o.null, "r retain": &o.retain} {
		for _, n := range strings.Fields(names) {
			f.BoolVar(to, n, false, "")
		}
	}
	f.IntVar(&o.repeat, "repeat", 1, "")
	f.Float64Var(&o.repeatDelay, "repeat-delay", 0, "")
}

func (o *mqttOptions) subFlags(f *command.Flags) {
	f.IntVar(&o.count, "C", 0, "")
	f.Float64Var(&o.timeout, "W", 0, "")
	f.StringVar(&o.format, "F", "", "")
	f.BoolVar(&o.verbose, "v", false, "")
	f.BoolVar(&o.verbose, "verbose", false, "")
	f.BoolVar(&o.noEnd, "N", false, "")
	f.BoolVar(&o.noRetained, "R", false, "")
	f.BoolVar(&o.onlyRetained, "retained-only", false, "")
	f.Var(&o.without, "T", "")
	f.Var(&o.without, "filter-out", "")
	f.Var(&o.unsubscribe, "U", "")
	f.Var(&o.unsubscribe, "unsubscribe", "")
}

// foreignFlag refuses what Mosquitto's clients know and makes no sense here, with the reason.
func foreignFlag(args []string) error {
	for _, arg := range args {
		name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if !strings.HasPrefix(arg, "-") {
			continue
		}
		switch name {
		case "host", "p", "port", "L", "url", "A", "proxy", "cafile", "capath", "cert", "key", "insecure", "ciphers", "psk", "psk-identity", "tls-version", "tls-alpn", "tls-use-os-certs":
			return command.Usagef("%s is not needed: the connection goes through the hub of `adit login`; --device DEVICE leads to a device's own broker.", arg)
		}
	}
	return nil
}

func (o *mqttOptions) check(what string) error {
	if _, ok := mqttVersions[o.version]; !ok {
		return command.Usagef("-V %s is no version of MQTT; write 5, 311 or 31.", o.version)
	}
	if o.qos < 0 || o.qos > 2 || o.willQoS < 0 || o.willQoS > 2 {
		return command.Usagef("QoS is 0, 1 or 2.")
	}
	if o.keep && o.id == "" {
		return command.Usagef("-c keeps the session of a ClientID, so it needs -i ID.")
	}
	if o.keepAlive < 5 || o.keepAlive > 65535 {
		return command.Usagef("-k is 5 to 65535 seconds.")
	}
	if err := o.checkPassword(); err != nil {
		return err
	}
	if len(o.topics) == 0 {
		return command.Usagef("%s needs a topic: -t %s.", what, map[string]string{"pub": "devices/NAME/…", "sub": "'devices/#'"}[what])
	}
	if o.willTopic == "" && (o.willPayload != "" || o.willRetain || len(o.will) > 0) {
		return command.Usagef("A Will needs --will-topic TOPIC.")
	}
	if what == "sub" {
		for _, t := range slices.Concat(o.topics, o.without, o.unsubscribe) {
			if !mqtt.ValidFilter(t) {
				return command.Usagef("%q is no Topic Filter: + stands for a whole level, # for all at the end, as devices/+/temp or devices/#.", t)
			}
		}
		return nil
	}
	return o.checkPub()
}

// checkPassword refuses a name or password for the hub, which knows who asks.
func (o *mqttOptions) checkPassword() error {
	switch {
	case o.device == "" && (o.username != "" || o.password != "" || o.passwordStdin):
		return command.Usagef("-u, -P and --password-stdin are not needed: at the hub you are who signed in by `adit login`. They are for a device's own broker, with --device DEVICE.")
	case o.username == "" && (o.password != "" || o.passwordStdin):
		return command.Usagef("A password needs the name that it belongs to: -u NAME.")
	case o.password != "" && o.passwordStdin:
		return command.Usagef("-P and --password-stdin are two passwords; give one.")
	case o.passwordStdin && (o.whole || o.lines):
		return command.Usagef("Standard input is the password or the message; send the message with -m or -f.")
	}
	return nil
}

func (o *mqttOptions) checkPub() error {
	if len(o.topics) != 1 || !mqtt.ValidName(o.topics[0]) {
		return command.Usagef("pub takes one topic without + and #: -t TOPIC.")
	}
	sources := 0
	for _, set := range []bool{o.hasText, o.file != "", o.whole, o.lines, o.null} {
		if set {
			sources++
		}
	}
	if sources != 1 {
		return command.Usagef("pub sends one of -m TEXT, -f FILE, -s (standard input), -l (its lines) or -n (nothing).")
	}
	return nil
}

var mqttVersions = map[string]mqtt.Version{"5": mqtt.V5, "mqttv5": mqtt.V5, "311": mqtt.V311, "mqttv311": mqtt.V311, "31": mqtt.V31, "mqttv31": mqtt.V31}

// open connects to the broker that was meant. It lives until the client is closed.
func (o *mqttOptions) open(ctx context.Context, stdio command.Stdio, onPublish func(*mqtt.Publish, func())) (*mqtt.Client, error) {
	a, err := readAccount()
	if err != nil {
		return nil, err
	}
	options := mqtt.Options{
		Version: mqttVersions[o.version], Username: o.username, Password: o.password, ClientID: o.id, Clean: !o.keep, KeepAlive: time.Duration(o.keepAlive) * time.Second, OnPublish: onPublish, Properties: o.connect,
	}
	if o.keep {
		options.SessionExpiry = time.Duration(o.sessionExpiry) * time.Second
	}
	if o.willTopic != "" {
		options.Will = &mqtt.Publish{Topic: o.willTopic, Payload: []byte(o.willPayload), QoS: byte(o.willQoS), Retain: o.willRetain, Properties: o.will}
	}
	var conn net.Conn
	if o.device != "" {
		device, err := deviceOf(o.device)
		if err != nil {
			return nil, err
		}
		conn, err = a.dialDevice(ctx, device, wire.TargetMQTT, "", stdio.Err)
		if err != nil {
			return nil, err
		}
	} else if conn, err = a.dialBroker(ctx, &options); err != nil {
		return nil, err
	}
	opening, cancel := context.WithTimeout(ctx, replyTimeout)
	defer cancel()
	c, err := mqtt.NewClient(opening, conn, options)
	return c, mqttError(err)
}

// dialBroker opens the hub's own broker and fills in who speaks.
func (a account) dialBroker(ctx context.Context, o *mqtt.Options) (net.Conn, error) {
	var token api.MQTTToken
	if err := a.call(ctx, http.MethodPost, "mqtt/tokens", nil, &token); err != nil {
		return nil, err
	}
	o.Username, o.Password = token.Username, token.Password
	ws, err := (&stream.Dialer{}).Dial(ctx, a.Hub+"/mqtt", nil, wire.SubprotocolMQTT)
	if err != nil {
		return nil, err
	}
	return ws.NetConn(context.WithoutCancel(ctx)), nil
}

// mqttError is a refusal of a broker in our words, so that exit statuses are those of every command.
func mqttError(err error) error {
	e, ok := errors.AsType[*mqtt.Error](err)
	if !ok {
		return err
	}
	code := wire.Internal
	switch e.Code {
	case mqtt.BadUserNameOrPassword:
		code = wire.Unauthenticated
	case mqtt.NotAuthorized:
		code = wire.Forbidden
	case mqtt.ServerUnavailable, mqtt.ServerBusy, mqtt.ServerShuttingDown, mqtt.KeepAliveTimeout:
		code = wire.Offline
	case mqtt.PacketTooLarge:
		code = wire.TooLarge
	case mqtt.QuotaExceeded, mqtt.MessageRateTooHigh, mqtt.ConnectionRateExceeded:
		code = wire.RateLimited
	case mqtt.MalformedPacket, mqtt.ProtocolError, mqtt.UnsupportedVersion, mqtt.ClientIDNotValid, mqtt.TopicFilterInvalid, mqtt.TopicNameInvalid:
		code = wire.Invalid
	case mqtt.SessionTakenOver:
		code = wire.Conflict
	}
	return wire.Wrap(err, code, "The broker says no")
}

// takeProperties cuts -D COMMAND PROPERTY VALUE [VALUE] out, which no flag set knows how to read.
func (o *mqttOptions) takeProperties(args []string) (rest []string, err error) {
	for i := 0; i < len(args); i++ {
		if args[i] != "-D" && args[i] != "--property" {
			rest = append(rest, args[i])
			continue
		}
		n := 3
		if i+2 < len(args) && args[i+2] == "user-property" {
			n = 4
		}
		if i+n >= len(args) {
			return nil, command.Usagef("-D takes a command, a property and its value, as -D publish content-type text/plain.")
		}
		if err := o.property(args[i+1], args[i+2], args[i+3:i+n+1]); err != nil {
			return nil, err
		}
		i += n
	}
	return rest, nil
}

func (o *mqttOptions) property(of, name string, values []string) error {
	to := map[string]*mqtt.Properties{"connect": &o.connect, "publish": &o.send, "will": &o.will}[strings.ToLower(of)]
	id, number := propertyNamed(name)
	if to == nil || id == 0 {
		return command.Usagef("-D %s %s is no property of connect, publish or will that can be set here.", of, name)
	}
	p := mqtt.Property{ID: id, Text: values[0]}
	if len(values) > 1 {
		p.Value = values[1]
	}
	if number {
		n, err := strconv.ParseUint(values[0], 10, 32)
		if err != nil {
			return command.Usagef("-D %s %s takes a whole number, not %q.", of, name, values[0])
		}
		p = mqtt.Property{ID: id, Number: uint32(n)}
	}
	*to = append(*to, p)
	return nil
}

func propertyNamed(name string) (id mqtt.PropertyID, number bool) {
	switch name {
	case "payload-format-indicator":
		return mqtt.PayloadFormat, true
	case "message-expiry-interval":
		return mqtt.MessageExpiry, true
	case "will-delay-interval":
		return mqtt.WillDelay, true
	case "content-type":
		return mqtt.ContentType, false
	case "response-topic":
		return mqtt.ResponseTopic, false
	case "correlation-data":
		return mqtt.CorrelationData, false
	case "user-property":
		return mqtt.UserPropertyID, false
	}
	return 0, false
}
