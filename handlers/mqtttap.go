package handlers

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/wire"
)

// tapMQTT is GET /api/v1/mqtt/tap: messages as they pass, as server-sent events. It ends with the hub, with the sign-in or
// grant that it runs by, or when the browser no longer reads.
func (a *api) tapMQTT(c echo.Context) error {
	p := principalOf(c.Request().Context())
	filter := c.QueryParam("filter")
	if filter == "" {
		filter = "#"
	}
	device, ctx, release, err := a.holdBroker(c.Request().Context(), p, c.QueryParam("device"))
	if err != nil {
		return err
	}
	defer release()
	defer context.AfterFunc(a.Stopping, release)()
	may := a.mayReceive(p)
	if device != "" {
		may = nil // whoever may open the target mqtt reads all of it
	}
	s := &tapStream{response: c.Response()}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var beating sync.WaitGroup
	beating.Go(func() { s.beat(ctx, cancel) })
	defer beating.Wait()
	defer cancel(nil)
	err = a.MQTT.Tap(ctx, messaging.Look{User: p.User.ID, Device: device, Filter: filter, May: may, Begin: s.start, Send: s.frame})
	if s.begun() {
		return nil // what ends a stream is no reply
	}
	return err
}

// tapStream writes frames, and a comment now and then where there are none.
type tapStream struct {
	response *echo.Response

	mu     sync.Mutex
	stream *eventStream // nil before start
}

// tapProblem says why a device's broker cannot be reached. The hub tries again by itself.
type tapProblem struct {
	Code   wire.Code `json:"code"`
	Detail string    `json:"detail"`
}

func (s *tapStream) begun() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stream != nil
}

// start answers the request.
func (s *tapStream) start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stream = newEventStream(s.response)
	return s.stream.write(": live\n\n")
}

func (s *tapStream) frame(f messaging.Frame) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.Problem != nil {
		if err := s.eventLocked("problem", tapProblem{wire.CodeOf(f.Problem), wire.MessageOf(f.Problem)}); err != nil {
			return err
		}
		if len(f.Messages) == 0 && f.Received == 0 {
			return nil
		}
	}
	out := MQTTFrame{Messages: make([]MQTTMessage, 0, len(f.Messages)), Received: f.Received, Dropped: f.Dropped}
	for _, m := range f.Messages {
		out.Messages = append(out.Messages, apiMQTTMessage(m))
	}
	return s.eventLocked("frame", out)
}

func (s *tapStream) eventLocked(kind string, data any) error {
	text, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("write frame: %w", err)
	}
	return s.stream.write(fmt.Sprintf("event: %s\ndata: %s\n\n", kind, text))
}

// beat keeps proxies from closing a stream on which nothing happens, and finds out who no longer reads.
func (s *tapStream) beat(ctx context.Context, gone context.CancelCauseFunc) {
	tick := time.NewTicker(streamBeat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		s.mu.Lock()
		var err error
		if s.stream != nil {
			err = s.stream.write(": beat\n\n")
		}
		s.mu.Unlock()
		if err != nil {
			gone(errReader)
			return
		}
	}
}

func apiMQTTMessage(s messaging.Sample) MQTTMessage {
	out := MQTTMessage{Topic: s.Topic, PayloadBase64: base64.StdEncoding.EncodeToString(s.Payload), Bytes: s.Bytes, Qos: int(s.QoS), Retain: s.Retain,
		At: s.At.UTC(), From: some(s.From), ContentType: some(s.ContentType), ResponseTopic: some(s.ResponseTopic)}
	if s.Correlation != nil { // an empty one is one
		text := base64.StdEncoding.EncodeToString(s.Correlation)
		out.CorrelationBase64 = &text
	}
	if s.Expiry > 0 {
		at := s.At.Add(s.Expiry).UTC()
		out.ExpiresAt = &at
	}
	if len(s.UserProperties) > 0 {
		list := make([]MQTTUserProperty, 0, len(s.UserProperties))
		for _, u := range s.UserProperties {
			list = append(list, MQTTUserProperty{Name: u.Name, Value: u.Value})
		}
		out.UserProperties = &list
	}
	return out
}
