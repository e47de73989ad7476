package messaging

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/mqtt"
)

// A CONNECT that is refused is an event, of whoever it was, in words that hold no control characters. A flood of one is few.
func TestRefusalsAreEvents(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Noted = events.NewQueue(r.Events, slog.New(slog.DiscardHandler))
	written := func() []events.Event {
		r.Noted.Flush(t.Context())
		list, _, err := r.Events.Page(t.Context(), events.Filter{Types: []string{events.MQTTRefused}}, 0, 500)
		r.must(err)
		return list
	}
	stranger := Door{Name: "tcp", Address: "2001:db8::1"}
	r.Refused(Refusal{Door: stranger, Username: "pi\x1b", ClientID: "c\n", Cause: &mqtt.Error{Code: mqtt.BadUserNameOrPassword}})
	r.Refused(Refusal{Door: Door{Name: "carrier", By: &r.kitchen}, Username: "a b", Cause: &mqtt.Error{Code: mqtt.NotAuthorized, Message: "no thing"}})
	list := written()
	if len(list) != 2 {
		t.Fatalf("%+v", list)
	}
	if e := list[1]; e.Device != "" || e.User != "" ||
		fmt.Sprint(e.Data) != "map[address:2001:db8::1 client_id:c count:1 name:pi reason:Bad User Name or Password via:tcp]" {
		t.Errorf("%+v", e)
	}
	if e := list[0]; e.Device != r.kitchen.Device || fmt.Sprint(e.Data) != "map[count:1 name:kitchen reason:no thing via:carrier]" {
		t.Errorf("%+v", e)
	}
	for i := range 1000 {
		door := stranger
		door.Address = fmt.Sprintf("2001:db8::%x", i+1)
		r.Refused(Refusal{Door: door, Username: fmt.Sprint("name", i), Cause: &mqtt.Error{Code: mqtt.BadUserNameOrPassword}})
	}
	refused := 0.0
	for _, e := range written() {
		count, _ := e.Data["count"].(float64)
		refused += count
	}
	if n := len(written()); n != 2+4+1 || refused != 1002 {
		t.Errorf("%d events of %v refusals", n, refused)
	}
}
