package broker

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/aditdev/adit/internal/mqtt"
)

// lines is a log that tests read.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), what)
}

// fill has n messages retained and waits until they are.
func (p *peer) fill(prefix string, n int, payload string) {
	p.t.Helper()
	for i := range n {
		p.publish(fmt.Sprint(prefix, i), payload, 0, retain)
	}
	p.quiet()
}

// It guards against one device that takes all the places of retained messages, so that nobody else has any.
func TestOneDeviceCannotTakeAllThatIsRetained(t *testing.T) {
	t.Parallel()
	var log lines
	r := startIn(t, t.TempDir(), newPolicy(), func(o *Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	oven, lamp, older := r.connect(t, hello(mqtt.V5, "oven", "a")), r.connect(t, hello(mqtt.V5, "lamp", "a")), r.connect(t, hello(mqtt.V311, "oven", "b"))
	watch := r.connect(t, hello(mqtt.V311, "admin", "w"))
	oven.fill("devices/oven/", maxRetainedByDevice, "x")
	watch.subscribe(0, "devices/oven/more")
	for _, step := range []struct {
		peer           *peer
		topic, payload string
		want           mqtt.ReasonCode
	}{
		{oven, "devices/oven/more", "x", mqtt.QuotaExceeded},
		{oven, "devices/oven/5", "another", mqtt.Success},
		{older, "devices/oven/more", "heard", mqtt.Success}, // which cannot be told
		{lamp, "shared/lamp", "x", mqtt.Success},
		{oven, "shared/lamp", "y", mqtt.Success}, // stays on the lamp's account
		{oven, "devices/oven/more", "x", mqtt.QuotaExceeded},
		{oven, "devices/oven/7", "", mqtt.Success},
		{oven, "devices/oven/more", "now", mqtt.Success},
		{oven, "devices/oven/yet more", "x", mqtt.QuotaExceeded},
	} {
		if code := step.peer.publish(step.topic, step.payload, 1, retain); code != step.want {
			t.Errorf("%s %q: %v, want %v", step.topic, step.payload, code, step.want)
		}
	}
	for _, want := range []string{"heard", "now"} {
		if m := watch.receive(); string(m.Payload) != want {
			t.Errorf("%q, want %q", m.Payload, want)
		}
	}
	if s := r.Stats(); s.Retained != maxRetainedByDevice+1 || s.Unkept != 4 {
		t.Errorf("%d retained, %d not", s.Retained, s.Unkept)
	}
	for _, c := range r.Clients() {
		if want := map[string]int{"oven": maxRetainedByDevice, "lamp": 1}[c.Principal.Name]; c.Retained != want {
			t.Errorf("%s has %d on its account, want %d", c.Principal.Name, c.Retained, want)
		}
	}
	if n := log.count("no more is retained"); n != 1 {
		t.Errorf("%d lines in the log", n)
	}
	r.stop()

	again := startIn(t, r.dir, r.policy)
	oven = again.connect(t, hello(mqtt.V5, "oven", "a"))
	if code := oven.publish("devices/oven/yet more", "x", 1, retain); code != mqtt.QuotaExceeded {
		t.Errorf("after a restart: %v", code)
	}
	oven.publish("devices/oven/8", "", 1, retain)
	if code := oven.publish("devices/oven/yet more", "x", 1, retain); code != mqtt.Success {
		t.Errorf("after a restart and one less: %v", code)
	}
}

func TestOneDeviceCannotTakeAllBytesThatAreRetained(t *testing.T) {
	t.Parallel()
	r := startIn(t, "", newPolicy())
	oven := r.connect(t, hello(mqtt.V5, "oven", "a"))
	big := strings.Repeat("x", maxRetainedPayload-100)
	oven.fill("devices/oven/", maxRetainedBytesByDevice/maxRetainedPayload, big)
	if code := oven.publish("devices/oven/small", strings.Repeat("x", 1000), 1, retain); code != mqtt.Success {
		t.Errorf("what fits: %v", code)
	}
	if code := oven.publish("devices/oven/big", big, 1, retain); code != mqtt.QuotaExceeded {
		t.Errorf("too much: %v", code)
	}
	if code := oven.publish("devices/oven/small", big, 1, retain); code != mqtt.QuotaExceeded {
		t.Errorf("too much in place of little: %v", code)
	}
	if code := oven.publish("devices/oven/3", big, 1, retain); code != mqtt.Success {
		t.Errorf("as much in place of what is there: %v", code)
	}
}

// What a hub kept before accounts were limited stays, and follows a device to its new name.
func TestRetainedBeyondAnAccountStays(t *testing.T) {
	t.Parallel()
	r := startIn(t, "", newPolicy())
	r.mu.Lock()
	for i := range maxRetainedByDevice + 10 {
		r.Broker.retained.put(&message{Message: mqtt.Message{Topic: fmt.Sprint("devices/oven/", i), Payload: []byte("x"), Retain: true}, owner: "dev_oven"})
	}
	r.mu.Unlock()
	if err := r.Moved(t.Context(), "devices/oven", "devices/stove"); err != nil {
		t.Fatal(err)
	}
	if page, err := r.Retained(t.Context(), "devices/stove/#", "", 1, nil); err != nil || page.Total != maxRetainedByDevice+10 {
		t.Errorf("%d %v", page.Total, err)
	}
	if err := r.Moved(t.Context(), "devices/stove", ""); err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if left := r.Broker.retained; len(left.accounts) != 0 || left.bytes != 0 {
		t.Errorf("%d accounts, %d bytes of nothing", len(left.accounts), left.bytes)
	}
}

func TestWhoseAccount(t *testing.T) {
	t.Parallel()
	for want, m := range map[string]*message{
		"dev_1":    {origin: key{"dev_1/oven", "c"}, from: "kitchen/oven"},
		"usr_1":    {origin: key{"usr_1", "c"}, from: "alice"},
		"mqc_1":    {origin: key{"mqc_1", "c"}, from: "nodered"},
		"by alice": {from: "alice"},
		"":         {},
	} {
		if got := ownerOf(m); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
