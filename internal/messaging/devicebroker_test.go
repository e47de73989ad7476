package messaging

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/porttest"
	"github.com/aditdev/adit/internal/sshdtest"
	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
	"github.com/aditdev/adit/tunnelhub"
)

// mosquitto runs a real broker with these lines in its configuration, and gives its address.
func mosquitto(t *testing.T, lines ...string) string {
	t.Helper()
	sshdtest.NeedTools(t, "mosquitto")
	address := porttest.Address(t)
	_, port, _ := net.SplitHostPort(address)
	file := filepath.Join(t.TempDir(), "mosquitto.conf")
	conf := append([]string{"user root", "listener " + port + " 127.0.0.1", "allow_anonymous true"}, lines...)
	if err := os.WriteFile(file, []byte(strings.Join(conf, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("mosquitto", "-c", file)
	var log strings.Builder
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	within(t, func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	return address
}

// plainStream is a stream that is a TCP connection.
type plainStream struct {
	*net.TCPConn
	once sync.Once
	done chan struct{}
}

func (s *plainStream) Close() error {
	s.once.Do(func() { close(s.done) })
	return s.TCPConn.Close()
}
func (s *plainStream) Reset(error)           { _ = s.Close() }
func (s *plainStream) Done() <-chan struct{} { return s.done }
func (s *plainStream) Join(net.Conn) error   { return errors.ErrUnsupported }

// behind is a tunnel to one broker that counts how often it is dialled.
type behind struct {
	address string
	dials   atomic.Int32
	open    sync.Map // of *plainStream
}

func (b *behind) dial(ctx context.Context, r tunnelhub.Request) (stream.Conn, error) {
	if b.address == "" || r.Device != "dev_k" || r.Target != wire.TargetMQTT {
		return nil, wire.Errorf(wire.Offline, "The device is not connected.")
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", b.address)
	if err != nil {
		return nil, wire.Wrap(err, wire.Offline, "refused")
	}
	b.dials.Add(1)
	s := &plainStream{TCPConn: conn.(*net.TCPConn), done: make(chan struct{})}
	b.open.Store(s, nil)
	return s, nil
}

func (r *rig) behind(address string) (*Exchange, *behind) {
	b := &behind{address: address}
	e, _ := r.exchange(func(o *ExchangeOptions) {
		o.Dial, o.Online = b.dial, func(string) bool { return address != "" }
	})
	return e, b
}

func TestTapOfADevicesBroker(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e, b := r.behind(mosquitto(t))
	olivia := r.people["olivia"]
	publish := func(m mqtt.Message) {
		t.Helper()
		if _, err := e.Publish(t.Context(), olivia, "dev_k", m, 0); err != nil {
			t.Fatal(err)
		}
	}
	publish(mqtt.Message{Topic: "a/kept", Payload: []byte("1"), QoS: 1, Retain: true})
	first := frames(t, e, "u", "dev_k", "a/#", nil)
	if s := await(t, first, "a/kept"); !s.Retain || string(s.Payload) != "1" {
		t.Errorf("%+v", s)
	}
	dialled := b.dials.Load()
	second := frames(t, e, "v", "dev_k", "a/#", nil)
	await(t, second, "a/kept") // from what the connection has seen
	publish(mqtt.Message{Topic: "a/live", Payload: []byte("2"), QoS: 2, ContentType: "text/plain"})
	for _, reader := range []<-chan Frame{first, second} {
		if s := await(t, reader, "a/live"); s.QoS != 2 || s.ContentType != "text/plain" || s.Retain {
			t.Errorf("%+v", s)
		}
	}
	if n := b.dials.Load(); n != dialled+1 { // that of publish
		t.Errorf("%d connections for two who look at the same", n-dialled)
	}
	// A cut is told and mended.
	b.open.Range(func(s, _ any) bool { _ = s.(*plainStream).TCPConn.Close(); return true })
	await(t, first, "")
	within(t, func() bool { return b.dials.Load() >= dialled+2 })
	await(t, first, "a/kept")
}

// A broker on which nothing happens was shown as one that is still being connected to, for ever.
func TestTapOfASilentDevicesBroker(t *testing.T) {
	t.Parallel()
	e, _ := newRig(t).behind(mosquitto(t))
	for _, user := range []string{"u", "v"} { // one who waits for the connection, one who finds it
		select {
		case f := <-frames(t, e, user, "dev_k", "silent/#", nil):
			if f.Problem != nil || len(f.Messages) != 0 {
				t.Errorf("%+v", f)
			}
		case <-time.After(time.Minute):
			t.Fatal("nothing says that the broker was joined")
		}
	}
}

func TestDevicesBrokerThatCannotBeReached(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e, _ := r.behind("")
	await(t, frames(t, e, "u", "dev_k", "#", nil), "")
	if _, err := e.Publish(t.Context(), r.people["olivia"], "dev_k", mqtt.Message{Topic: "a"}, 0); wire.CodeOf(err) != wire.Offline {
		t.Errorf("%v", err)
	}
	passwords := filepath.Join(t.TempDir(), "passwd")
	r.must(os.WriteFile(passwords, []byte(passwordFile(t)), 0o600))
	closed, _ := r.behind(mosquitto(t, "allow_anonymous false", "password_file "+passwords))
	if _, err := closed.Publish(t.Context(), r.people["olivia"], "dev_k", mqtt.Message{Topic: "a"}, 0); wire.CodeOf(err) != wire.Forbidden || !strings.Contains(err.Error(), "username") {
		t.Errorf("%v", err)
	}
}

func TestRetainedOfADevicesBroker(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e, _ := r.behind(mosquitto(t))
	for i := range 5 {
		_, err := e.Publish(t.Context(), r.people["olivia"], "dev_k", mqtt.Message{Topic: fmt.Sprintf("a/%d", i), Payload: []byte("x"), QoS: 1, Retain: true}, 0)
		r.must(err)
	}
	got, err := e.DeviceRetained(t.Context(), "dev_k", "u", "a/#")
	if err != nil || len(got) != 5 || got[1].Topic != "a/1" || string(got[1].Payload) != "x" {
		t.Fatalf("%+v %v", got, err)
	}
	r.must(e.DeviceClear(t.Context(), "dev_k", "u", []string{"a/0", "a/1"}))
	if got, err = e.DeviceRetained(t.Context(), "dev_k", "u", "a/#"); err != nil || len(got) != 3 {
		t.Errorf("%+v %v", got, err)
	}
}

func TestRequestToADevicesBroker(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	address := mosquitto(t)
	e, b := r.behind(address)
	conn, err := b.dial(t.Context(), tunnelhub.Request{Device: "dev_k", Target: wire.TargetMQTT})
	r.must(err)
	questions := make(chan mqtt.Message, 1)
	answerer, err := mqtt.NewClient(t.Context(), conn, mqtt.Options{ClientID: "answerer", Clean: true, OnPublish: func(p *mqtt.Publish, ack func()) {
		ack()
		questions <- p.Message()
	}})
	r.must(err)
	defer answerer.Close()
	_, err = answerer.Subscribe(t.Context(), mqtt.Subscription{Filter: "ask/#", QoS: 1})
	r.must(err)
	answered := make(chan error, 1)
	go func() {
		q := <-questions
		answered <- answerer.Publish(t.Context(), mqtt.Message{Topic: q.ResponseTopic, Correlation: q.Correlation, Payload: []byte("42"), QoS: 1})
	}()
	reply, err := e.Publish(t.Context(), r.people["olivia"], "dev_k", mqtt.Message{Topic: "ask/me", QoS: 1}, time.Minute)
	if err != nil || string(reply.Payload) != "42" {
		t.Errorf("%+v %v", reply, err)
	}
	r.must(<-answered)
	if _, err := e.Publish(t.Context(), r.people["olivia"], "dev_k", mqtt.Message{Topic: "nobody"}, 100*time.Millisecond); !errors.Is(err, ErrSilent) {
		t.Errorf("%v", err)
	}
}

// What the device's page gives to paste is read by a real Mosquitto and maps both ways as it says.
func TestMosquittoConf(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	hub := mosquitto(t)
	local := mosquitto(t, MosquittoConf("kitchen", hub))
	onHub, _ := r.behind(hub)
	onDevice, _ := r.behind(local)
	olivia := r.people["olivia"]
	state := await(t, frames(t, onHub, "u", "dev_k", "$SYS/broker/connection/#", nil), "$SYS/broker/connection/mosquitto-kitchen/state")
	if string(state.Payload) != "1" {
		t.Errorf("the bridge says %q", state.Payload)
	}
	seen := frames(t, onHub, "u", "dev_k", "devices/#", nil)
	_, err := onDevice.Publish(t.Context(), olivia, "dev_k", mqtt.Message{Topic: "sensors/t", Payload: []byte("21"), QoS: 1, Retain: true}, 0)
	r.must(err)
	if s := await(t, seen, "devices/kitchen/sensors/t"); string(s.Payload) != "21" || s.QoS != 1 || !s.Retain {
		t.Errorf("%+v", s)
	}
	arrive := frames(t, onDevice, "u", "dev_k", "cmds/#", nil)
	_, err = onHub.Publish(t.Context(), olivia, "dev_k", mqtt.Message{Topic: "cmds/kitchen/light", Payload: []byte("on"), QoS: 1, Retain: true}, 0)
	r.must(err)
	if s := await(t, arrive, "cmds/light"); string(s.Payload) != "on" {
		t.Errorf("%+v", s)
	}
}
