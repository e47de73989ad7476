package tunnelhub_test

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
	"github.com/aditdev/adit/tunnelhub"
)

// pingOf is the ping that a handshake agrees.
func (p *peer) pingOf() int {
	p.t.Helper()
	m, err := p.authenticate(p.r.key, wire.AgentTranscript)
	if err != nil {
		p.t.Fatal(err)
	}
	return m.(wire.Ready).PingSeconds
}

func (r *rig) setPing(every time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ping = every
}

// A longer ping is agreed at once where a carrier waits, and where one carries a stream, when that is over. Long because
// each step depends on the one before.
func TestRenewedCarriersAgreeTheNewPing(t *testing.T) {
	r := newRig(t)
	busy := r.dialPeer(t)
	if ping := busy.pingOf(); ping != 15 {
		t.Errorf("%d s were agreed at first", ping)
	}
	r.waitCarriers(1)
	opened := make(chan uint64, 1)
	go func() {
		m, _, _ := busy.tryRead()
		open, _ := m.(wire.Open)
		_ = busy.ws.WriteMessage(wire.Opened{Stream: open.Stream})
		opened <- open.Stream
	}()
	conn, err := r.hub.Dial(context.Background(), r.request("tcp:127.0.0.1:1"))
	if err != nil {
		t.Fatal(err)
	}
	number := <-opened
	parked := r.dialPeer(t)
	parked.auth.Carriers = append(parked.auth.Carriers, busy.hello.Nonce)
	parked.ready()
	r.waitCarriers(2)

	r.setPing(2 * time.Minute)
	r.hub.Renew(device)
	parked.closedInGoodOrder()
	if !r.hub.Online(device) {
		t.Error("the device went offline")
	}
	if err := busy.ws.WriteData([]byte("still here")); err != nil {
		t.Fatal(err)
	}
	said := make([]byte, 10)
	if _, err := io.ReadFull(conn, said); err != nil || string(said) != "still here" {
		t.Errorf("%q, %v", said, err)
	}
	busy.send(wire.EOF{Stream: number})
	closed := make(chan error, 1)
	go func() { closed <- conn.Close() }()
	for over := false; !over; {
		m, _ := busy.read()
		_, over = m.(wire.EOF)
	}
	busy.send(wire.Parked{Stream: number})
	busy.closedInGoodOrder()
	<-closed
	if ping := r.dialPeer(t).pingOf(); ping != 120 {
		t.Errorf("%d s were agreed afterwards", ping)
	}
}

// closedInGoodOrder reads to the end of a carrier, which must be one after which an agent parks another at once.
func (p *peer) closedInGoodOrder() {
	p.t.Helper()
	var err error
	for err == nil {
		_, _, err = p.tryRead()
	}
	if cause := stream.CloseCause(err); cause != nil {
		p.t.Errorf("not closed in good order: %v", cause)
	}
}

// What a handshake read of its device before it was renewed does not stay.
func TestRenewDuringHandshake(t *testing.T) {
	r := newRig(t)
	r.stopHub()
	known := r.options.Device
	var hub *tunnelhub.Hub
	r.options.Device = func(ctx context.Context, id string) (tunnelhub.Device, error) {
		d, err := known(ctx, id)
		hub.Renew(id)
		return d, err
	}
	r.startHub()
	hub = r.hub
	p := r.dialPeer(t)
	p.ready()
	p.closedInGoodOrder()
	r.waitCarriers(0)
}

// An agent parks another carrier at once: what is opened meanwhile waits, and no person notices.
func TestRenewedAgentStaysInReach(t *testing.T) {
	r := newRig(t)
	target := listen(t, echo)
	r.agent(nil)
	r.waitOnline(true)
	for range 5 {
		r.hub.Renew(device)
		conn, err := r.hub.Dial(context.Background(), r.request(target)) // which gives up before an agent that counts failures is back
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
	}
}

// A clone that a person has acknowledged is forgotten, and the next one is news.
func TestForgottenCloneIsNewsAgain(t *testing.T) {
	r := newRig(t)
	first := r.dialPeer(t)
	first.ready()
	r.waitCarriers(1)
	clone := func() {
		t.Helper()
		second := r.dialPeer(t)
		second.auth.Instance.Random = "b"
		if _, err := second.authenticate(r.key, wire.AgentTranscript); wire.CodeOf(stream.CloseCause(err)) != wire.Conflict {
			t.Fatalf("got %v", err)
		}
	}
	clone()
	clone()
	if !r.hub.Presence(device).Cloned {
		t.Error("the clone is not known")
	}
	r.hub.ForgetClone(device)
	if r.hub.Presence(device).Cloned {
		t.Error("the clone is not forgotten")
	}
	clone()
	first.ws.CloseNow()
	r.stopHub()
	if r.cloned != 2 {
		t.Errorf("%d clones were told", r.cloned)
	}
}
