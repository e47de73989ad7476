package mqtt

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/porttest"
)

// mosquitto runs a real broker and gives its address.
func mosquitto(t *testing.T) string {
	t.Helper()
	program, err := exec.LookPath("mosquitto")
	if err != nil {
		t.Fatalf("mosquitto is missing; `.ci/install-tools` names the package: %v", err)
	}
	port := porttest.Free(t)
	address := fmt.Sprintf("127.0.0.1:%d", port)
	file := filepath.Join(t.TempDir(), "mosquitto.conf")
	conf := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\nuser root\n", port)
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-c", file)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for deadline := time.Now().Add(time.Minute); ; {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
			return address
		}
		if time.Now().After(deadline) {
			t.Fatal("mosquitto does not listen")
		}
	}
}

func dial(t *testing.T, address string, o Options) *Client {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewClient(t.Context(), conn, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestAgainstMosquitto(t *testing.T) {
	address := mosquitto(t)
	for _, v := range []Version{V31, V311, V5} {
		t.Run(v.String(), func(t *testing.T) {
			got := make(chan Message, 100)
			sub := dial(t, address, Options{Version: v, ClientID: "sub" + v.String(), Clean: true, OnPublish: func(p *Publish, ack func()) { got <- p.Message(); ack() }})
			codes, err := sub.Subscribe(t.Context(), Subscription{Filter: "a/#", QoS: 2})
			if err != nil || len(codes) != 1 || codes[0] != 2 {
				t.Fatal(codes, err)
			}
			pub := dial(t, address, Options{Version: v, ClientID: "pub" + v.String(), Clean: true, Will: &Publish{Topic: "a/will", Payload: []byte("gone"), QoS: 1}})
			for qos := range byte(3) {
				for i := range 30 {
					m := Message{Topic: "a/b", Payload: fmt.Appendf(nil, "%d/%d", qos, i), QoS: qos, ContentType: "text/plain"}
					if err := pub.Publish(t.Context(), m); err != nil {
						t.Fatal(err)
					}
				}
				for i := range 30 {
					m := receive(t, got)
					if string(m.Payload) != fmt.Sprintf("%d/%d", qos, i) || m.QoS != qos || (v == V5) != (m.ContentType == "text/plain") {
						t.Fatalf("%d of QoS %d: %+v %s", i, qos, m, m.Payload)
					}
				}
			}
			_ = pub.conn.Close() // without DISCONNECT
			if m := receive(t, got); m.Topic != "a/will" || string(m.Payload) != "gone" {
				t.Errorf("the Will is %+v", m)
			}
			if _, err := sub.Unsubscribe(t.Context(), "a/#"); err != nil {
				t.Error(err)
			}
		})
	}
}

func receive(t *testing.T, got <-chan Message) Message {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	select {
	case m := <-got:
		return m
	case <-ctx.Done():
		t.Fatal("no message came")
		return Message{}
	}
}
