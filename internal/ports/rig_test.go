package ports_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/agent/carrier"
	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/config"
	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/leaktest"
	"github.com/aditdev/adit/internal/ports"
	"github.com/aditdev/adit/internal/porttest"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/storetest"
	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
	"github.com/aditdev/adit/tunnelhub"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// rig is a hub's ports on a real database, with its tunnel behind a real HTTP server. ada manages it; kitchen and shed are
// its devices.
type rig struct {
	*ports.Ports
	t             *testing.T
	dir           string
	options       ports.Options
	gate          *auth.Gate
	accounts      *auth.Accounts
	tunnel        *tunnelhub.Hub
	server        *httptest.Server
	hubKey        ed25519.PrivateKey
	keys          map[string]ed25519.PrivateKey // by device id
	ada           *auth.Principal
	kitchen, shed store.Device
	log           *text
	stop          func() // ends the ports
}

// text is a log that tests read while others write.
type text struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *text) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *text) has(s string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.b.String(), s)
}

func newRig(t *testing.T, r config.TCPPorts) *rig {
	t.Helper()
	g := &rig{t: t, dir: storetest.Dir(t), keys: map[string]ed25519.PrivateKey{}, log: &text{}}
	st, err := store.Open(t.Context(), g.dir)
	g.must(err)
	t.Cleanup(func() { _ = st.Close() })
	g.gate, err = auth.NewGate(t.Context(), st, time.Now)
	g.must(err)
	g.accounts, err = auth.NewAccounts(st, g.gate)
	g.must(err)
	log := slog.New(slog.NewTextHandler(g.log, nil))
	_, g.hubKey, err = ed25519.GenerateKey(nil)
	g.must(err)
	g.server = httptest.NewUnstartedServer(http.HandlerFunc(g.serveTunnel))
	g.tunnel = tunnelhub.New(tunnelhub.Options{Log: log, Key: g.hubKey, Hosts: []string{g.server.Listener.Addr().String()}, Name: "test",
		Version: "1", Device: func(_ context.Context, id string) (tunnelhub.Device, error) {
			return tunnelhub.Device{ID: id, Key: g.keys[id].Public().(ed25519.PublicKey), Status: tunnelhub.StatusActive}, nil
		}})
	g.run(g.gate.Run)
	g.run(g.tunnel.Run)
	g.options = ports.Options{Log: log, Range: r, Store: st, Gate: g.gate, Events: events.New(st, time.Now), Now: time.Now, Dial: g.tunnel.Dial}
	ada, err := g.accounts.CreateUser(t.Context(), auth.NewUser{Email: "ada@example.com", Role: access.Admin})
	g.must(err)
	g.ada, g.kitchen, g.shed = &auth.Principal{User: ada}, g.device("kitchen"), g.device("shed")
	g.server.Start()
	t.Cleanup(g.server.Close)
	g.start()
	return g
}

func (g *rig) must(err error) {
	g.t.Helper()
	if err != nil {
		g.t.Fatal(err)
	}
}

// run runs a part of the hub until the test ends or the returned function is called.
func (g *rig) run(part func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = part(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	g.t.Cleanup(stop)
	return stop
}

// start begins the ports of another process on the same database.
func (g *rig) start() {
	g.Ports = ports.New(g.options)
	g.stop = g.run(g.Ports.Run)
}

func (g *rig) serveTunnel(w http.ResponseWriter, req *http.Request) {
	ws, err := stream.Accept(w, req, wire.SubprotocolTunnel)
	if err != nil {
		return
	}
	if c, err := g.tunnel.Handshake(context.Background(), ws, req.RemoteAddr, nil); err == nil {
		_ = g.tunnel.Serve(context.Background(), c)
	}
}

func (g *rig) device(name string) (d store.Device) {
	g.t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	g.must(err)
	g.must(g.gate.Change(g.t.Context(), func(q *store.Queries) (err error) {
		d, err = q.CreateDevice(g.t.Context(), store.CreateDeviceParams{ID: store.NewID("dev"), Name: name,
			PublicKey: wire.EncodeKey(public), Status: "active", Via: "agent", Facts: "{}", CreatedAt: 1})
		return err
	}))
	g.keys[d.ID] = private
	return d
}

// connect brings a device online. Its streams reach whatever address they name.
func (g *rig) connect(d store.Device) {
	g.t.Helper()
	pool := carrier.New(carrier.Config{Log: g.options.Log, URL: g.server.URL, Device: d.ID, Key: g.keys[d.ID],
		HubKeys:  []ed25519.PublicKey{g.hubKey.Public().(ed25519.PublicKey)},
		Instance: wire.Instance{Counter: 1, Random: wire.NewID()}, AgentVersion: "test", Handler: anyAddress{}})
	g.run(pool.Run)
	for p := range g.tunnel.Watch(g.t.Context()) {
		if p.Device == d.ID && p.Online {
			return
		}
	}
}

// anyAddress is a device that allows everything.
type anyAddress struct{}

func (anyAddress) Open(ctx context.Context, open wire.Open) (net.Conn, error) {
	address, ok := open.Target.Address()
	if !ok {
		return nil, wire.Errorf(wire.Forbidden, "no %s here", open.Target)
	}
	return (&net.Dialer{}).DialContext(ctx, "tcp", address)
}

func (anyAddress) Call(context.Context, string, json.RawMessage) (any, error) {
	return nil, wire.Errorf(wire.NotFound, "none")
}

// echo is a target that says back what it hears, and ends when it has heard the end.
func (g *rig) echo() wire.Target {
	g.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	g.must(err)
	g.run(func(ctx context.Context) error {
		defer context.AfterFunc(ctx, func() { _ = l.Close() })()
		var serving sync.WaitGroup
		defer serving.Wait()
		for {
			conn, err := l.Accept()
			if err != nil {
				return err
			}
			serving.Go(func() {
				defer conn.Close()
				defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
				_, _ = io.Copy(conn, conn)
			})
		}
	})
	return wire.TCPTarget("127.0.0.1", l.Addr().(*net.TCPAddr).Port)
}

// reserve reserves a port that then listens.
func (g *rig) reserve(d store.Device, target wire.Target) ports.View {
	g.t.Helper()
	v, err := g.Reserve(g.t.Context(), g.ada, d, target, 0)
	g.must(err)
	if !v.Listening || v.Cause != nil {
		g.t.Fatalf("%+v", v)
	}
	return v
}

func (g *rig) dial(v ports.View) *net.TCPConn {
	g.t.Helper()
	conn, err := net.Dial("tcp", v.Address)
	g.must(err)
	g.t.Cleanup(func() { _ = conn.Close() })
	g.must(conn.SetDeadline(time.Now().Add(patience)))
	return conn.(*net.TCPConn)
}

// carries proves that a connection reaches the echo.
func (g *rig) carries(conn net.Conn) {
	g.t.Helper()
	_, err := io.WriteString(conn, "hello")
	g.must(err)
	back := make([]byte, 5)
	if _, err := io.ReadFull(conn, back); err != nil || string(back) != "hello" {
		g.t.Fatalf("%q, %v", back, err)
	}
}

// ends proves that a connection ends within two seconds.
func (g *rig) ends(what string, conn net.Conn) {
	g.t.Helper()
	began := time.Now()
	if n, err := conn.Read(make([]byte, 1)); err == nil {
		g.t.Errorf("%s: %d bytes came", what, n)
	}
	if took := time.Since(began); took > promptly {
		g.t.Errorf("%s: it ended after %v", what, took)
	}
}

// patience is how long a test waits for what must come: only what never comes is a fault here, on a machine that does other
// things too.
const patience = time.Minute

// promptly is for what must come within two seconds (rule 17), counted likewise: nothing that ends by itself ends as soon.
const promptly = 30 * time.Second

// until waits for what has no event to wait for.
func (g *rig) until(what string, holds func() bool) {
	g.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !holds(); <-tick.C {
		if time.Now().After(deadline) {
			g.t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// only gives the one reserved port.
func (g *rig) only() ports.View {
	g.t.Helper()
	list, err := g.List(g.t.Context())
	g.must(err)
	if len(list) != 1 {
		g.t.Fatalf("%+v", list)
	}
	return list[0]
}

// free is a range of n ports that were free a moment ago.
func free(t *testing.T, n int) config.TCPPorts {
	t.Helper()
	first := porttest.Row(t, n)
	return config.TCPPorts{Address: netip.AddrFrom4([4]byte{127, 0, 0, 1}), First: first, Last: first + n - 1}
}
