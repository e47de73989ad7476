package sshgate_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/wire"
)

// Rule 8: a device that comes back is usable at once, and its old connection is over.
func TestNewestLoginOfADeviceWins(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	old := r.station("broker")
	dan := r.come("dan", r.danKey)
	conn, err := dan.Dial("tcp", "broker.adit:22")
	must(t, err)
	r.station("broker")
	ends(t, "the old connection of the device", func() { _ = old.Wait() })
	ends(t, "a stream of the old connection", func() { _, _ = io.Copy(io.Discard, conn) })
	again, err := dan.Dial("tcp", "broker.adit:22")
	must(t, err)
	_ = again.Close()
	if !r.tunnel.Online(r.ids["broker"]) {
		t.Error("the device is offline")
	}
}

func TestRemovedDeviceIsOut(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.station("broker")
	d, err := r.store.Read().GetDevice(t.Context(), r.ids["broker"])
	must(t, err)
	must(t, r.devices.Remove(t.Context(), r.owner, d))
	ends(t, "the connection of a removed device", func() { _ = c.Wait() })
	if _, err := r.login(r.ids["broker"], r.keys["broker"]); err == nil {
		t.Error("a removed device comes back")
	}
	if r.tunnel.Online(r.ids["broker"]) {
		t.Error("a removed device is online")
	}
}

// Whoever hears that a device is online expects what it forwards: it was announced before its forwards were read. One that
// asks for none is given a second.
func TestOnlineComesAfterForwards(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	began := time.Now()
	r.come(r.ids["broker"], r.keys["broker"])
	eventually(t, "the device is online", func() bool { return r.tunnel.Online(r.ids["broker"]) })
	if took := time.Since(began); took < time.Second {
		t.Errorf("online after %v, with nothing that it forwards", took)
	}
	r.station("shed")
	if offers := r.tunnel.Presence(r.ids["shed"]).Offers; len(offers) != 1 {
		t.Errorf("online with %v", offers)
	}
}

// What a device forwards are its targets, and cancelling takes one away.
func TestOffers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.station("broker", 1883)
	neighbour := ssh.Marshal(struct {
		Address string
		Port    uint32
	}{"mailserver", 110})
	if ok, _, err := c.SendRequest("tcpip-forward", true, neighbour); !ok || err != nil {
		t.Fatalf("a neighbour: %v, %v", ok, err)
	}
	want := "[tcp:127.0.0.1:1883 tcp:127.0.0.1:22 tcp:mailserver:110]"
	if got := fmt.Sprint(r.tunnel.Presence(r.ids["broker"]).Offers); got != want {
		t.Errorf("offers %s, want %s", got, want)
	}
	for _, target := range []wire.Target{"ssh", "mqtt", "tcp:127.0.0.1:22", "tcp:localhost:1883", "tcp:[::1]:1883", "tcp:mailserver:110"} {
		conn, err := r.dial(target)
		if err != nil {
			t.Errorf("%s: %v", target, err)
			continue
		}
		_ = conn.Close()
	}
	if ok, _, err := c.SendRequest("cancel-tcpip-forward", true, neighbour); !ok || err != nil {
		t.Errorf("cancel: %v, %v", ok, err)
	}
	if _, err := r.dial("tcp:mailserver:110"); wire.CodeOf(err) != wire.Forbidden {
		t.Errorf("a cancelled forward: %v", err)
	}
}

func (r *rig) dial(target wire.Target) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return r.tunnel.Dial(ctx, tunnelRequest(r.ids["broker"], target))
}

// silentStation is a device whose services say nothing and take no notice of an end.
func (r *rig) silentStation(name string) {
	r.t.Helper()
	c := r.come(r.ids[name], r.keys[name])
	incoming := c.HandleChannelOpen("forwarded-tcpip")
	go func() {
		for n := range incoming {
			if _, requests, err := n.Accept(); err == nil {
				go ssh.DiscardRequests(requests)
			}
		}
	}()
	ok, _, err := c.SendRequest("tcpip-forward", true, ssh.Marshal(struct {
		Address string
		Port    uint32
	}{"localhost", 1883}))
	if err != nil || !ok {
		r.t.Fatalf("forward: %v, %v", ok, err)
	}
}

// Rule 5: a stream that is closed leaves nothing behind, also where the device's service is silent.
func TestClosedStreamsLeaveNothing(t *testing.T) {
	r := newRig(t)
	r.silentStation("broker")
	before := runtime.NumGoroutine()
	for range 100 {
		conn, err := r.dial("tcp:127.0.0.1:1883")
		must(t, err)
		_ = conn.Close()
	}
	eventually(t, "the goroutines of closed streams are gone", func() bool { return runtime.NumGoroutine() < before+20 })

	dan := r.come("dan", r.danKey)
	for n := range 100 { // more than may be open at once
		eventually(t, fmt.Sprintf("channel %d is open", n), func() bool {
			conn, err := dan.Dial("tcp", "broker.adit:1883")
			if err == nil {
				_ = conn.Close()
			}
			return err == nil
		})
	}
	eventually(t, "no stream is left", func() bool { return len(r.tunnel.Streams()) == 0 })
}

// What was written before a close arrives, both ways.
func TestLastBytesArrive(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.station("broker")
	heard := make(chan string, 1)
	c := r.come(r.ids["shed"], r.keys["shed"])
	incoming := c.HandleChannelOpen("forwarded-tcpip")
	go func() {
		for n := range incoming {
			channel, requests, err := n.Accept()
			if err != nil {
				continue
			}
			go ssh.DiscardRequests(requests)
			text, _ := io.ReadAll(channel)
			heard <- string(text)
			_ = channel.Close()
		}
	}()
	_, _, err := c.SendRequest("tcpip-forward", true, ssh.Marshal(struct {
		Address string
		Port    uint32
	}{"localhost", 22}))
	must(t, err)
	long := strings.Repeat("last words ", 100_000)
	conn, err := r.tunnel.Dial(t.Context(), tunnelRequest(r.ids["shed"], "ssh"))
	must(t, err)
	_, err = io.WriteString(conn, long)
	must(t, err)
	must(t, conn.Close())
	if got := <-heard; got != long {
		t.Errorf("%d of %d bytes arrived before the close", len(got), len(long))
	}
}

// A lost device is no regular end of its streams.
func TestLostDeviceIsNoEnd(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for range 30 {
		c := r.station("broker")
		conn, err := r.dial("ssh")
		must(t, err)
		go func() { _ = c.Close() }()
		if _, err := io.ReadAll(conn); wire.CodeOf(err) != wire.Offline || err == nil {
			t.Fatalf("a stream whose device was lost ends with %v", err)
		}
		_ = conn.Close()
		eventually(t, "the device offline", func() bool { return !r.tunnel.Online(r.ids["broker"]) })
	}
}
