package ports_test

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/config"
	"github.com/aditdev/adit/internal/ports"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
	"github.com/aditdev/adit/tunnelhub"
)

// Bytes pass both ways, and each direction ends by itself.
func TestPortCarries(t *testing.T) {
	t.Parallel()
	g := newRig(t, free(t, 1))
	g.connect(g.kitchen)
	conn := g.dial(g.reserve(g.kitchen, g.echo()))
	g.carries(conn)
	streams := g.tunnel.Streams()
	if len(streams) != 1 || streams[0].Via != tunnelhub.ViaPort || streams[0].From != "127.0.0.1" || streams[0].User != g.ada.User.ID {
		t.Errorf("%+v", streams)
	}
	sent := strings.Repeat("many bytes ", 100_000)
	got := make(chan string, 1)
	go func() {
		all, _ := io.ReadAll(conn)
		got <- string(all)
	}()
	_, err := io.WriteString(conn, sent)
	g.must(err)
	g.must(conn.CloseWrite())
	if back := <-got; back != sent {
		t.Errorf("%d of %d bytes came back after the end of ours", len(back), len(sent))
	}
	g.until("the stream's end", func() bool { return len(g.tunnel.Streams()) == 0 })
}

// Rule 17: what runs through a port ends when whoever reserved it may no longer reach the target, or the port, its device
// or its user is gone; whichever process did it.
func TestPortEndsWithTheRight(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		end     func(g *rig, other *store.Store) error
		listens bool // afterwards, sending everybody away
	}{
		"its user is disabled": {func(g *rig, _ *store.Store) error {
			yes := true
			_, err := g.accounts.UpdateUser(t.Context(), "owner", g.ada.User, auth.UserPatch{Disabled: &yes})
			return err
		}, true},
		"a grant denies it": {func(g *rig, other *store.Store) error {
			return other.WriteAccess(t.Context(), func(q *store.Queries) error {
				_, err := q.AddGrant(t.Context(), store.AddGrantParams{ID: store.NewID("grt"), UserID: g.ada.User.ID, Logins: "[]",
					Targets: `["tcp:*"]`, Deny: true, CreatedAt: 1})
				return err
			})
		}, true},
		"its device is removed elsewhere": {func(g *rig, other *store.Store) error {
			return other.WriteAccess(t.Context(), func(q *store.Queries) error {
				_, err := q.RemoveDevice(t.Context(), g.kitchen.ID)
				return err
			})
		}, false},
		"its user is removed": {func(g *rig, _ *store.Store) error {
			return g.accounts.RemoveUser(t.Context(), "owner", g.ada.User)
		}, false},
		"it is given back": {func(g *rig, _ *store.Store) error {
			return g.Release(t.Context(), g.ada, g.options.Range.First)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newRig(t, free(t, 1))
			other, err := store.Open(t.Context(), g.dir)
			g.must(err)
			t.Cleanup(func() { _ = other.Close() })
			g.connect(g.kitchen)
			v := g.reserve(g.kitchen, g.echo())
			conn := g.dial(v)
			g.carries(conn)
			g.must(test.end(g, other))
			g.ends(name, conn)
			if test.listens {
				g.ends("another connection", g.dial(v))
				g.until("a line in the log", func() bool { return g.log.has("port refused a connection") })
				return
			}
			g.isGone(v)
		})
	}
}

// isGone proves that a port is given back: soon nobody listens there.
func (g *rig) isGone(v ports.View) {
	g.t.Helper()
	g.until("the listener's end", func() bool {
		conn, err := net.Dial("tcp", v.Address)
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	})
	if list, err := g.List(g.t.Context()); err != nil || len(list) != 0 {
		g.t.Errorf("%+v, %v", list, err)
	}
}

// The next hub on the same data serves the same ports, but for those that its setting no longer holds.
func TestPortsOutliveTheHub(t *testing.T) {
	t.Parallel()
	g := newRig(t, free(t, 2))
	g.connect(g.kitchen)
	target := g.echo()
	first := g.reserve(g.kitchen, target)
	conn := g.dial(first)
	g.carries(conn)
	g.stop()
	g.ends("the hub's end", conn)
	if conn, err := net.Dial("tcp", first.Address); err == nil {
		_ = conn.Close()
		t.Error("a hub that has ended listens")
	}
	g.start()
	g.until("listening again", func() bool { return g.only().Listening })
	g.carries(g.dial(first))
	g.stop()

	g.options.Range.First++
	g.start()
	g.until("the cause", func() bool { return g.only().Cause != nil })
	if v := g.only(); v.Listening || !strings.Contains(v.Cause.Error(), "outside of ADIT_TCP_PORTS") {
		t.Errorf("%+v", v)
	}
	if v := g.reserve(g.shed, target); v.TCPPort.Port != first.TCPPort.Port+1 {
		t.Errorf("shed was given %d", v.TCPPort.Port)
	}
}

// A port that another program holds keeps no hub from starting, and is served as soon as it is free.
func TestPortInUse(t *testing.T) {
	t.Parallel()
	g := newRig(t, free(t, 1))
	g.connect(g.kitchen)
	v := g.reserve(g.kitchen, g.echo())
	g.stop()
	theirs, err := net.Listen("tcp", v.Address)
	g.must(err)
	g.start()
	g.until("the cause", func() bool { return g.only().Cause != nil })
	if v := g.only(); v.Listening || !strings.Contains(v.Cause.Error(), "address already in use") {
		t.Errorf("%+v", v)
	}
	g.must(theirs.Close())
	g.until("listening", func() bool { return g.only().Listening })
	g.carries(g.dial(v))
}

// No two devices get one port, also when they ask at once; what is reserved stays so while its device is away.
func TestPortsAreGivenOnce(t *testing.T) {
	t.Parallel()
	r := free(t, 3)
	g := newRig(t, r)
	held, err := net.ListenTCP("tcp", &net.TCPAddr{IP: r.Address.AsSlice(), Port: r.First + 1})
	g.must(err)
	defer held.Close()
	given := make(chan int64, 4)
	var asking sync.WaitGroup
	for _, d := range []store.Device{g.kitchen, g.shed} {
		asking.Go(func() {
			if v, err := g.Reserve(t.Context(), g.ada, d, wire.TargetSSH, 0); err == nil {
				given <- v.TCPPort.Port
			}
		})
	}
	asking.Wait()
	if a, b := <-given, <-given; a+b != int64(2*r.First+2) || a == b {
		t.Errorf("given were %d and %d of %s, of which %d is another program's", a, b, r, r.First+1)
	}
	for name, test := range map[string]struct {
		number int
		says   string
	}{
		"any":                   {0, "2 of the 3 in ADIT_TCP_PORTS (" + r.String() + ") are reserved"},
		"one that is reserved":  {r.First, "is reserved for ssh of "},
		"one outside the range": {r.Last + 1, "outside of ADIT_TCP_PORTS"},
	} {
		_, err := g.Reserve(t.Context(), g.ada, g.kitchen, wire.TargetMQTT, test.number)
		if wire.CodeOf(err) != wire.Conflict || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// What another program holds may be asked for by its number: it is served when it is free.
	v, err := g.Reserve(t.Context(), g.ada, g.kitchen, wire.TargetMQTT, r.First+1)
	if err != nil || v.Listening || v.Cause == nil {
		t.Errorf("%+v, %v", v, err)
	}
}

func TestHubWithoutPorts(t *testing.T) {
	t.Parallel()
	g := newRig(t, config.TCPPorts{})
	for _, number := range []int{0, 80} {
		if _, err := g.Reserve(t.Context(), g.ada, g.kitchen, wire.TargetSSH, number); wire.CodeOf(err) != wire.Conflict ||
			!strings.Contains(err.Error(), "ADIT_TCP_PORTS") {
			t.Errorf("%d: %v", number, err)
		}
	}
	if err := g.Release(t.Context(), g.ada, 80); wire.CodeOf(err) != wire.NotFound {
		t.Error(err)
	}
}

// Who reserves a port must be able to reach what it leads to.
func TestReservingNeedsTheRight(t *testing.T) {
	t.Parallel()
	g := newRig(t, free(t, 1))
	g.must(g.gate.Change(t.Context(), func(q *store.Queries) error {
		_, err := q.AddGrant(t.Context(), store.AddGrantParams{ID: store.NewID("grt"), UserID: g.ada.User.ID, Logins: "[]",
			Targets: `["mqtt"]`, Deny: true, CreatedAt: 1})
		return err
	}))
	if _, err := g.Reserve(t.Context(), g.ada, g.kitchen, wire.TargetMQTT, 0); wire.CodeOf(err) != wire.Forbidden {
		t.Error(err)
	}
	g.reserve(g.kitchen, wire.TargetSSH)
}

// Rule 13: a port holds so many connections and sends the next away at once; they wait for a device that is away.
func TestPortIsBounded(t *testing.T) {
	t.Parallel()
	const most = 256
	g := newRig(t, free(t, 1))
	v := g.reserve(g.kitchen, wire.TargetSSH)
	for range most {
		g.dial(v)
	}
	g.ends("one too many", g.dial(v))
	if !g.log.has("which is the most") {
		t.Error("the log does not say so")
	}
	g.stop()
}
