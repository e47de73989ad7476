package broker

import (
	"testing"

	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/storetest"
)

// Whoever is refused is told of, with what they said and, where that is known, who they are; others are not.
func TestRefusalsAreTold(t *testing.T) {
	t.Parallel()
	told := make(chan messaging.Refusal, 100)
	r := startIn(t, storetest.Dir(t), newPolicy(), func(o *Options) { o.Refused = func(f messaging.Refusal) { told <- f } })
	next := func(code mqtt.ReasonCode, username, clientID, who string) {
		t.Helper()
		f := <-told
		if f.Cause.Code != code || f.Username != username || f.ClientID != clientID || f.Principal.Name != who || f.Door.Address != "127.0.0.1" {
			t.Errorf("%+v: %v", f, f.Cause)
		}
	}
	for _, v := range versions {
		r.refused(t, hello(v, "oven", "o", func(c *mqtt.Connect) { c.Password = "wrong" }), mqtt.BadUserNameOrPassword)
		next(mqtt.BadUserNameOrPassword, "oven", "o", "")
		r.refused(t, hello(v, "oven", "a/b"), mqtt.ClientIDNotValid)
		next(mqtt.ClientIDNotValid, "oven", "a/b", "")
		r.refused(t, hello(v, "oven", "o", withWill("devices/other/x", "gone", false)), mqtt.NotAuthorized)
		next(mqtt.NotAuthorized, "oven", "o", "oven")
	}
	unknown := r.dial(t)
	unknown.raw([]byte("\x10\x10\x00\x04MQTT\x07\x02\x00\x3c\x00\x04test"))
	next(mqtt.UnsupportedVersion, "", "", "")
	other := r.dial(t)
	other.raw([]byte("\x30\x05\x00\x01axy"))
	next(mqtt.ProtocolError, "", "", "")
	r.connect(t, hello(mqtt.V5, "oven", "o"))
	_ = r.dial(t).Close()
	r.stop()
	if len(told) > 0 {
		t.Errorf("also %+v", <-told)
	}
}

// Strangers who are too many are refused before they say a word.
func TestStrangersWhoAreTooManyAreTold(t *testing.T) {
	t.Parallel()
	told := make(chan messaging.Refusal, 1)
	r := startIn(t, "", newPolicy(), func(o *Options) { o.Refused = func(f messaging.Refusal) { told <- f } })
	for range maxStrangersPerAddress {
		if err := r.enter(messaging.Door{Name: "tcp", Address: "127.0.0.1"}); err != nil {
			t.Fatal(err)
		}
		defer r.served.Done()
	}
	r.dial(t).gone()
	if f := <-told; f.Cause.Code != mqtt.ServerBusy {
		t.Error(f.Cause)
	}
}
