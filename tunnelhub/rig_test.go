package tunnelhub_test

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/agent/carrier"
	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
	"github.com/aditdev/adit/tunnelhub"
)

const device = "dev_01TEST"

// rig is a hub behind a real HTTP server, and agents that reach it through real sockets.
type rig struct {
	t       testing.TB
	hub     *tunnelhub.Hub
	server  *httptest.Server
	hubKey  ed25519.PrivateKey
	key     ed25519.PrivateKey
	options tunnelhub.Options
	serving sync.WaitGroup
	stopHub func()
	nonces  map[string]bool

	mu     sync.Mutex
	status string
	ping   time.Duration
	cloned int
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{t: t, nonces: make(map[string]bool), status: tunnelhub.StatusActive}
	_, r.hubKey, _ = ed25519.GenerateKey(nil)
	_, r.key, _ = ed25519.GenerateKey(nil)
	r.server = httptest.NewUnstartedServer(http.HandlerFunc(r.serveHTTP))
	r.options = tunnelhub.Options{
		Log: testLog(t), Key: r.hubKey, Hosts: []string{r.server.Listener.Addr().String()}, Name: "test", Version: "1",
		Device: r.device,
		Cloned: func(string, wire.Instance, wire.Instance) { r.mu.Lock(); r.cloned++; r.mu.Unlock() },
		Handle: func(_ context.Context, d, method string, params json.RawMessage) (any, error) {
			if method == "fail" {
				return nil, wire.Errorf(wire.Forbidden, "not this one")
			}
			return map[string]any{"device": d, "method": method, "params": params}, nil
		},
	}
	t.Cleanup(r.serving.Wait)
	r.stopHub = r.startHub()
	r.server.Start()
	t.Cleanup(r.server.Close)
	return r
}

// startHub runs a hub until the test ends or stopHub.
func (r *rig) startHub() (stop func()) {
	hub := tunnelhub.New(r.options)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { _ = hub.Run(ctx); close(done) }()
	r.mu.Lock()
	r.hub = hub
	r.mu.Unlock()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	r.t.Cleanup(stop)
	return stop
}

func (r *rig) current() *tunnelhub.Hub {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.hub
}

func (r *rig) device(_ context.Context, id string) (tunnelhub.Device, error) {
	if !strings.HasPrefix(id, "dev_01TEST") {
		return tunnelhub.Device{}, wire.Errorf(wire.NotFound, "no such device")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return tunnelhub.Device{ID: id, Key: r.key.Public().(ed25519.PublicKey), Status: r.status, Ping: r.ping}, nil
}

func (r *rig) serveHTTP(w http.ResponseWriter, req *http.Request) {
	r.serving.Add(1) // the server does not wait for what it has given away
	defer r.serving.Done()
	hub := r.current()
	if req.URL.Path == wire.PathTunnel {
		ws, err := stream.Accept(w, req, wire.SubprotocolTunnel)
		if err != nil {
			return
		}
		if c, err := hub.Handshake(context.Background(), ws, req.RemoteAddr, nil); err == nil {
			r.serving.Go(func() { _ = hub.Serve(context.Background(), c) })
		}
		return
	}
	ws, err := stream.Accept(w, req, wire.SubprotocolStream)
	if err != nil {
		return
	}
	target := wire.Target(req.URL.Query().Get("target"))
	id := strings.Split(req.URL.Path, "/")[4]
	_ = hub.Relay(context.Background(), tunnelhub.Request{Device: id, Target: target, User: "usr_1", Via: "stream"}, ws)
}

// agent runs an agent until the test ends, or until the returned function was called.
func (r *rig) agent(edit func(*carrier.Config)) (stop func()) {
	c := r.config()
	if edit != nil {
		edit(&c)
	}
	return r.run(carrier.New(c))
}

// pool is agent for tests that need the pool itself.
func (r *rig) pool(with func(*carrier.Pool)) (stop func()) {
	p := carrier.New(r.config())
	with(p)
	return r.run(p)
}

func (r *rig) config() carrier.Config {
	return carrier.Config{
		Log: testLog(r.t), URL: r.server.URL, Device: device, Key: r.key,
		HubKeys:  []ed25519.PublicKey{r.hubKey.Public().(ed25519.PublicKey)},
		Instance: wire.Instance{Counter: 1, Random: wire.NewID()}, AgentVersion: "test", Handler: handler{},
	}
}

func (r *rig) run(p *carrier.Pool) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { _ = p.Run(ctx); close(done) }()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	r.t.Cleanup(stop)
	return stop
}

// patience is how long a test waits for what must come: only what never comes is a fault here, on a machine that does other
// things too.
const patience = time.Minute

// until waits for what has no event to wait for.
func until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(patience); !holds(); <-ticker.C {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

// waitOnline waits until the device's presence is as wanted.
func (r *rig) waitOnline(want bool) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	hub := r.current()
	if !want && !hub.Online(device) {
		return
	}
	for p := range hub.Watch(ctx) {
		if p.Device == device && p.Online == want {
			return
		}
	}
	r.t.Fatalf("device online=%v did not come", want)
}

func (r *rig) request(target wire.Target) tunnelhub.Request {
	return tunnelhub.Request{Device: device, Target: target, User: "usr_1", Via: "test"}
}

// handler answers tcp targets by dialling them.
type handler struct{}

func (handler) Open(ctx context.Context, open wire.Open) (net.Conn, error) {
	address, ok := open.Target.Address()
	if !ok {
		return nil, wire.Errorf(wire.Forbidden, "The device's policy does not allow %s.", open.Target)
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, wire.Wrap(err, wire.Offline, "Nothing answers at %s.", address)
	}
	return conn, nil
}

func (handler) Call(_ context.Context, method string, params json.RawMessage) (any, error) {
	if method != "echo" {
		return nil, wire.Errorf(wire.NotFound, "no method %s", method)
	}
	return params, nil
}

// listen serves each connection with serve until the test ends, and gives the target for it.
func listen(t testing.TB, serve func(net.Conn)) wire.Target {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { defer conn.Close(); serve(conn) })
		}
	})
	t.Cleanup(func() { l.Close(); serving.Wait() })
	return wire.TCPTarget("127.0.0.1", l.Addr().(*net.TCPAddr).Port)
}

// echo gives back what it gets, and ends when its peer does.
func echo(conn net.Conn) {
	_, _ = io.Copy(conn, conn)
	_ = conn.(*net.TCPConn).CloseWrite()
}

func testLog(t testing.TB) *slog.Logger {
	if !testing.Verbose() {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}
