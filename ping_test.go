package main

import (
	"crypto/ed25519"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/storetest"
	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
)

// carrierOf connects as a device would, and gives the ping that was agreed.
func (r *running) carrierOf(device string, key ed25519.PrivateKey) (ws *stream.FrameConn, ping int) {
	r.t.Helper()
	ctx := r.t.Context()
	ws, err := stream.Dialer{}.Dial(ctx, r.url+wire.PathTunnel, nil, wire.SubprotocolTunnel)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(ws.CloseNow)
	m, hello, err := ws.ReadMessage(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	auth, err := wire.Encode(wire.Auth{Purpose: wire.PurposeCarrier, Device: device, Host: "localhost:8080", Nonce: wire.NewID(),
		Instance: wire.Instance{Counter: 1, Random: "a"}, Carriers: []string{m.(wire.Hello).Nonce}, Clock: time.Now().UnixMilli()})
	if err != nil {
		r.t.Fatal(err)
	}
	signature := ed25519.Sign(key, wire.AgentTranscript(hello, auth, "localhost:8080"))
	if err := ws.WriteRaw(wire.AppendSignature(auth, signature)); err != nil {
		r.t.Fatal(err)
	}
	m, _, err = ws.ReadMessage(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	return ws, m.(wire.Ready).PingSeconds
}

// A device on little data agrees the ping that its page says, at once, and keeps it.
func TestLowDataDeviceAgreesItsPing(t *testing.T) {
	t.Parallel()
	environ := production(storetest.Dir(t))
	hub := serve(t, environ)
	must(t, environ, "", "user", "create", "--email", "owner@example.com", "--role", "owner")
	owner := token(t, environ, "owner")
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	device := enrolKey(t, hub, owner, wire.EncodeKey(public))
	first, ping := hub.carrierOf(device, key)
	if ping != 15 {
		t.Errorf("%d s were agreed at first", ping)
	}
	var d struct {
		PingSeconds int `json:"ping_seconds"`
	}
	status := hub.call(owner, "PATCH", "/api/v1/devices/kitchen", map[string]any{"ping_seconds": 120}, &d)
	if status != 200 || d.PingSeconds != 120 {
		t.Fatalf("%d %+v", status, d)
	}
	if _, _, err := first.ReadMessage(t.Context()); err == nil || stream.CloseCause(err) != nil {
		t.Errorf("the carrier that was there was not closed in good order: %v", err)
	}
	for range 2 { // a link changes nothing of it
		if _, ping = hub.carrierOf(device, key); ping != 120 {
			t.Errorf("%d s were agreed", ping)
		}
	}
}
