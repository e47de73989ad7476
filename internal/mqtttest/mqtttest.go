// Package mqtttest gives tests a real Mosquitto, and MQTT clients at it.
package mqtttest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/porttest"
)

// patience is how long what must come may take: only what never comes is a fault, on a machine that does other things too.
const patience = time.Minute

// Broker is a running Mosquitto.
type Broker struct {
	Address string
	t       testing.TB
	conf    string
	cmd     *exec.Cmd
	log     *bytes.Buffer
}

// Start runs a Mosquitto that lets everybody in, with further lines of mosquitto.conf. It ends with the test.
func Start(t testing.TB, conf ...string) *Broker {
	t.Helper()
	if _, err := exec.LookPath("mosquitto"); err != nil {
		t.Fatal("mosquitto is missing; `.ci/install-tools` names the packages")
	}
	b := &Broker{t: t, Address: porttest.Address(t), log: &bytes.Buffer{}}
	_, port, _ := net.SplitHostPort(b.Address)
	b.conf = filepath.Join(t.TempDir(), "mosquitto.conf")
	text := fmt.Sprintf("listener %s 127.0.0.1\nallow_anonymous true\nuser root\nlog_type all\n", port)
	for _, line := range conf {
		text += line + "\n"
	}
	if err := os.WriteFile(b.conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	b.Run()
	t.Cleanup(b.Kill)
	return b
}

// Run starts the broker again after Kill.
func (b *Broker) Run() {
	b.t.Helper()
	b.cmd = exec.Command("mosquitto", "-c", b.conf)
	b.cmd.Stderr = b.log
	if err := b.cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	Eventually(b.t, "mosquitto listens", func() bool {
		conn, err := net.Dial("tcp", b.Address)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
}

// Kill ends it as a power cut would.
func (b *Broker) Kill() {
	_ = b.cmd.Process.Kill()
	_ = b.cmd.Wait()
	if b.t.Failed() {
		b.t.Logf("mosquitto at %s:\n%s", b.Address, b.log.String())
	}
}

// Connect is a client at the broker, closed with the test.
func (b *Broker) Connect(o mqtt.Options) *mqtt.Client {
	b.t.Helper()
	conn, err := net.Dial("tcp", b.Address)
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := mqtt.NewClient(ctx, conn, o)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = c.Close() })
	return c
}

// Listen subscribes and gives what comes, retained messages too.
func (b *Broker) Listen(filter string) <-chan *mqtt.Publish {
	b.t.Helper()
	got := make(chan *mqtt.Publish, 10_000)
	c := b.Connect(mqtt.Options{Clean: true, OnPublish: func(p *mqtt.Publish, ack func()) { got <- p; ack() }})
	codes, err := c.Subscribe(context.Background(), mqtt.Subscription{Filter: filter, QoS: 2, RetainAsPublished: true})
	if err != nil || codes[0].Failed() {
		b.t.Fatal(codes, err)
	}
	return got
}

// Next is the next message.
func Next(t testing.TB, got <-chan *mqtt.Publish) *mqtt.Publish {
	t.Helper()
	select {
	case p := <-got:
		return p
	case <-time.After(patience):
		t.Fatal("no message came")
		return nil
	}
}

// Eventually waits for something to be so.
func Eventually(t testing.TB, what string, so func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !so(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("it did not happen that %s", what)
		}
	}
}
