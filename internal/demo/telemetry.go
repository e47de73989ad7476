package main

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/aditdev/adit/internal/mqtt"
)

const (
	// mqttPort is where the demo device takes plain MQTT, as docs/mqtt.md has it: 1883 is often a Mosquitto's.
	mqttPort = "11883"
	// speaksEvery is between two values of the demo's sensors, and between two attempts to connect.
	speaksEvery = 5 * time.Second
	// warms is how long the demo's room takes to get warmer and colder again.
	warms = 10 * time.Minute
)

// telemetry is what the demo device says by MQTT through its agent's own port, so that the MQTT pages show something on
// first sight: two sensors, and a lamp that obeys cmds/NAME/lamp.
type telemetry struct {
	place
	address string // of the agent's listener; "" where agent.toml has another than the demo's
	id      string // of the device
	hub     *hubClient
	log     *slog.Logger
}

var mqttListen = regexp.MustCompile(`(?m)^\[mqtt\]\nlisten = "127\.0\.0\.1:(\d+)"$`)

// useMQTT gives the agent a port for MQTT, and says where it is. It leaves alone what somebody wrote there instead.
func useMQTT(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	wanted, found := mqttPort, mqttListen.FindSubmatch(data)
	switch {
	case strings.Contains(string(data), "[[mqtt.user]]"): // the demo has no password
		return "", nil
	case found != nil:
		wanted = string(found[1])
	case strings.Contains(string(data), "mqtt."), strings.Contains(string(data), "[mqtt]"):
		return "", nil
	}
	port, err := freePort(wanted)
	if err != nil {
		return "", err
	}
	address := net.JoinHostPort("127.0.0.1", port)
	lines := "[mqtt]\nlisten = " + strconv.Quote(address)
	if found != nil {
		data = mqttListen.ReplaceAllLiteral(data, []byte(lines))
	} else {
		data = append(data, "\n# MQTT programs of this machine speak as the device here.\n"+lines+"\n"...)
	}
	return address, os.WriteFile(path, data, 0o600)
}

// freePort is the wanted port of this machine, or another where that is taken.
func freePort(wanted string) (string, error) {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", wanted))
	if err != nil {
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return "", fmt.Errorf("find a port for the demo device's MQTT: %w", err)
		}
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

// run speaks until ctx ends. What goes wrong is in the demo's mqtt.log, and is tried again.
func (t *telemetry) run(ctx context.Context) {
	if t.address == "" {
		return
	}
	file, err := os.Create(filepath.Join(t.demo, "mqtt.log"))
	if err != nil {
		fmt.Fprintln(os.Stderr, "The demo device says nothing by MQTT:", err)
		return
	}
	defer file.Close()
	t.log = slog.New(slog.NewTextHandler(file, nil))
	for ctx.Err() == nil {
		if err := t.speak(ctx); err != nil && ctx.Err() == nil {
			t.log.Warn("the demo device cannot speak MQTT", "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(speaksEvery):
		}
	}
}

// name is the device's now: somebody may rename it, and its topics follow.
func (t *telemetry) name(ctx context.Context) (string, error) {
	d, err := t.hub.device(ctx, t.id)
	if err != nil { // the token has ended
		if t.hub, err = newHubClient(ctx, t.place); err == nil {
			d, err = t.hub.device(ctx, t.id)
		}
	}
	return d.Name, err
}

// speak is one connection. It ends with an error, as when the device was renamed.
func (t *telemetry) speak(ctx context.Context) error {
	name, err := t.name(ctx)
	if err != nil {
		return err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", t.address)
	if err != nil {
		return err
	}
	orders := make(chan mqtt.Message, 16) // more at once than a lamp can follow are dropped
	client, err := mqtt.NewClient(ctx, conn, mqtt.Options{ClientID: "demo", Clean: true, OnPublish: func(p *mqtt.Publish, ack func()) {
		ack()
		select {
		case orders <- p.Message():
		default:
		}
	}})
	if err != nil {
		return err
	}
	defer client.Close()
	if _, err := client.Subscribe(ctx, mqtt.Subscription{Filter: "cmds/" + name + "/lamp", QoS: 1}); err != nil {
		return err
	}
	if err := lamp(ctx, client, name, mqtt.Message{Payload: []byte("off")}); err != nil {
		return err
	}
	return converse(ctx, client, name, orders)
}

// converse tells values and follows orders until something fails or ctx ends.
func converse(ctx context.Context, client *mqtt.Client, name string, orders <-chan mqtt.Message) error {
	tick := time.NewTicker(speaksEvery)
	defer tick.Stop()
	err := sensors(ctx, client, name, time.Now())
	for err == nil {
		select {
		case <-ctx.Done():
			return nil
		case <-client.Done():
			return client.Err()
		case order := <-orders:
			err = lamp(ctx, client, name, order)
		case at := <-tick.C:
			err = sensors(ctx, client, name, at)
		}
	}
	return err
}

// sensors publishes what a room's sensors could say at a time.
func sensors(ctx context.Context, client *mqtt.Client, name string, at time.Time) error {
	wave := math.Sin(2 * math.Pi * float64(at.UnixMilli()%warms.Milliseconds()) / float64(warms.Milliseconds()))
	for topic, value := range map[string]float64{
		"temperature": 21 + 1.5*wave + 0.1*rand.NormFloat64(),
		"humidity":    48 - 4*wave + 0.3*rand.NormFloat64(),
	} {
		m := mqtt.Message{Topic: "devices/" + name + "/sensors/" + topic, Payload: fmt.Appendf(nil, "%.1f", value), QoS: 1}
		if err := client.Publish(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

// lamp follows an order, and answers whoever waits for an answer.
func lamp(ctx context.Context, client *mqtt.Client, name string, order mqtt.Message) error {
	said := strings.TrimSpace(string(order.Payload))
	state := mqtt.Message{Topic: "devices/" + name + "/lamp", Payload: []byte(said), QoS: 1, Retain: true}
	answer := said
	if said != "on" && said != "off" {
		answer = `a lamp knows "on" and "off"`
	} else if err := client.Publish(ctx, state); err != nil {
		return err
	}
	if order.ResponseTopic == "" {
		return nil
	}
	return client.Publish(ctx, mqtt.Message{Topic: order.ResponseTopic, Payload: []byte(answer), QoS: 1, Correlation: order.Correlation})
}
