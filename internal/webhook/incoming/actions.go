package incoming

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/webhook/header"
	"github.com/aditdev/adit/internal/webhook/transform"
	"github.com/aditdev/adit/internal/wire"
)

// publishWithin bounds one try to publish.
const publishWithin = 10 * time.Second

func (h *Hooks) publish(ctx context.Context, j *job) outcome {
	ctx, cancel := context.WithTimeout(ctx, publishWithin)
	defer cancel()
	err := h.readdress(ctx, j)
	switch {
	case err != nil:
	case j.question != nil:
		err = j.question.ask(ctx, h.message(j))
	default:
		err = h.Broker.Send(ctx, h.message(j), "hook "+j.sourceName)
	}
	switch wire.CodeOf(err) {
	case wire.Invalid, wire.TooLarge, wire.Forbidden, wire.NotFound:
		return outcome{err: err}
	}
	if err != nil {
		return j.later(err)
	}
	return outcome{}
}

// readdress has a message that waited go to the device that it was accepted for, by the name which that has now: another may have its old one. It fails
// with wire.NotFound where the device is gone.
func (h *Hooks) readdress(ctx context.Context, j *job) error {
	p := j.plan
	tree, level, rest := nameInTopic(p.topic)
	ours := level != "" && level == p.DeviceName
	if !j.queued || p.device == "" || !ours && p.Correlation != CorrelateTopic {
		return nil
	}
	_, name, err := h.Devices.Find(ctx, p.device)
	if wire.CodeOf(err) == wire.NotFound {
		return wire.Wrap(err, wire.NotFound, "The device was removed.")
	}
	if err != nil || name == p.DeviceName {
		return err
	}
	if p.DeviceName = name; ours {
		p.topic = tree + name + rest
	}
	j.question = h.question(j)
	return nil
}

// Names of the user properties that say where a message comes from.
const (
	propertyID     = "hook-id"
	propertySource = "hook-source"
)

// message is what a job publishes.
func (h *Hooks) message(j *job) mqtt.Message {
	p := j.plan
	m := mqtt.Message{Topic: p.topic, Payload: j.payload(), QoS: byte(p.QoS), Retain: p.Retain, ContentType: p.ContentType,
		UserProperties: []mqtt.UserProperty{{Name: propertyID, Value: j.id}, {Name: propertySource, Value: j.sourceName}}}
	if p.Hops > 0 {
		m.UserProperties = append(m.UserProperties, mqtt.UserProperty{Name: header.Hops, Value: strconv.Itoa(p.Hops)})
	}
	if p.Encoding != "" {
		m.UserProperties = append(m.UserProperties, mqtt.UserProperty{Name: "content-encoding", Value: wire.Printable(p.Encoding, 100)})
	}
	for _, u := range p.Properties {
		m.UserProperties = append(m.UserProperties, mqtt.UserProperty{Name: u.Name, Value: u.Value})
	}
	if j.expires != nil {
		m.Expiry = (store.Time(*j.expires).Sub(h.Now()) + time.Second - 1).Truncate(time.Second)
	}
	if j.question != nil {
		m.ResponseTopic, m.Correlation = j.question.topic, []byte(j.id)
	}
	if p.Correlation == CorrelateEnvelope {
		m.Payload, m.ContentType = envelope(j.id, m.ResponseTopic, m.Payload), "application/json"
	}
	return m
}

// envelope carries what MQTT 3.1.1 has no properties for. The payload is JSON where it is JSON that devices can read, else text, and what is no text
// is in base64, as another member.
func envelope(id, reply string, payload []byte) []byte {
	e := struct {
		ID      string          `json:"id"`
		Reply   string          `json:"reply,omitempty"`
		Payload json.RawMessage `json:"payload,omitempty"`
		Bytes   []byte          `json:"payload_base64,omitempty"`
	}{ID: id, Reply: reply}
	switch {
	case transform.IsJSON(payload):
		e.Payload = payload
	case utf8.Valid(payload):
		e.Payload, _ = json.Marshal(string(payload)) // texts always marshal
	default:
		e.Bytes = payload
	}
	text, err := json.Marshal(e)
	if err != nil {
		panic(err) // it was valid
	}
	return text
}

// commandWithin is how long the hub waits for the answer of a command: the device ends it before.
const commandWithin = (wire.MaxRunSeconds + 15) * time.Second

// runID names a run to its device, which runs one of a name once, and says again what came of it. What a person has done anew is another.
func (j *job) runID() string {
	if j.replays == 0 {
		return j.id
	}
	return j.id + "-" + strconv.FormatInt(j.replays, 10)
}

// command has the device run it.
func (h *Hooks) command(ctx context.Context, j *job) (o outcome) {
	device := j.plan.device
	if _, _, err := h.Devices.Find(ctx, device); err != nil {
		if wire.CodeOf(err) == wire.NotFound {
			return outcome{err: wire.Wrap(err, wire.NotFound, "The device was removed.")}
		}
		return j.later(err)
	}
	if !h.Devices.Online(device) {
		h.absent.add(device)
		if !h.Devices.Online(device) { // it may have come in between
			return outcome{err: wire.Errorf(wire.Offline, "The device is not connected. It is run when the device comes."), again: absentAgain, free: true, absent: true}
		}
	}
	if !h.orders.take(device) {
		return h.crowded(j)
	}
	defer func() { h.orders.give(device); o.ran = true }()
	ctx, cancel := context.WithTimeout(ctx, commandWithin)
	defer cancel()
	run := wire.Run{ID: j.runID(), Command: j.plan.Command, Arguments: j.plan.Arguments, Stdin: j.payload()}
	result, err := h.Devices.Run(ctx, device, run)
	switch wire.CodeOf(err) {
	case wire.Invalid, wire.NotFound, wire.Forbidden, wire.Conflict, wire.TooLarge:
		return outcome{err: err}
	}
	if err != nil {
		return j.later(err)
	}
	return outcome{answer: commandAnswer(result)}
}

// crowded is the outcome for a command that there is no room for. The next of a device is woken when one ends; where all devices together run too
// many, or it was tried before, it looks for itself.
func (h *Hooks) crowded(j *job) outcome {
	o := outcome{err: wire.Errorf(wire.RateLimited, "The device runs %d commands already.", wire.MaxRunsAtOnce), again: time.Second, free: true}
	if j.attempts == 0 && h.orders.fullOf(j.plan.device) {
		o.again, o.crowded = crowdedAgain, true
	}
	return o
}

// wakeNext makes due the next command for a device.
func (h *Hooks) wakeNext(ctx context.Context, device string) {
	err := h.Store.WriteTogether(ctx, func(q *store.Queries) error {
		return q.WakeNextHookRequest(ctx, store.WakeNextHookRequestParams{DeviceID: device, Now: h.millis()})
	})
	if err != nil {
		h.Log.Error("the next command for a device was not woken", "device", device, "cause", err)
	}
	h.rouse()
}

// commandAnswer is the JSON that a sender gets for a command.
func commandAnswer(r wire.RunResult) *Reply {
	body, err := json.Marshal(struct {
		ExitCode int    `json:"exit_code"`
		Stdout   string `json:"stdout"`
		Stderr   string `json:"stderr"`
		Cut      bool   `json:"cut,omitempty"`
		TimedOut bool   `json:"timed_out,omitempty"`
	}{r.ExitCode, strings.ToValidUTF8(string(r.Stdout), "\uFFFD"), strings.ToValidUTF8(string(r.Stderr), "\uFFFD"), r.Cut, r.TimedOut})
	if err != nil {
		panic(err) // texts always marshal
	}
	return &Reply{Status: http.StatusOK, ContentType: "application/json", Body: body, ExitCode: &r.ExitCode}
}
