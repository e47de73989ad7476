package handlers

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/agent/carrier"
	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/broker"
	"github.com/aditdev/adit/internal/config"
	"github.com/aditdev/adit/internal/devices"
	"github.com/aditdev/adit/internal/dist"
	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/hubkeys"
	"github.com/aditdev/adit/internal/leaktest"
	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/ports"
	"github.com/aditdev/adit/internal/porttest"
	"github.com/aditdev/adit/internal/rootpassword"
	"github.com/aditdev/adit/internal/seal"
	"github.com/aditdev/adit/internal/shell"
	"github.com/aditdev/adit/internal/sshca"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/storetest"
	"github.com/aditdev/adit/internal/updates"
	"github.com/aditdev/adit/internal/webhook/guard"
	"github.com/aditdev/adit/internal/webhook/outgoing"
	"github.com/aditdev/adit/internal/webhook/transform"
	"github.com/aditdev/adit/internal/wire"
	"github.com/aditdev/adit/tunnelhub"
)

func TestMain(m *testing.M) {
	transform.WorkIfAsked()
	leaktest.Main(m)
}

const password = "a good password"

// rig is a hub with everything but a command line: real store, real policy, real server. It has an owner, an admin, an
// operator and a viewer of the device kitchen, and an operator of the device shed, each with a token under the name.
type rig struct {
	*api
	t      *testing.T
	url    string
	echo   *echo.Echo
	users  map[string]store.User
	tokens map[string]string
	device map[string]store.Device
	keys   map[string]ed25519.PrivateKey // of devices, by id
	log    *syncBuffer
}

// syncBuffer is a log that tests read while the hub writes.
type syncBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func newRig(t *testing.T, change ...func(*Options)) *rig {
	t.Helper()
	r := &rig{t: t, users: map[string]store.User{}, tokens: map[string]string{}, device: map[string]store.Device{}, keys: map[string]ed25519.PrivateKey{}, log: &syncBuffer{}}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	r.must(err)
	r.url = "http://" + listener.Addr().String()
	o := r.options()
	for _, f := range change {
		f(&o)
	}
	r.api, r.echo, err = build(o)
	r.must(err)
	server := httptest.NewUnstartedServer(r.outermost(r.echo))
	server.Listener.Close()
	server.Listener = listener
	server.Start()
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	r.people()
	return r
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// options are those of a hub that serves at r.url, with its parts running until the test ends. Long because they are many.
func (r *rig) options() Options {
	ctx := context.Background()
	st, err := store.Open(ctx, storetest.Dir(r.t))
	r.must(err)
	gate, err := auth.NewGate(ctx, st, time.Now)
	r.must(err)
	accounts, err := auth.NewAccounts(st, gate)
	r.must(err)
	_, key, err := ed25519.GenerateKey(nil)
	r.must(err)
	ca, err := sshca.New(key)
	r.must(err)
	base, err := url.Parse(r.url)
	r.must(err)
	log := slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	o := Options{Config: config.Config{URLs: []*url.URL{base}}, Version: "test", Log: log, Now: time.Now, Store: st, Gate: gate,
		Accounts: accounts, Events: events.New(st, time.Now), CA: ca}
	o.Noted = events.NewQueue(o.Events, log)
	o.Devices = devices.New(devices.Options{Store: st, Gate: gate, Events: o.Events, Now: time.Now, Log: log,
		Keys: func() hubkeys.Ring { return hubkeys.Ring{Current: key} }, UserCA: ca.AuthorizedKey(), GateKey: wire.SSHKey(key.Public().(ed25519.PublicKey)), URLs: o.Config.URLs, Drop: func(id string, err error) { o.Tunnel.Drop(id, err) }})
	o.Tunnel = tunnelhub.New(tunnelhub.Options{Log: log, Opened: func(i tunnelhub.Info) func(int64, int64, error) {
		return o.Noted.Opened(events.Stream{Number: i.ID, Device: i.Device, User: i.User, Target: string(i.Target), Via: i.Via, From: i.From})
	}, Key: key, Hosts: []string{base.Host}, Name: "test", Version: "test",
		Device: func(ctx context.Context, id string) (tunnelhub.Device, error) {
			d, err := st.Read().GetDevice(ctx, id)
			if err != nil {
				return tunnelhub.Device{}, wire.Wrap(err, wire.NotFound, "none")
			}
			key, err := wire.DecodeKey(d.PublicKey)
			return tunnelhub.Device{ID: d.ID, Key: key, Status: d.Status}, err
		}, MQTT: func(ctx context.Context, device string, conn net.Conn) error {
			return o.MQTT.Carrier(ctx, device, conn)
		}})
	r.calls(ctx, &o)
	o.Shells = shell.New(shell.Options{Log: log, Store: noShells{}, Hold: func(ctx context.Context, s shell.Record) (context.Context, context.CancelFunc, error) {
		return gate.Hold(ctx, access.Use{User: s.User, Device: s.Device, Target: string(s.Target()), Login: s.Login, Way: access.Held})
	}})
	o.Config.TCPPorts = onePort(r.t)
	o.Ports = ports.New(ports.Options{Log: log, Store: st, Gate: gate, Events: o.Events, Now: time.Now, Dial: o.Tunnel.Dial,
		Range: o.Config.TCPPorts})
	o.Transforms = transform.NewPool(transform.Options{Log: o.Log})
	r.outgoing(ctx, &o)
	r.mqtt(ctx, &o)
	r.hooksIn(ctx, &o)
	o.Install = &Install{Dist: dist.From(fstest.MapFS{}), Hub: dist.Hub{URL: r.url}, Key: o.Devices.FingerprintFor, Steps: o.Devices}
	o.Site = fstest.MapFS{
		"index.html":     {Data: []byte("<title>landing</title>")},
		"app.html":       {Data: []byte("<title>app</title>")},
		"app.html.br":    {Data: []byte("packed app")},
		"favicon.svg":    {Data: []byte("<svg/>")},
		"assets/a-1.js":  {Data: []byte("console.log(1)")},
		"assets/a-1.css": {Data: []byte("a{}")},
	}
	o.GateKey, o.HeldKey, o.SSH = newSSHSigner(r.t).PublicKey(), newSSHSigner(r.t).PublicKey(), sayBack
	stopping, stop := context.WithCancel(ctx)
	o.Stopping = stopping
	r.background(stop, st, gate.Run, o.Events.Run, o.Noted.Run, o.Tunnel.Run, o.Shells.Run, o.Ports.Run, o.MQTT.Run, o.Transforms.Run, o.Updates.Run,
		o.HooksIn.Run, o.Outgoing.Run)
	return o
}

// calls are the parts that ask devices for something.
func (r *rig) calls(ctx context.Context, o *Options) {
	tunnel := o.Tunnel
	sealer, err := seal.New(seal.NewSecret())
	r.must(err)
	o.RootPasswords, err = rootpassword.New(ctx, rootpassword.Options{Store: o.Store, Sealer: sealer, Events: o.Events, Now: time.Now, Log: o.Log,
		Online: func(device string) bool { return tunnel.Presence(device).Online }, Call: tunnel.Call})
	r.must(err)
	o.Updates = updates.New(updates.Options{Events: o.Events, Log: o.Log, Now: time.Now, Version: "test", Within: updates.Within, Call: tunnel.Call,
		Programs:     func() (map[string]wire.Program, error) { return nil, nil },
		AgentVersion: func(device string) (string, bool) { p := tunnel.Presence(device); return p.AgentVersion, p.Online }})
}

// outgoing delivers webhooks to this machine.
func (r *rig) outgoing(ctx context.Context, o *Options) {
	sealer, err := seal.New(seal.NewSecret())
	r.must(err)
	o.Outgoing, err = outgoing.New(ctx, outgoing.Options{Store: o.Store, Sealer: sealer, Gate: o.Gate, Events: o.Events, Log: o.Log, Now: time.Now,
		Guard: guard.New([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}), Hub: "test", Version: "test", Alone: true,
		Transform: o.Transforms.Apply})
	r.must(err)
}

// mqtt is the broker and what stands before it.
func (r *rig) mqtt(ctx context.Context, o *Options) {
	registry := messaging.New(messaging.Options{Log: o.Log, Now: time.Now, Store: o.Store, Gate: o.Gate, Events: o.Events, TokenKey: make([]byte, 32)})
	b, err := broker.New(ctx, broker.Options{Access: registry, Store: o.Store, Log: o.Log, Taker: o.Outgoing})
	r.must(err)
	o.MQTT = messaging.NewExchange(messaging.ExchangeOptions{Log: o.Log, Now: time.Now, Registry: registry, Backend: b, RunBackend: b.Run,
		Name: "h", Dial: o.Tunnel.Dial, Online: o.Tunnel.Online})
}

// patience is how long a test waits for what must come: only what never comes is a fault here, on a machine that does other
// things too.
const patience = time.Minute

// promptly is for what must come within two seconds (rule 17), counted likewise. That it does is shown by TestStrict in e2e, which
// knows for how long the machine did other things.
const promptly = 30 * time.Second

// onePort is a range of one free port.
func onePort(t *testing.T) config.TCPPorts {
	t.Helper()
	port := porttest.Free(t)
	return config.TCPPorts{Address: netip.AddrFrom4([4]byte{127, 0, 0, 1}), First: port, Last: port}
}

// reserve puts a reservation for a device's ssh into the database: one from before a narrower range, whose port is not
// listened on.
func (r *rig) reserve(d store.Device, user string) (row store.TCPPort, err error) {
	err = r.Store.WriteAccess(r.t.Context(), func(q *store.Queries) error {
		rows, err := q.TCPPorts(r.t.Context())
		if err != nil {
			return err
		}
		row, err = q.AddTCPPort(r.t.Context(), store.AddTCPPortParams{Port: int64(len(rows) + 1), DeviceID: d.ID, Target: "ssh",
			UserID: r.users[user].ID, CreatedAt: 1})
		return err
	})
	return row, err
}

func (r *rig) background(stop context.CancelFunc, st *store.Store, parts ...func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, part := range parts {
		running.Go(func() { _ = part(ctx) })
	}
	r.t.Cleanup(func() {
		stop()
		cancel()
		running.Wait()
		_ = st.Close()
	})
}

// noShells is a table of shells that stays empty: no device of the rig is ever online.
type noShells struct{}

func (noShells) CreateShell(context.Context, shell.Record) error           { return nil }
func (noShells) SetShellState(context.Context, string, string, bool) error { return nil }
func (noShells) EndShell(context.Context, string, *int) error              { return nil }
func (noShells) LiveShells(context.Context) ([]shell.Record, error)        { return nil, nil }

func (r *rig) people() {
	ctx := r.t.Context()
	for name, role := range map[string]access.Role{"owner": access.Owner, "admin": access.Admin, "operator": access.Operator,
		"viewer": access.Viewer, "other": access.Operator, "revoked": access.Admin} {
		user, err := r.Accounts.CreateUser(ctx, auth.NewUser{Email: name + "@example.com", Handle: name, Role: role})
		r.must(err)
		token, err := r.Accounts.CreateToken(ctx, user.ID, auth.TokenRequest{Name: "test"})
		r.must(err)
		r.users[name], r.tokens[name] = user, token.Secret
		if name == "revoked" {
			r.must(r.Accounts.RevokeToken(ctx, &auth.Principal{User: user}, token.ID))
		}
	}
	r.tokens["device"] = auth.TokenPrefix + wire.EncodeKey(make([]byte, 32)) // what a device could show, which opens nothing
	r.device["kitchen"], r.device["shed"] = r.enrol("kitchen"), r.enrol("shed")
	for name, device := range map[string]string{"operator": "kitchen", "viewer": "kitchen", "other": "shed"} {
		_, err := r.Devices.AddGrant(ctx, "test", devices.Grant{User: r.users[name], Device: r.device[device].ID,
			Logins: []string{"pi"}, Targets: []string{"ssh", "tcp:127.0.0.1:1883"}})
		r.must(err)
	}
}

func (r *rig) principal(name string) *auth.Principal { return &auth.Principal{User: r.users[name]} }

// enrol makes a device as a machine would.
func (r *rig) enrol(name string) store.Device {
	r.t.Helper()
	made, err := r.Devices.CreateCode(r.t.Context(), r.principal("owner"), devices.CodeRequest{Name: name})
	r.must(err)
	public, private, err := ed25519.GenerateKey(nil)
	r.must(err)
	c := candidate(r.t, made.Code)
	c.PublicKey = wire.EncodeKey(public)
	e, err := r.Devices.Enroll(r.t.Context(), c)
	r.must(err)
	d, err := r.Store.Read().GetDevice(r.t.Context(), e.DeviceID)
	r.must(err)
	r.keys[d.ID] = private
	return d
}

// connect runs the tunnel of a device's agent until the test ends. Its streams reach whatever address they name.
func (r *rig) connect(name string) *carrier.Pool {
	r.t.Helper()
	return r.connectAs(name, anyAddress{})
}

// connectAs is connect for a device that does as handler says.
func (r *rig) connectAs(name string, handler carrier.Handler) *carrier.Pool {
	r.t.Helper()
	id := r.device[name].ID
	pool := carrier.New(carrier.Config{Log: r.Log, URL: r.url, Device: id, Key: r.keys[id], HubKeys: []ed25519.PublicKey{r.Devices.Keys().Current.Public().(ed25519.PublicKey)},
		Instance: wire.Instance{Counter: 1, Random: wire.NewID()}, AgentVersion: "test", Handler: handler})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = pool.Run(ctx) })
	r.t.Cleanup(func() { cancel(); running.Wait() })
	for p := range r.Tunnel.Watch(r.t.Context()) {
		if p.Device == id && p.Online {
			break
		}
	}
	return pool
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

func candidate(t *testing.T, code string) devices.Candidate {
	t.Helper()
	public, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return devices.Candidate{Code: code, PublicKey: wire.EncodeKey(public), Hostname: "kitchen.local", Facts: json.RawMessage(`{}`),
		SSHHostKeys: []string{sshKey(t)}, Address: "192.0.2.1"}
}

// sshKey is a fresh public key as a line.
func sshKey(t *testing.T) string {
	t.Helper()
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(newSSHSigner(t).PublicKey())))
}

func newSSHSigner(t *testing.T) ssh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// sayBack stands for the gate, whose own tests speak SSH: it says from where somebody comes, then what it hears.
func sayBack(conn net.Conn, address string) {
	_, _ = fmt.Fprintf(conn, "from %s\n", address)
	_, _ = io.Copy(conn, conn)
	_ = conn.Close()
}

// reply is an answer, read whole.
type reply struct {
	status int
	header http.Header
	body   string
}

func (p reply) problem(t *testing.T) Problem {
	t.Helper()
	var problem Problem
	if err := json.Unmarshal([]byte(p.body), &problem); err != nil {
		t.Fatalf("no problem details: %v\n%s", err, p.body)
	}
	return problem
}

// do sends a request as the named user; "" is nobody. body is sent as JSON; nil is no body.
func (r *rig) do(as, method, path string, body any, headers ...string) reply {
	r.t.Helper()
	var reader io.Reader = http.NoBody
	if text, ok := body.(string); ok {
		reader = strings.NewReader(text)
	} else if body != nil {
		data, err := json.Marshal(body)
		r.must(err)
		reader = bytes.NewReader(data)
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, r.url+path, reader)
	r.must(err)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if as != "" {
		req.Header.Set("Authorization", "Bearer "+r.tokens[as])
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return r.send(req)
}

func (r *rig) send(req *http.Request) reply {
	r.t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}}
	res, err := client.Do(req)
	r.must(err)
	defer res.Body.Close()
	out := reply{status: res.StatusCode, header: res.Header}
	endless := res.StatusCode == http.StatusSwitchingProtocols || res.Header.Get("Content-Type") == "text/event-stream"
	if !endless {
		body, err := io.ReadAll(res.Body)
		r.must(err)
		out.body = string(body)
	}
	return out
}

// call is do with an expected status and the answer decoded into result, which may be nil.
func (r *rig) call(as, method, path string, body any, status int, result any) {
	r.t.Helper()
	got := r.do(as, method, path, body)
	if got.status != status {
		r.t.Fatalf("%s %s as %s: %d, want %d\n%s", method, path, as, got.status, status, got.body)
	}
	if result != nil {
		r.must(json.Unmarshal([]byte(got.body), result))
	}
}

func v1(format string, args ...any) string { return "/api/v1/" + fmt.Sprintf(format, args...) }
