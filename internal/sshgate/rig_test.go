package sshgate_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/devices"
	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/hubkeys"
	"github.com/aditdev/adit/internal/leaktest"
	"github.com/aditdev/adit/internal/sshca"
	"github.com/aditdev/adit/internal/sshdtest"
	"github.com/aditdev/adit/internal/sshgate"
	"github.com/aditdev/adit/internal/sshlogin"
	"github.com/aditdev/adit/internal/sshsig"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/storetest"
	"github.com/aditdev/adit/internal/wire"
	"github.com/aditdev/adit/tunnelhub"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

const host = "adit.example.com"

// rig is the gate on a listener, with everything behind it that is not HTTP. Dan is an operator with a key, a grant of
// ssh and port 1883 on broker, and none on shed; both devices come by stock OpenSSH.
type rig struct {
	t          testing.TB
	address    string
	hostKey    ssh.Signer
	heldKey    ssh.Signer
	sshd       *sshdtest.Server // broker's, where a test starts one
	ca         *sshca.CA
	caKey      ssh.Signer
	store      *store.Store
	gate       *auth.Gate
	accounts   *auth.Accounts
	devices    *devices.Registry
	tunnel     *tunnelhub.Hub
	owner      *auth.Principal
	dan        *auth.Principal
	danKey     ssh.Signer
	danPrivate ed25519.PrivateKey // of danKey
	danGrant   string
	keys       map[string]ssh.Signer // of devices, by name
	ids        map[string]string
	log        *syncBuffer
	ahead      atomic.Int64 // how far the hub's clock is, in nanoseconds
}

// now is the hub's clock.
func (r *rig) now() time.Time { return time.Now().Add(time.Duration(r.ahead.Load())) }

type syncBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// reset forgets what was written, and its memory.
func (b *syncBuffer) reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text = bytes.Buffer{}
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func newSigner(t testing.TB) ssh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	signer, err := ssh.NewSignerFromKey(private)
	must(t, err)
	return signer
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{t: t, hostKey: newSigner(t), heldKey: newSigner(t), keys: map[string]ssh.Signer{}, ids: map[string]string{}, log: &syncBuffer{}}
	log := slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	ctx := context.Background()
	var err error
	r.store, err = store.Open(ctx, storetest.Dir(t))
	must(t, err)
	r.gate, err = auth.NewGate(ctx, r.store, r.now)
	must(t, err)
	r.accounts, err = auth.NewAccounts(r.store, r.gate)
	must(t, err)
	_, tunnelKey, _ := ed25519.GenerateKey(nil)
	_, caKey, _ := ed25519.GenerateKey(nil)
	r.ca, err = sshca.New(caKey)
	must(t, err)
	r.caKey, err = ssh.NewSignerFromKey(caKey)
	must(t, err)
	r.devices = devices.New(devices.Options{Store: r.store, Gate: r.gate, Events: events.New(r.store, r.now), Now: r.now, Log: log,
		Keys: func() hubkeys.Ring { return hubkeys.Ring{Current: tunnelKey} }, UserCA: r.ca.AuthorizedKey(), URLs: []*url.URL{{Scheme: "https", Host: host}},
		Drop: func(id string, cause error) { r.tunnel.Drop(id, cause) }})
	r.tunnel = tunnelhub.New(tunnelhub.Options{Log: log, Key: tunnelKey, Hosts: []string{host}, Name: "test", Version: "test", Device: r.device})
	r.run(log)
	r.people()
	return r
}

// run runs the parts until the test ends.
func (r *rig) run(log *slog.Logger) {
	g := sshgate.New(sshgate.Options{Log: log, Now: r.now, HostKey: r.hostKey, HeldKey: r.heldKey, UserCA: r.ca.PublicKey(),
		URL: "https://" + host, LogIn: r.logIn, Gate: r.gate, Accounts: r.accounts, Devices: r.devices, Tunnel: r.tunnel})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(r.t, err)
	r.address = listener.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	var parts sync.WaitGroup
	parts.Go(func() { _ = r.gate.Run(ctx) })
	parts.Go(func() { _ = r.tunnel.Run(ctx) })
	parts.Go(func() { _ = g.Run(ctx) })
	parts.Go(func() { _ = g.Listen(ctx, listener) })
	r.t.Cleanup(func() {
		cancel()
		parts.Wait()
		_ = r.store.Close()
	})
}

// device is what the hub's own wiring says of one.
func (r *rig) device(ctx context.Context, id string) (tunnelhub.Device, error) {
	d, err := r.store.Read().GetDevice(ctx, id)
	if err != nil {
		return tunnelhub.Device{}, wire.Errorf(wire.NotFound, "no such device")
	}
	key, err := wire.DecodeKey(d.PublicKey)
	return tunnelhub.Device{ID: d.ID, Key: key, Status: d.Status, Stock: d.Via == devices.ViaOpenSSH}, err
}

// logIn is what the hub's own wiring does, with the keys of the test's sshd pinned.
func (r *rig) logIn(ctx context.Context, conn net.Conn, user, device, login string) (*ssh.Client, error) {
	return sshlogin.Client(ctx, conn, sshlogin.Options{User: user, Device: device, Login: login, HostKeys: []ssh.PublicKey{r.sshd.HostKey},
		Certify: func(_ context.Context, user, device, login string, key ssh.PublicKey) (*ssh.Certificate, error) {
			return r.ca.Sign(sshca.Request{Key: key, User: user, Device: device, Login: login, Clock: time.Now()})
		}})
}

func (r *rig) people() {
	ctx := context.Background()
	user := func(name string, role access.Role) *auth.Principal {
		u, err := r.accounts.CreateUser(ctx, auth.NewUser{Email: name + "@example.com", Handle: name, Role: role})
		must(r.t, err)
		return &auth.Principal{User: u}
	}
	r.owner, r.dan = user("owner", access.Owner), user("dan", access.Operator)
	_, r.danPrivate, _ = ed25519.GenerateKey(nil)
	signer, err := ssh.NewSignerFromKey(r.danPrivate)
	must(r.t, err)
	r.danKey = signer
	r.addKey("", r.danKey)
	r.enrol("broker")
	r.enrol("shed")
	grant, err := r.devices.AddGrant(ctx, "test", devices.Grant{User: r.dan.User, Device: r.ids["broker"], Logins: []string{"dan"},
		Targets: []string{"ssh", "tcp:127.0.0.1:1883"}})
	must(r.t, err)
	r.danGrant = grant.ID
}

// addKey puts a key into dan's profile, with options.
func (r *rig) addKey(options string, signer ssh.Signer) store.SSHKey {
	r.t.Helper()
	signature, err := sshsig.Sign(signer, auth.KeyNamespace, []byte(auth.KeyChallenge(r.dan.User.ID, host)))
	must(r.t, err)
	line := strings.TrimSpace(options + " " + string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
	row, err := r.accounts.AddSSHKey(context.Background(), r.dan, auth.NewSSHKey{Line: line, Signature: sshsig.Armor(signature), Host: host})
	must(r.t, err)
	return row
}

// enrol makes a device that comes by stock OpenSSH.
func (r *rig) enrol(name string) {
	r.t.Helper()
	ctx := context.Background()
	made, err := r.devices.CreateCode(ctx, r.owner, devices.CodeRequest{Name: name})
	must(r.t, err)
	_, private, _ := ed25519.GenerateKey(nil)
	signer, err := ssh.NewSignerFromKey(private)
	must(r.t, err)
	e, err := r.devices.Enroll(ctx, devices.Candidate{Code: made.Code, PublicKey: wire.EncodeKey(private.Public().(ed25519.PublicKey)),
		Hostname: name, Facts: json.RawMessage(`{}`), Via: "openssh", Address: "192.0.2.1"})
	must(r.t, err)
	r.keys[name], r.ids[name] = signer, e.DeviceID
}

// config is a client's, with the gate's host key pinned.
func (r *rig) config(user string, signers ...ssh.Signer) *ssh.ClientConfig {
	return &ssh.ClientConfig{User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(signers...)},
		HostKeyCallback: ssh.FixedHostKey(r.hostKey.PublicKey()), Timeout: patience}
}

func (r *rig) login(user string, signers ...ssh.Signer) (*ssh.Client, error) {
	return ssh.Dial("tcp", r.address, r.config(user, signers...))
}

// come is login that must work; the connection ends with the test.
func (r *rig) come(user string, signers ...ssh.Signer) *ssh.Client {
	r.t.Helper()
	c, err := r.login(user, signers...)
	must(r.t, err)
	r.t.Cleanup(func() { _ = c.Close() })
	return c
}

// station logs a device in and lets it forward port 22 and others to an echo.
func (r *rig) station(name string, ports ...uint32) *ssh.Client {
	r.t.Helper()
	c := r.come(r.ids[name], r.keys[name])
	incoming := c.HandleChannelOpen("forwarded-tcpip")
	go func() {
		for n := range incoming {
			var asked struct { // as ssh compares it with what it asked for
				Address    string
				Port       uint32
				Originator string
				OriginPort uint32
			}
			if err := ssh.Unmarshal(n.ExtraData(), &asked); err != nil || asked.Address == "" || asked.Port == 0 {
				_ = n.Reject(ssh.ConnectionFailed, "this was not asked for")
				continue
			}
			channel, requests, err := n.Accept()
			if err != nil {
				continue
			}
			go ssh.DiscardRequests(requests)
			if asked.Port == 22 && r.sshd != nil {
				go join(channel, r.sshd.Address)
				continue
			}
			go echo(channel)
		}
	}()
	for _, port := range append([]uint32{22}, ports...) {
		ok, _, err := c.SendRequest("tcpip-forward", true, ssh.Marshal(struct {
			Address string
			Port    uint32
		}{"localhost", port}))
		must(r.t, err)
		if !ok {
			r.t.Fatalf("the gate refused to forward port %d", port)
		}
	}
	eventually(r.t, name+" is online", func() bool { return r.tunnel.Online(r.ids[name]) })
	return c
}

// join carries a channel to an address and back.
func join(channel ssh.Channel, address string) {
	defer channel.Close()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	go func() {
		_, _ = io.Copy(conn, channel)
		_ = conn.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(channel, conn)
	_ = conn.Close()
}

// echo says back what it hears, and "bye" at its end.
func echo(channel ssh.Channel) {
	_, _ = io.Copy(channel, channel)
	_, _ = io.WriteString(channel, "bye")
	_ = channel.Close()
}

// patience is how long a test waits for what must come: only what never comes is a fault here, on a machine that does other
// things too.
const patience = time.Minute

func eventually(t testing.TB, what string, check func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(patience); !check(); {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

func tunnelRequest(device string, target wire.Target) tunnelhub.Request {
	return tunnelhub.Request{Device: device, Target: target, User: "usr_test", Via: tunnelhub.ViaGate}
}
