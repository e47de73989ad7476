package cli

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aditdev/adit/internal/command"
	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/wire"
)

// timeoutStatus is the exit status of mosquitto_sub -W.
const timeoutStatus = 27

func (o *mqttOptions) subscribe(ctx context.Context, stdio command.Stdio) error {
	if o.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, time.Duration(o.timeout*float64(time.Second)), errTimeUp)
		defer cancel()
	}
	arrived := make(chan arrival)
	ended := make(chan struct{})
	c, err := o.open(ctx, stdio, func(p *mqtt.Publish, ack func()) {
		select {
		case arrived <- arrival{p, ack}:
		case <-ended:
		}
	})
	if err == nil {
		err = o.show(ctx, c, arrived, stdio.Out)
		close(ended)
		_ = c.Close()
	}
	switch {
	case context.Cause(ctx) == errTimeUp:
		return &command.Exit{Status: timeoutStatus}
	case ctx.Err() != nil:
		return nil
	}
	return mqttError(err)
}

// arrival is a message that waits to be shown. Acknowledged after that, what could not be written comes again, and before the client
// leaves, what was written does not.
type arrival struct {
	*mqtt.Publish
	ack func()
}

var errTimeUp = wire.Errorf(wire.Offline, "The time of -W is up.")

func (o *mqttOptions) show(ctx context.Context, c *mqtt.Client, arrived <-chan arrival, out io.Writer) error {
	subscribed := make(chan error, 1)
	go func() { subscribed <- o.ask(ctx, c) }() // what is retained comes before the answer
	for shown := 0; o.count == 0 || shown < o.count; {
		select {
		case err := <-subscribed:
			if err != nil {
				return err
			}
			subscribed = nil
		case p := <-arrived:
			if o.wanted(p.Publish) {
				shown++
				if _, err := io.WriteString(out, o.line(p.Publish, time.Now())); err != nil {
					return err
				}
			}
			p.ack()
		case <-c.Done():
			return c.Err()
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

func (o *mqttOptions) ask(ctx context.Context, c *mqtt.Client) error {
	if len(o.unsubscribe) > 0 {
		if _, err := c.Unsubscribe(ctx, o.unsubscribe...); err != nil {
			return err
		}
	}
	filters := make([]mqtt.Subscription, len(o.topics))
	for i, t := range o.topics {
		filters[i] = mqtt.Subscription{Filter: t, QoS: byte(o.qos)}
	}
	codes, err := c.Subscribe(ctx, filters...)
	if err != nil {
		return err
	}
	for i, code := range codes {
		if code.Failed() {
			return wire.Errorf(wire.Forbidden, "The broker does not let you read %s: %s.", wire.Printable(o.topics[i], 200), code)
		}
	}
	return nil
}

func (o *mqttOptions) wanted(p *mqtt.Publish) bool {
	if p.Retain && o.noRetained || !p.Retain && o.onlyRetained {
		return false
	}
	return !slices.ContainsFunc(o.without, func(f string) bool { return mqtt.Match(f, p.Topic) })
}

// line is how a message is printed. The payload is passed on as it is, as mosquitto_sub does: it may be a file.
func (o *mqttOptions) line(p *mqtt.Publish, at time.Time) string {
	end := "\n"
	if o.noEnd {
		end = ""
	}
	switch {
	case o.format != "":
		return formatMessage(o.format, p, at) + end
	case o.verbose:
		return wire.Printable(p.Topic, 65535) + " " + string(p.Payload) + end
	}
	return string(p.Payload) + end
}

func formatMessage(format string, p *mqtt.Publish, at time.Time) string {
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			b.WriteByte(format[i])
			continue
		}
		i++
		b.WriteString(formatted(format[i], p, at))
	}
	return b.String()
}

func formatted(letter byte, p *mqtt.Publish, at time.Time) string {
	switch letter {
	case 't':
		return wire.Printable(p.Topic, 65535)
	case 'p':
		return string(p.Payload)
	case 'x':
		return hex.EncodeToString(p.Payload)
	case 'l':
		return strconv.Itoa(len(p.Payload))
	case 'q':
		return strconv.Itoa(int(p.QoS))
	case 'r':
		return strconv.FormatUint(uint64(map[bool]uint{true: 1}[p.Retain]), 10)
	case 'I':
		return at.Format("2006-01-02T15:04:05-0700")
	case 'U':
		return fmt.Sprintf("%d.%09d", at.Unix(), at.Nanosecond())
	case 'j':
		return messageJSON(p, at)
	case '%':
		return "%"
	}
	return "%" + string(letter)
}

func messageJSON(p *mqtt.Publish, at time.Time) string {
	m := map[string]any{"tst": at.Format(time.RFC3339Nano), "topic": p.Topic, "qos": p.QoS, "retain": p.Retain, "payloadlen": len(p.Payload)}
	if utf8.Valid(p.Payload) {
		m["payload"] = string(p.Payload)
	} else {
		m["payload_base64"] = base64.StdEncoding.EncodeToString(p.Payload)
	}
	user := map[string]string{}
	for _, u := range p.Message().UserProperties {
		user[u.Name] = u.Value
	}
	if len(user) > 0 {
		m["user_properties"] = user
	}
	text, err := json.Marshal(m)
	if err != nil {
		return ""
	}
	return string(text)
}
