package outgoing

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/webhook/header"
	"github.com/aditdev/adit/internal/webhook/transform"
)

// Types of messages that are no events of the log.
const (
	TypeMQTT = "mqtt.message"
	TypeTest = events.HookTest
)

// details are what an MQTT message has beside topic and payload, as the database keeps it.
type details struct {
	QoS           byte        `json:"qos"`
	Retain        bool        `json:"retain"`
	From          string      `json:"from,omitempty"`
	ResponseTopic string      `json:"response_topic,omitempty"`
	Correlation   []byte      `json:"correlation,omitempty"`
	Properties    [][2]string `json:"user_properties,omitempty"`
}

// ofEvent is the message that an event of the log becomes.
func ofEvent(row store.Event, policy *access.Policy) store.AddHookMessageParams {
	m := store.AddHookMessageParams{ID: store.NewID("msg"), Type: row.Type, At: row.At, DeviceID: row.DeviceID, UserID: row.UserID,
		ContentType: "application/json", Details: "{}", Payload: []byte(row.Data)}
	var known struct {
		Name string `json:"name"`
		Hops any    `json:"hops"`
	}
	_ = json.Unmarshal([]byte(row.Data), &known) // events of other kinds have others
	if hops, ok := known.Hops.(float64); ok {
		m.Hops = int64(hops)
	}
	if row.DeviceID != nil {
		m.DeviceName = policy.Devices[*row.DeviceID].Name
		if m.DeviceName == "" && strings.HasPrefix(row.Type, "device.") {
			m.DeviceName = known.Name // it was removed
		}
	}
	return m
}

// ofMQTT is the message that one of the broker becomes.
func ofMQTT(r messaging.Received, policy *access.Policy) store.AddHookMessageParams {
	d := details{QoS: r.QoS, Retain: r.Retain, From: r.From, ResponseTopic: r.ResponseTopic, Correlation: r.Correlation}
	m := store.AddHookMessageParams{ID: store.NewID("msg"), Type: TypeMQTT, At: store.Millis(r.At), Topic: r.Topic, ContentType: r.ContentType,
		Payload: r.Payload}
	if m.Payload == nil {
		m.Payload = []byte{}
	}
	for _, u := range r.UserProperties {
		d.Properties = append(d.Properties, [2]string{u.Name, u.Value})
		if n, err := strconv.Atoi(u.Value); err == nil && strings.EqualFold(u.Name, header.Hops) {
			m.Hops = int64(n)
		}
	}
	text, err := json.Marshal(d)
	if err != nil {
		panic(err) // a plain struct
	}
	m.Details = string(text)
	if id := deviceOf(r, policy); id != "" {
		m.DeviceID, m.DeviceName = &id, policy.Devices[id].Name
	}
	return m
}

// deviceOf is the device whose tree a topic is in, or else the one that sent the message; empty: none.
func deviceOf(r messaging.Received, policy *access.Policy) string {
	if tree, rest, ok := strings.Cut(r.Topic, "/"); ok && (tree == "devices" || tree == "cmds") {
		name, _, _ := strings.Cut(rest, "/")
		if id := policy.DeviceIDs[name]; id != "" {
			return id
		}
	}
	return r.Device
}

// device is how a body names one.
type device struct {
	ID   string `json:"id"`
	Name string `json:"name,omitempty"`
}

// envelope is the body of the standard format, and with topic and id what a transform is given.
type envelope struct {
	Type      string          `json:"type"`
	Timestamp string          `json:"timestamp"`
	Data      json.RawMessage `json:"data"`
	Device    *device         `json:"device,omitempty"`
	Topic     string          `json:"topic,omitempty"`
	ID        string          `json:"id,omitempty"`
}

func envelopeOf(m store.HookMessage) (envelope, error) {
	e := envelope{Type: m.Type, Timestamp: stamp(m.At), Data: m.Payload}
	if m.DeviceID != nil {
		e.Device = &device{ID: *m.DeviceID, Name: m.DeviceName}
	}
	if m.Type != TypeMQTT {
		return e, nil
	}
	var d details
	if err := json.Unmarshal([]byte(m.Details), &d); err != nil {
		return e, fmt.Errorf("read message: %w", err)
	}
	payload, encoding := payloadOf(m.Payload)
	var err error
	e.Data, err = json.Marshal(struct {
		Topic       string          `json:"topic"`
		Payload     json.RawMessage `json:"payload"`
		Encoding    string          `json:"encoding"`
		ContentType string          `json:"content_type,omitempty"`
		details
	}{m.Topic, payload, encoding, m.ContentType, d})
	return e, err
}

// stamp is a time as bodies have it: RFC 3339 with milliseconds.
func stamp(ms int64) string { return store.Time(ms).Format("2006-01-02T15:04:05.000Z07:00") }

// Encodings of a payload within JSON.
const (
	encodingJSON   = "json"
	encodingText   = "text"
	encodingBase64 = "base64"
)

// payloadOf is a payload as a value of JSON: itself where it is JSON that receivers can read, else a string of it where it is UTF-8, else of its base64.
func payloadOf(payload []byte) (value json.RawMessage, encoding string) {
	switch {
	case transform.IsJSON(payload):
		return payload, encodingJSON
	case utf8.Valid(payload):
		return quoted(string(payload)), encodingText
	}
	return quoted(base64.StdEncoding.EncodeToString(payload)), encodingBase64
}

func quoted(text string) json.RawMessage {
	value, err := json.Marshal(text)
	if err != nil {
		panic(err) // a string
	}
	return value
}

// ofTest is what the test button sends.
func ofTest(endpoint, by string, at time.Time) store.AddHookMessageParams {
	data, err := json.Marshal(map[string]string{"endpoint": endpoint, "by": by, "message": "A test: this endpoint is reached."})
	if err != nil {
		panic(err) // strings
	}
	return store.AddHookMessageParams{ID: store.NewID("msg"), Type: TypeTest, At: store.Millis(at), ContentType: "application/json", Details: "{}", Payload: data}
}
