package handlers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
	"github.com/aditdev/adit/tunnelhub"
)

// serveTunnelDoor serves the door alone.
func serveTunnelDoor(t *testing.T) (*tunnelDoor, string) {
	t.Helper()
	hub := tunnelhub.New(tunnelhub.Options{
		Log: slog.New(slog.DiscardHandler), Name: "test", Version: "1",
		Device: func(context.Context, string) (tunnelhub.Device, error) {
			return tunnelhub.Device{}, wire.Errorf(wire.NotFound, "none")
		},
	})
	d := newTunnelDoor(hub, context.Background())
	e := echo.New()
	e.HTTPErrorHandler = func(err error, c echo.Context) { _ = c.NoContent(wire.CodeOf(err).HTTPStatus()) }
	e.GET(wire.PathTunnel, d.Open)
	server := httptest.NewServer(e)
	t.Cleanup(server.Close)
	return d, server.URL + wire.PathTunnel
}

func dialTunnel(t *testing.T, at string) (*stream.FrameConn, error) {
	t.Helper()
	ws, err := stream.Dialer{}.Dial(context.Background(), at, nil, wire.SubprotocolTunnel)
	if err == nil {
		t.Cleanup(ws.CloseNow)
	}
	return ws, err
}

// One address cannot keep the hub from hearing others, and gets its place back when it is done.
func TestTunnelDoorCapsEachAddress(t *testing.T) {
	d, at := serveTunnelDoor(t)
	for i := range waitingPerAddress { // by hand: a socket that is silent is sent away before long
		if !d.enter(auth.Network("127.0.0.1")) {
			t.Fatalf("socket %d is kept out", i)
		}
	}
	if _, err := dialTunnel(t, at); wire.CodeOf(err) != wire.Offline || stream.CauseOf(err) != stream.CauseNot101 {
		t.Fatalf("socket %d: %v", waitingPerAddress+1, err)
	}
	d.leave(auth.Network("127.0.0.1"))
	for range 3 {
		var ws *stream.FrameConn
		var err error
		for deadline := time.Now().Add(patience); ws == nil; {
			if ws, err = dialTunnel(t, at); err != nil && time.Now().After(deadline) {
				t.Fatalf("a place that was given back is not free: %v", err)
			}
		}
		ws.CloseNow()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.inAll > waitingPerAddress {
		t.Errorf("%d wait in all", d.inAll)
	}
}

func TestTunnelDoorCapsAll(t *testing.T) {
	d := newTunnelDoor(nil, context.Background())
	for i := range waitingInAll {
		if !d.enter(fmt.Sprint(i)) {
			t.Fatalf("socket %d is kept out", i)
		}
	}
	if d.enter("one more") {
		t.Error("one more is let in")
	}
	d.leave("0")
	if !d.enter("one more") {
		t.Error("a place that was given back is not free")
	}
}

// Who says nothing is sent away before long, and holds no slot meanwhile.
func TestTunnelDoorSendsTheSilentAway(t *testing.T) {
	t.Parallel()
	d, at := serveTunnelDoor(t)
	start := time.Now()
	ws, err := dialTunnel(t, at)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, _, err = ws.ReadMessage(ctx); err != nil {
		t.Fatalf("hello: %v", err)
	}
	if len(d.verifying) != 0 {
		t.Error("a silent socket holds a slot")
	}
	_, _, err = ws.ReadMessage(ctx)
	if took := time.Since(start); err == nil || errors.Is(err, context.DeadlineExceeded) || took < wire.AuthTimeout {
		t.Fatalf("after %v: %v", took, err)
	}
}

func TestTunnelDoorWithoutUpgrade(t *testing.T) {
	_, at := serveTunnelDoor(t)
	resp, err := http.Get(at)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusSwitchingProtocols {
		t.Errorf("status %d", resp.StatusCode)
	}
}

// Slots are apart: a crowd that comes online does not use those of devices that are.
func TestTunnelDoorSlots(t *testing.T) {
	hub := tunnelhub.New(tunnelhub.Options{Log: slog.New(slog.DiscardHandler)})
	d := newTunnelDoor(hub, context.Background())
	for range verifySlots {
		if _, err := d.admit(context.Background(), "dev_1"); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := d.admit(ctx, "dev_1"); wire.CodeOf(err) != wire.RateLimited {
		t.Errorf("one more: %v", err)
	}
	if len(d.parking) != 0 {
		t.Error("it used the slots of those online")
	}
}
