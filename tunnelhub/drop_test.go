package tunnelhub_test

import (
	"context"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
	"github.com/aditdev/adit/tunnelhub"
)

// A dropped device is offline at once, also when its agent does not answer the close: nothing is opened on it any more.
func TestDropIsAtOnce(t *testing.T) {
	r := newRig(t)
	p := r.dialPeer(t)
	p.ready()
	awaitOnline(t, r.hub)
	r.hub.Drop(device, wire.Errorf(wire.Forbidden, "removed"))
	if r.hub.Online(device) {
		t.Error("still online")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if _, err := r.hub.Dial(ctx, tunnelhub.Request{Device: device, Target: "ssh"}); wire.CodeOf(err) != wire.Offline {
		t.Errorf("a stream opened: %v", err)
	}
	if _, _, err := p.tryRead(); wire.CodeOf(stream.CloseCause(err)) != wire.Forbidden {
		t.Errorf("the agent is told %v", err)
	}
}

// A device that is removed or replaced while it shakes hands does not come in by what was known of it before.
func TestDropDuringHandshake(t *testing.T) {
	r := newRig(t)
	r.stopHub()
	known := r.options.Device
	var hub *tunnelhub.Hub
	r.options.Device = func(ctx context.Context, id string) (tunnelhub.Device, error) {
		d, err := known(ctx, id)
		hub.Drop(id, wire.Errorf(wire.Forbidden, "replaced"))
		return d, err
	}
	r.startHub()
	hub = r.hub
	p := r.dialPeer(t)
	m, err := p.authenticate(r.key, wire.AgentTranscript)
	if got := stream.CloseCause(err); m != nil || wire.CodeOf(got) != wire.Conflict {
		t.Errorf("got %v, %v", m, got)
	}
	if hub.Online(device) {
		t.Error("it is online")
	}
}

func awaitOnline(t *testing.T, hub *tunnelhub.Hub) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for p := range hub.Watch(ctx) {
		if p.Online {
			return
		}
	}
	t.Fatal("not online")
}
